"""Pairs as Parquet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from ratiocine.errors import BadInput
from ratiocine.hashing import batched
from ratiocine.records import SIDES, Pair

ROW_GROUP = 1024  # pairs in memory at a time


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
