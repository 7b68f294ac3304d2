"""Files of rows: JSONL, JSON, CSV, TSV and Parquet, read one row at a time."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

from ratiocine.data.config import ENDINGS, ending
from ratiocine.errors import BadInput

Row = Mapping[str, Any]  # of any data set
Numbered = tuple[int | None, Row]  # with the line of the file in which it begins, from 1


def read_rows(file: Path) -> Iterator[Row]:
    """The rows of a file, read one by one (those of a JSON array at once). Raises BadInput for a
    damaged file, and for one of another kind."""
    return (row for _, row in numbered_rows(file))


def numbered_rows(file: Path) -> Iterator[Numbered]:
    """The rows of `read_rows` with their lines; None in files without lines."""
    kind = ending(file.name)
    if kind not in ENDINGS:
        known = ", ".join(ENDINGS)
        raise BadInput(f"{file}: files of rows end in {known}, or in one of these and .gz")
    if kind == ".parquet":
        return _parquet_rows(file)
    if kind in (".csv", ".tsv"):
        return _csv_rows(file)
    return _json_array(file) if kind == ".json" else _json_rows(file)


def _opened(file: Path) -> BinaryIO:
    zipped = file.name.lower().endswith(".gz")
    return cast(BinaryIO, gzip.open(file)) if zipped else open(file, "rb")


def _json_array(file: Path) -> Iterator[Numbered]:
    """The objects of an array, or of lines."""
    with _opened(file) as opened:
        first = opened.read(1024).lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if first != b"[":
        yield from _json_rows(file)
        return
    try:
        with _opened(file) as opened:
            rows = json.load(opened)
    except (ValueError, RecursionError, OSError, EOFError):
        raise BadInput(f"{file} is not JSON") from None
    for number, row in enumerate(rows, 1):
        yield None, _object(file, f"item {number}", row)


def _csv_rows(file: Path) -> Iterator[Numbered]:
    try:
        encoding = _encoding(file)
        with io.TextIOWrapper(_opened(file), encoding=encoding) as lines:
            header = lines.readline()
            stated = re.fullmatch(r'"?sep=(.)"?\s*', header)  # as Excel writes it
            header = re.sub('"[^"]*"', "", lines.readline() if stated else header)
        # The one that the header has most; a spreadsheet with decimal commas writes semicolons.
        delimiter = max("\t,;|" if ending(file.name) == ".tsv" else ",;\t|", key=header.count)
        delimiter = stated[1] if stated else delimiter
        with io.TextIOWrapper(_opened(file), encoding=encoding, newline="") as lines:
            above = len([next(lines)] if stated else [])
            rows = csv.DictReader(lines, delimiter=delimiter)
            names = [name for name in rows.fieldnames or () if name]
            if repeated := next((name for name in names if names.count(name) > 1), None):
                raise BadInput(f"{file}: the column '{repeated}' occurs twice; rename one")
            for row in rows:
                if None in row or None in row.values():
                    raise BadInput(
                        f"{file}: a row has another number of fields than the header "
                        f"(line {rows.line_num + above}); a field with the separator "
                        f"{delimiter!r} in it stands in double quotes"
                    )
                # A cell may hold several lines; the reader has read the last one.
                yield rows.line_num + above - sum(cell.count("\n") for cell in row.values()), row
    except UnicodeError:
        raise BadInput(
            f"{file} is not in UTF-8; convert it, where it is in Windows-1252 by "
            f"iconv -f WINDOWS-1252 -t UTF-8 {shlex.quote(file.name)} > utf-8.csv"
        ) from None
    except (csv.Error, OSError, EOFError) as error:
        raise BadInput(f"{file} is no readable CSV file: {error}") from None


def _encoding(file: Path) -> str:
    """UTF-8, or UTF-16 by its byte order mark, as spreadsheets write it."""
    with _opened(file) as opened:
        return "utf-16" if opened.read(2) in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def _object(file: Path, where: str, row: object, *, escaped: bool = True) -> Row:
    """The row; `escaped` states that its text in the file has escapes."""
    if not isinstance(row, dict):
        raise BadInput(f"{file}: {where} is no JSON object")
    if escaped and not _encodable(row):
        raise BadInput(
            f"{file}: {where} holds half of a surrogate pair (\\ud83d or the like), which is no "
            "character"
        )
    return row


def _parquet_rows(file: Path) -> Iterator[Numbered]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        for batch in pq.ParquetFile(file).iter_batches(1024):
            yield from ((None, row) for row in batch.to_pylist())
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"{file} is no readable parquet file: {reason}") from None


def _json_rows(file: Path) -> Iterator[Numbered]:
    try:
        with _opened(file) as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    try:
                        row = json.loads(line.removeprefix(b"\xef\xbb\xbf"))
                    except (ValueError, RecursionError):
                        raise BadInput(f"{file}: line {number} is not JSON") from None
                    yield number, _object(file, f"line {number}", row, escaped=b"\\u" in line)
    except (OSError, EOFError) as error:
        raise BadInput(f"{file} cannot be read: {error}") from None


def _encodable(row: Row) -> bool:
    """Whether a row's texts can be stored: half of a surrogate pair cannot."""
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
