"""The completions of an evaluation: an index of the file, filters, and single rows.

The index keeps what filters need of each line and where it begins; texts stay in the file, which
may hold hundreds of thousands of rows and may still be written to.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from eval.browse.file_cache import FileCache
from ratiocine.errors import BadInput
from ratiocine.records import ScoredCompletion, is_truncated
from ratiocine.stores import PARTIAL_COMPLETIONS, checked_row, completions_file

TEXTS = ("key", "id", "benchmark", "category", "prompt", "completion", "verdict", "reason", "stop")
SEARCHED = ("key", "prompt", "reference", "completion")
COUNTS = ("n_completion", "n_think", "sample")
VERDICTS = ("right", "wrong", "ungradable")
FILES, SEARCHES = 4, 16  # kept in memory


@dataclass(frozen=True, slots=True)
class RowFacts:
    """What is kept of a row."""

    offset: int
    """Of its line, in bytes."""
    key: str
    benchmark: str
    verdict: str
    truncated: bool
    mode_flip: bool


@dataclass(frozen=True)
class AnswerFilter:
    """Which rows are shown; an empty text and False leave all."""

    verdict: str = ""
    benchmark: str = ""
    truncated: bool = False
    flips: bool = False
    key: str = ""
    """Of one problem."""
    text: str = ""

    @staticmethod
    def of(query: Mapping[str, str]) -> AnswerFilter:
        """From the query of a URL."""
        words = {name: query.get(name, "") for name in ("verdict", "benchmark", "key", "text")}
        return AnswerFilter(**words, truncated="truncated" in query, flips="flips" in query)

    def matches(self, row: RowFacts) -> bool:
        """Whether a row passes all but the search for `text`."""
        return (
            self.verdict in ("", row.verdict)
            and self.benchmark in ("", row.benchmark)
            and self.key in ("", row.key)
            and row.truncated >= self.truncated
            and row.mode_flip >= self.flips
        )


@dataclass
class AnswerFile:
    """The index of a file of completions."""

    path: Path
    rows: list[RowFacts] = field(default_factory=list)
    damaged: list[int] = field(default_factory=list)
    """Numbers of lines that cannot be read, from 1; not a last one that is being written."""
    lines: int = 0
    end: int = 0
    """Bytes that are indexed."""

    def extend(self) -> None:
        """Index the lines after `end`."""
        names: dict[str, str] = {}  # each benchmark in memory once
        with open(self.path, "rb") as file:
            file.seek(self.end)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self.lines += 1
                row = completion_of(line)
                if row is None:
                    self.damaged.append(self.lines)
                else:
                    benchmark = names.setdefault(row.benchmark, row.benchmark)
                    verdict = names.setdefault(row.verdict, row.verdict)
                    flags = is_truncated(row.stop), row.mode_flip
                    self.rows.append(RowFacts(self.end, row.key, benchmark, verdict, *flags))
                self.end += len(line)

    @cached_property
    def by_key(self) -> Mapping[str, Sequence[int]]:
        """Positions of the rows of each problem."""
        found: dict[str, list[int]] = {}
        for at, row in enumerate(self.rows):
            found.setdefault(row.key, []).append(at)
        return found

    @property
    def benchmarks(self) -> list[str]:
        return sorted({row.benchmark for row in self.rows})

    def read(self, positions: Iterable[int]) -> list[ScoredCompletion]:
        """These rows. Raises BadInput where the file changed in the meantime."""
        return [self._row(line) for line in self._lines(positions)]

    def containing(self, text: str, positions: Sequence[int]) -> list[int]:
        """Those of these rows with `text` in their key, prompt, reference or completion, in upper
        or lower case."""
        wanted = text.lower()
        # As the file has it: a line without these bytes cannot match, and need not be parsed.
        raw = json.dumps(wanted)[1:-1].encode() if text.isascii() else b""
        lines = zip(positions, self._lines(positions), strict=True)
        return [at for at, line in lines if raw in line.lower() and self._has(line, wanted)]

    def _lines(self, positions: Iterable[int]) -> Iterator[bytes]:
        with open(self.path, "rb") as file:
            for at in positions:
                file.seek(self.rows[at].offset)
                yield file.readline()

    def _has(self, line: bytes, wanted: str) -> bool:
        try:
            row = json.loads(line)["row"]  # whose checksum the index has seen
            return any(wanted in str(row[name] or "").lower() for name in SEARCHED)
        except (ValueError, LookupError, TypeError):
            raise self._changed() from None

    def _changed(self) -> BadInput:
        return BadInput(f"{self.path.name} changed as it was read; load the page again")

    def _row(self, line: bytes) -> ScoredCompletion:
        row = completion_of(line)
        if row is None:
            raise self._changed()
        return row


def completion_of(line: bytes) -> ScoredCompletion | None:
    """The completion in a stored line; None where it is damaged."""
    try:
        row = checked_row(line)
        found = None if row is None else ScoredCompletion.from_row(row)
    except (TypeError, AttributeError, RecursionError):
        return None
    if found is None or not all(isinstance(getattr(found, name), str) for name in TEXTS):
        return None
    return found if all(isinstance(getattr(found, name), int) for name in COUNTS) else None


class AnswerFiles:
    """The indices of the files that were read last, and the results of searches in them."""

    def __init__(self) -> None:
        self._files = FileCache[AnswerFile](FILES)
        self._found = FileCache[Sequence[int]](SEARCHES)
        self._growing: dict[Path, tuple[int, AnswerFile]] = {}

    def open(self, folder: Path) -> AnswerFile:
        """The index of an evaluation's completions, of an unfinished one those so far. Raises
        BadInput where there are none."""
        file = completions_file(folder)
        file = file if file.exists() else folder / PARTIAL_COMPLETIONS
        if not file.exists():
            raise BadInput(f"{folder.name} has no completions yet")
        return self._files.get(file, [file], lambda: self._indexed(file))

    def matching(self, file: AnswerFile, wanted: AnswerFilter) -> Sequence[int]:
        """Positions of the rows that pass a filter, in the order of the file."""

        def found() -> Sequence[int]:
            some = [at for at, row in enumerate(file.rows) if wanted.matches(row)]
            return file.containing(wanted.text, some) if wanted.text else some

        return self._found.get((file.path, wanted), [file.path], found)

    def _indexed(self, file: Path) -> AnswerFile:
        """The index; of a file that is only ever appended to, the known one with what is new."""
        number, size = file.stat().st_ino, file.stat().st_size
        known = self._growing.get(file)
        found = AnswerFile(file)
        if (
            file.name == PARTIAL_COMPLETIONS
            and known
            and known[0] == number
            and known[1].end <= size
        ):
            old = known[1]
            found = AnswerFile(file, [*old.rows], [*old.damaged], old.lines, old.end)
        found.extend()
        self._growing = (
            {file: (number, found)} if file.name == PARTIAL_COMPLETIONS else self._growing
        )
        return found
