"""The rows of a file, a task or a hub data set, as problems."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

from ratiocine.data.column_mappings import adapted
from ratiocine.data.config import FIELDS, DataConfig, Split
from ratiocine.data.hub import download, has_split, streamed
from ratiocine.data.row_files import Numbered, Row, numbered_rows, read_rows
from ratiocine.data.row_shapes import from_trace, unread
from ratiocine.data.rows import mapped, problem_of, raw_answers, told_decimal
from ratiocine.data.tasks import task_of
from ratiocine.errors import BadInput, near
from ratiocine.hashing import Seen, digest
from ratiocine.records import Decimal, Problem

FIRST_ROWS = 100  # one of them has every column
CERTAIN_POINT = "0.5"  # what a JSON number with decimals tells


def local_file(data: DataConfig, split: Split) -> Path | None:
    """The file of a source, None for one without. Raises BadInput where it is missing."""
    if data.path is not None:
        file = Path(data.path)
    elif data.data_dir is not None and data.files:
        if split not in data.files:
            raise BadInput(f"data={data.label} has no {split} split")
        file = Path(data.data_dir) / data.files[split]
    else:
        return None
    if not file.is_file():
        raise BadInput(f"data={data.label}: {file} is not a file{near(file)}")
    return file


def rows_of(data: DataConfig, split: Split) -> Iterator[Problem]:
    """The problems of a file, a task or a hub data set, gradable or not: one with an empty question
    is among them. Raises BadInput for a row that is none."""
    folder = data.path or (data.hub.repo if data.hub else "")
    if folder and (Path(folder) / "pairs.parquet").exists():
        raise BadInput(f"data={folder} holds pairs already; train takes pairs={folder}")
    file, own = local_file(data, split), None
    rows: Iterator[Numbered]
    if task := task_of(data):
        rows = ((None, row) for row in task.rows(split))
    elif file is not None and (data.path is None or data.hub is None):
        own, rows = file, numbered_rows(file)  # in the shared schema, or with `columns`
    else:
        rows = ((None, row) for row in _hub_rows(data, split, file))
    if data.decimal is None and own is not None:
        state = own.stat()
        columns = None if data.columns is None else tuple(data.columns.items())
        told = _decimal_of(own, columns, (state.st_size, state.st_mtime_ns))
        data = data.model_copy(update={"decimal": told})
    seen, repeats, index = Seen(), Counter[str](), -1
    absent, left_out, columns_of_first = Counter[str](), Counter[str](), ""
    for index, (line, row) in enumerate(rows):
        if index == 0 and own is not None:
            _warn_of_columns(own, tuple(row), frozenset((data.columns or {}).values()))
        at = "" if line in (None, index + 1) else f" (line {line})"
        where = f"{file or f'data={data.label}'}, row {index + 1}{at}"
        if index == 0:
            first, columns_of_first = where, ", ".join(row)
        if own is not None:
            left_out += unread(row)
        try:
            row = from_trace(mapped(row, data.columns, absent))
            name = ""
            if not row.get("id"):  # an id from the content does not depend on the file's order
                text = digest(row["question"], row.get("context"), row.get("choices"))
                name = f"{data.name}-{split}-{text[:12]}"
                if not seen.add(name):
                    repeats[name] += 1
                    name += f"-{repeats[name] + 1}"
            yield replace(problem_of(data, row, name), row=index + 1, line=line)
            if index + 1 == FIRST_ROWS:
                _check_absent(absent, index + 1, first, columns_of_first, data)
        except (AttributeError, TypeError, ValueError, IndexError, RecursionError) as error:
            raise BadInput(f"{where}: {error}") from None
    if index < 0 and own is not None:
        raise BadInput(f"{own} holds no rows")
    if 0 <= index < FIRST_ROWS - 1:
        _check_absent(absent, index + 1, first, columns_of_first, data)
    if own is not None and (left_out := +left_out):
        taken = {f"values of '{column}'" for column in (data.columns or {}).values()}
        _tell_left_out(own, tuple((n, what) for what, n in left_out.items() if what not in taken))


def _check_absent(absent: Counter[str], n: int, first: str, columns: str, data: DataConfig) -> None:
    """Raise BadInput for a column that none of the first n rows has; a single row without it lacks
    that value."""
    if missing := next((name for name, without in absent.items() if without == n), None):
        raise BadInput(
            f"{first}: there is no column '{missing}'; there are {columns}{_mapping(missing, data)}"
        )


@lru_cache(maxsize=64)
def _tell_left_out(file: Path, counts: tuple[tuple[int, str], ...]) -> None:
    """What conversations hold besides a question and its answer; once for a file."""
    if counts:
        told = ", ".join(f"{n} {what}" for n, what in counts)
        print(
            f"warning: {file}: not read: {told}; of a conversation the first question and its "
            "answer count, and data.columns='{meta.ift: COLUMN}' takes a direct answer",
            file=sys.stderr,
        )


@lru_cache(maxsize=64)
def _warn_of_columns(file: Path, names: tuple[str, ...], taken: frozenset[str]) -> None:
    """Name columns that are not read and are spelt much like one that would be; once for a file."""
    missing = [field for field in FIELDS if field not in names]
    for name in names:
        close = get_close_matches(name, missing, n=1, cutoff=0.8)
        if close and name not in (*FIELDS, *taken):
            print(
                f"warning: {file}: the column '{name}' is not read; did you mean '{close[0]}'?",
                file=sys.stderr,
            )


@lru_cache(maxsize=64)
def _decimal_of(
    file: Path, columns: tuple[tuple[str, str], ...] | None, state: tuple[int, int]
) -> Decimal | None:
    """What separates the decimals in a file, told by all its references: `1,234` is read as
    `12,5 m` in the next row is. `state` is that of the file, for the cache."""

    mapping = None if columns is None else dict(columns)

    def answers() -> Iterator[str]:
        for _, row in numbered_rows(file):
            with suppress(KeyError, ValueError, TypeError, AttributeError):  # told with its row
                for one in raw_answers(from_trace(mapped(row, mapping)), None):
                    if isinstance(one, float) and one % 1:
                        yield CERTAIN_POINT
                    elif isinstance(one, str):
                        yield one

    return told_decimal(answers())


def _hub_rows(data: DataConfig, split: Split, copy: Path | None) -> Iterator[Row]:
    """The rows of a hub data set in the shared schema, from the hub or from a local copy of its
    file."""
    if data.hub is None:
        raise BadInput(f"data={data.label} names no source: give data.path=FILE")
    if not has_split(data.name, data.hub, split):
        raise BadInput(f"data={data.label} has no {split} split")
    for file, number, row in _numbered(data, split, copy):
        try:
            yield from adapted(data.hub, row)
        except (KeyError, ValueError, IndexError, TypeError, AttributeError) as error:
            raise BadInput(
                f"{file}: row {number} is not as {data.hub.repo} has them: {error!r}"
            ) from None


def _numbered(data: DataConfig, split: Split, copy: Path | None) -> Iterator[tuple[str, int, Row]]:
    """Each row as the hub has it, with its file and its number there, from 1."""
    assert data.hub is not None
    if copy is None and split not in data.hub.files:
        for number, row in enumerate(streamed(data.name, data.hub, split), 1):
            yield f"data={data.label}", number, row
        return
    for file in [copy] if copy is not None else download(data.name, data.hub, split):
        for number, row in enumerate(read_rows(file), 1):
            yield str(file), number, row


def _mapping(column: str, data: DataConfig) -> str:
    """How a column of another name is given, where none is."""
    name = column.strip("'")
    how = f"; another name is given by columns='{{{name}: NAME}}' (distill, rl: data.columns=)"
    return "" if data.columns else how
