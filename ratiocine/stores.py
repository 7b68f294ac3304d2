"""Files of records: pairs as Parquet, scored completions and other rows as checksummed lines."""

from __future__ import annotations

import json
import os
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from ratiocine.errors import BadInput
from ratiocine.hashing import batched
from ratiocine.records import SIDES, JsonObject, Pair, ScoredCompletion

# The YAML parser in C is eight times faster: a report reads hundreds of configurations.
YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
COMPLETIONS = "completions.jsonl"  # of an evaluation
PARTIAL_COMPLETIONS = "completions.partial.jsonl"  # of an unfinished one
PLAN = "study.yaml"  # of the folder of a study
ROW_GROUP = 1024  # pairs in memory at a time


def read_object(file: Path) -> JsonObject:
    """The mapping that a JSON or YAML file of a run holds. Raises BadInput where it holds none."""
    try:
        text = file.read_text(encoding="utf-8")
        found = json.loads(text) if file.suffix == ".json" else yaml.load(text, Loader=YAML_LOADER)
    except (OSError, ValueError, yaml.YAMLError):
        found = None
    if not isinstance(found, dict):
        raise BadInput(f"{file.parent} is corrupt: {file.name} cannot be read")
    return found


def write_pairs(path: Path, pairs: Iterable[Pair]) -> None:
    """Write pairs as Parquet, in the given order, in bounded memory."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"int": pa.int64(), "str": pa.string(), "str | None": pa.string()}
    schema = pa.schema([(f.name, types[str(f.type)]) for f in fields(Pair)])
    with pq.ParquetWriter(path, schema) as writer:
        for group in batched(pairs, ROW_GROUP):
            writer.write_table(pa.Table.from_pylist([vars(pair) for pair in group], schema))


def check_pairs(path: Path) -> dict[str, list[str]]:
    """The checks of `stream_pairs` by columns alone; returns the columns id, category and source.

    Raises BadInput as `read_pairs`.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        _check_columns(path, file.schema_arrow.names)
        table = file.read(["id", "category", "source"])
        for batch in file.iter_batches(ROW_GROUP, columns=["id", *SIDES]):
            _check_whole(path, batch)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None
    if not table.num_rows:
        raise BadInput(f"{path} holds no pairs")
    counts = pc.value_counts(table["id"])
    if repeated := counts.filter(pc.greater(counts.field("counts"), 1)).to_pylist():
        raise BadInput(f"{path}: the id '{repeated[0]['values']}' occurs twice")
    return {
        "id": table["id"].to_pylist(),
        "category": _shared(table["category"]),
        "source": _shared(table["source"]),
    }


def _unreadable(path: Path, error: Exception) -> BadInput:
    return BadInput(f"{path} is no readable parquet file: {str(error).splitlines()[0]}")


def _shared(column: Any) -> list[str]:
    """A column of few different texts, each in memory once."""
    coded = column.combine_chunks().dictionary_encode()
    values = coded.dictionary.to_pylist()
    return [values[code] for code in coded.indices.to_pylist()]


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    if missing := [f.name for f in fields(Pair) if f.name not in columns]:
        raise BadInput(f"{path} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}")


def _check_whole(path: Path, batch: Any) -> None:
    """Raise BadInput where a row lacks a side."""
    import pyarrow.compute as pc

    for side in SIDES:
        if pc.any(pc.equal(pc.fill_null(pc.binary_length(batch[side]), 0), 0)).as_py():
            name = next(row["id"] for row in batch.to_pylist() if not row[side])
            raise BadInput(f"{path}: pair '{name}' has no {side}")


def read_pairs(path: Path) -> list[Pair]:
    """All pairs of a file.

    Raises BadInput where the file is unreadable or empty, lacks a column, or has a pair without one
    of its targets or with the id of another.
    """
    pairs = list(stream_pairs(path))
    if not pairs:
        raise BadInput(f"{path} holds no pairs")
    return pairs


def stream_pairs(path: Path) -> Iterator[Pair]:
    """The pairs of a file that may be larger than memory; raises BadInput as `read_pairs`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [f.name for f in fields(Pair)]
    seen: set[str] = set()
    try:
        file = pq.ParquetFile(path)
        _check_columns(path, file.schema_arrow.names)
        for batch in file.iter_batches(ROW_GROUP, columns=names):
            _check_whole(path, batch)
            for row in batch.to_pylist():
                if row["id"] in seen:
                    raise BadInput(f"{path}: the id '{row['id']}' occurs twice")
                seen.add(row["id"])
                yield Pair(**row)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None


@dataclass
class RowStore:
    """Append-only JSON lines, each with its checksum, durable once `append` has returned.

    A line torn by a kill is dropped on reading, together with the lines after it.
    """

    path: Path
    rows: list[JsonObject] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rows += [row for row, _ in _recovered(self.path)]

    def append(self, rows: Iterable[Mapping[str, object]]) -> None:
        """Append rows and wait until they are durable (one fsync for all of them)."""
        added = [dict(row) for row in rows]
        with open(self.path, "ab") as file:
            file.write(b"".join(_line(row) for row in added))
            file.flush()
            os.fsync(file.fileno())
        self.rows.extend(added)


class CompletionStore:
    """A `RowStore` of scored completions, of which only places in the file are held."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keys: list[str] = []
        """Of the problems, by row."""
        self.samples = array("i")
        self._offsets = array("q", [0])  # of the rows, then the end
        known: dict[str, str] = {}
        for row, size in _recovered(path):
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
    return _line(row.row())


def write_completions(path: Path, rows: Iterable[ScoredCompletion]) -> None:
    """Write a file of completions, in bounded memory."""
    with open(path, "wb") as file:
        file.writelines(map(completion_line, rows))


def _recovered(path: Path) -> Iterator[tuple[JsonObject, int]]:
    """The whole rows of a file that may be torn, and the bytes of each; the rest is cut off."""
    if not path.exists():
        return
    good = 0
    with open(path, "rb") as file:
        for line in file:
            row = checked_row(line)
            if row is None:
                break
            yield row, len(line)
            good += len(line)
    os.truncate(path, good)


def _line(row: JsonObject) -> bytes:
    # In ASCII: a server may send half a surrogate pair, which UTF-8 cannot hold.
    body = json.dumps(row, sort_keys=True).encode()
    return b'{"crc": %d, "row": %s}\n' % (zlib.crc32(body), body)


def checked_row(line: bytes) -> JsonObject | None:
    """The row of a stored line; None where the line does not match its checksum."""
    head, _, body = line.partition(b', "row": ')
    try:
        # As `_line` writes it: the checksum is that of these bytes.
        if body.endswith(b"}\n") and head == b'{"crc": %d' % zlib.crc32(body := body[:-2]):
            found: JsonObject = json.loads(body.decode("ascii"))
            return found
        record = json.loads(line)
        row: JsonObject = record["row"]
        text = json.dumps(row, sort_keys=True)
        whole = zlib.crc32(text.encode()) == record["crc"] and line.endswith(b"\n")
        return row if whole else None
    except (ValueError, KeyError, TypeError):
        return None


def sized_rows(path: Path) -> Iterator[tuple[JsonObject, int]]:
    """Rows of a finished file, and the bytes of each; raises BadInput as `read_rows`."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            row = checked_row(line)
            if row is None:
                raise BadInput(f"{path}: line {number} is damaged")
            yield row, len(line)


def read_rows(path: Path) -> Iterator[JsonObject]:
    """Rows of a finished file; raises BadInput at the first line unlike its checksum."""
    return (row for row, _ in sized_rows(path))


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


@dataclass(frozen=True)
class FilePart:
    """Some lines of a file."""

    offset: int
    """In bytes."""
    first: int
    """Number of the first line, from 1."""
    n: int
    """Lines."""


def file_parts(path: Path, n: int) -> list[FilePart]:
    """The lines of a file in parts of `n`; the last may be shorter."""
    parts, offset, first = [], 0, 1
    with open(path, "rb") as file:
        for lines in batched(map(len, file), n):
            parts.append(FilePart(offset, first, len(lines)))
            offset, first = offset + sum(lines), first + len(lines)
    return parts


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
