"""The pairs of a run of `distill`: searches by columns, and single rows of a large file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

from eval.browse.file_cache import FileCache
from ratiocine.errors import BadInput
from ratiocine.records import MODES, Pair
from ratiocine.stores import ROW_GROUP

SEARCHED = ("id", "prompt", "ift", "reasoning", "reference")
FILES, SEARCHES = 4, 16  # kept in memory


@dataclass(frozen=True)
class PairFilter:
    """Which pairs are shown; an empty text leaves all."""

    source: str = ""
    text: str = ""

    @staticmethod
    def of(query: Mapping[str, str]) -> PairFilter:
        """From the query of a URL."""
        return PairFilter(query.get("source", ""), query.get("text", ""))


@dataclass
class PairFile:
    """A file of pairs, opened for each reading, as an open one is no thing to share by threads."""

    path: Path

    @cached_property
    def n(self) -> int:
        with self._opened() as file:
            return int(file.metadata.num_rows)

    @cached_property
    def sources(self) -> list[str]:
        import pyarrow.compute as pc

        with self._opened() as file:
            return sorted(filter(None, pc.unique(file.read(["source"])["source"]).to_pylist()))

    @property
    def tokens(self) -> dict[str, list[int]]:
        """Token counts of the answers, by mode."""
        with self._opened() as file:
            table = file.read([f"n_tokens_{mode}" for mode in MODES])
            return {mode: table[f"n_tokens_{mode}"].to_pylist() for mode in MODES}

    def matching(self, wanted: PairFilter) -> Sequence[int]:
        """Positions of the pairs of a source with a text in their id, prompt, answers or reference,
        in upper or lower case."""
        if wanted == PairFilter():
            return range(self.n)
        found, start = list[int](), 0
        columns = [*(SEARCHED if wanted.text else ()), *(["source"] if wanted.source else [])]
        with self._opened() as file:
            for batch in file.iter_batches(ROW_GROUP, columns=columns):
                found += [start + at for at, one in enumerate(_mask(batch, wanted)) if one]
                start += batch.num_rows
        return found

    def read(self, positions: Sequence[int]) -> list[Pair]:
        """These pairs; reads the row groups that hold them."""
        names, found, start = [one.name for one in fields(Pair)], dict[int, Pair](), 0
        with self._opened() as file:
            for group in range(file.num_row_groups):
                n = file.metadata.row_group(group).num_rows
                here = [at for at in positions if start <= at < start + n]
                if here:
                    table = file.read_row_group(group, names).take([at - start for at in here])
                    found |= zip(here, (Pair(**row) for row in table.to_pylist()), strict=True)
                start += n
            return [found[at] for at in positions]

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        """pyarrow's ParquetFile. Raises BadInput for what it raises within the block."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(self.path) as file:
                yield file
        except (pa.ArrowException, OSError, LookupError, TypeError) as error:
            text = " ".join(str(error).split())[:200]
            raise BadInput(f"{self.path.name} is no readable file of pairs: {text}") from None


def _mask(batch: Any, wanted: PairFilter) -> list[bool | None]:
    """Whether each pair of a batch passes the filter."""
    import pyarrow.compute as pc

    masks = [pc.equal(batch["source"], wanted.source)] if wanted.source else []
    if wanted.text:
        having = (
            pc.fill_null(pc.match_substring(batch[name], wanted.text, ignore_case=True), False)
            for name in SEARCHED
        )
        masks.append(reduce(pc.or_, having))
    return reduce(pc.and_, masks).to_pylist()


class PairFiles:
    """The files that were opened last, and the results of searches in them."""

    def __init__(self) -> None:
        self._files = FileCache[PairFile](FILES)
        self._found = FileCache[Sequence[int]](SEARCHES)

    def open(self, file: Path) -> PairFile:
        """Raises BadInput where there is no file of pairs."""
        if not file.exists():
            raise BadInput(f"{file.parent.name} has no pairs yet: they are written at its end")
        return self._files.get(file, [file], lambda: PairFile(file))

    def matching(self, file: PairFile, wanted: PairFilter) -> Sequence[int]:
        """`PairFile.matching`, remembered."""
        return self._found.get((file.path, wanted), [file.path], lambda: file.matching(wanted))
