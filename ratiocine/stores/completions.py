"""Scored completions as rows."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

from ratiocine.errors import BadInput
from ratiocine.records import ScoredCompletion
from ratiocine.stores.row_store import FilePart, checked_row, line_of, read_rows, recovered

COMPLETIONS = "completions.jsonl"  # of an evaluation
PARTIAL_COMPLETIONS = "completions.partial.jsonl"  # of an unfinished one


class CompletionStore:
    """A `RowStore` of scored completions, of which only places in the file are held."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keys: list[str] = []
        """Of the problems, by row."""
        self.samples = array("i")
        self._offsets = array("q", [0])  # of the rows, then the end
        known: dict[str, str] = {}
        for row, size in recovered(path):
            key = row["key"]
            self._add(known.setdefault(key, key), row.get("sample", 0), size)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def rows(self) -> list[ScoredCompletion]:
        """All completions, read from the file."""
        return list(read_completions(self.path)) if len(self) else []

    def append(self, rows: Iterable[ScoredCompletion]) -> None:
        """Append completions and wait until they are durable (one fsync for all of them)."""
        with open(self.path, "ab") as file:
            for row in rows:
                self._add(row.key, row.sample, file.write(completion_line(row)))
            file.flush()
            os.fsync(file.fileno())

    def _add(self, key: str, sample: int, size: int) -> None:
        self.keys.append(key)
        self.samples.append(sample)
        self._offsets.append(self._offsets[-1] + size)

    def copy_sorted(self, path: Path, order: Mapping[str, int]) -> None:
        """Write the completions to another file, ordered by problem (`order` is by key) and
        sample."""

        def place(row: int) -> tuple[int, int]:
            return order[self.keys[row]], self.samples[row]

        with open(self.path, "rb") as file, open(path, "wb") as out:
            for row in sorted(range(len(self)), key=place):
                file.seek(self._offsets[row])
                out.write(file.read(self._offsets[row + 1] - self._offsets[row]))


def completion_line(row: ScoredCompletion) -> bytes:
    """The stored line of a completion."""
    return line_of(row.row())


def write_completions(path: Path, rows: Iterable[ScoredCompletion]) -> None:
    """Write a file of completions, in bounded memory."""
    with open(path, "wb") as file:
        file.writelines(map(completion_line, rows))


def stored_completions(path: Path, offsets: Iterable[int]) -> Iterator[ScoredCompletion]:
    """The completions at these offsets of a file; raises BadInput where the line there does not
    match its checksum."""
    with open(path, "rb") as file:
        for offset in offsets:
            file.seek(offset)
            row = checked_row(file.readline())
            if row is None:
                raise BadInput(f"{path} has changed since it was read")
            yield ScoredCompletion.from_row(row)


def read_part(path: Path, part: FilePart) -> Iterator[ScoredCompletion]:
    """The completions of a part of a finished file; raises BadInput as `read_rows`."""
    with open(path, "rb") as file:
        file.seek(part.offset)
        for number, line in enumerate(islice(file, part.n), part.first):
            row = checked_row(line)
            if row is None:
                raise BadInput(f"{path}: line {number} is damaged")
            yield ScoredCompletion.from_row(row)


def completions_file(folder: Path) -> Path:
    """The file with the scored completions of a finished evaluation."""
    earlier = folder / "traces.jsonl"  # before schema 2
    return earlier if earlier.exists() else folder / COMPLETIONS


def read_completions(path: Path) -> Iterator[ScoredCompletion]:
    """The scored completions of a finished evaluation, by its folder or the file in it.

    Raises BadInput at the first line that does not match its checksum.
    """
    file = completions_file(path) if path.is_dir() else path
    yield from map(ScoredCompletion.from_row, read_rows(file))
