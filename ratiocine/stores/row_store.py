"""Rows as checksummed JSON lines."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ratiocine.errors import BadInput
from ratiocine.hashing import batched
from ratiocine.records import JsonObject


@dataclass
class RowStore:
    """Append-only JSON lines, each with its checksum, durable once `append` has returned.

    A line torn by a kill is dropped on reading, together with the lines after it.
    """

    path: Path
    rows: list[JsonObject] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rows += [row for row, _ in recovered(self.path)]

    def append(self, rows: Iterable[Mapping[str, object]]) -> None:
        """Append rows and wait until they are durable (one fsync for all of them)."""
        added = [dict(row) for row in rows]
        with open(self.path, "ab") as file:
            file.write(b"".join(line_of(row) for row in added))
            file.flush()
            os.fsync(file.fileno())
        self.rows.extend(added)


def recovered(path: Path) -> Iterator[tuple[JsonObject, int]]:
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


def line_of(row: JsonObject) -> bytes:
    # In ASCII: a server may send half a surrogate pair, which UTF-8 cannot hold.
    body = json.dumps(row, sort_keys=True).encode()
    return b'{"crc": %d, "row": %s}\n' % (zlib.crc32(body), body)


def checked_row(line: bytes) -> JsonObject | None:
    """The row of a stored line; None where the line does not match its checksum."""
    head, _, body = line.partition(b', "row": ')
    try:
        # As `line_of` writes it: the checksum is that of these bytes.
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
