"""Rows of JSONL and Parquet files, and their conversion to Problems.

The shared schema: `question`, `answer` (for multiple choice the 0-based index of the right option,
or its letter; None where there is none) and optionally `id`, `choices`, `context`, `category`,
`kind`, `meta`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from ratiocine.data.config import DataConfig
from ratiocine.errors import BadInput
from ratiocine.records import LETTERS, Kind, Problem

Row = Mapping[str, Any]  # of any data set
OPTION = re.compile(r"^\s*\(?([A-J])[.):]", re.MULTILINE)


def read_rows(file: Path) -> Iterator[Row]:
    """The rows of a file, read one by one. Raises BadInput for a damaged file."""
    return _parquet_rows(file) if file.suffix == ".parquet" else _json_rows(file)


def _parquet_rows(file: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        for batch in pq.ParquetFile(file).iter_batches(1024):
            yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"{file} is no readable parquet file: {reason}") from None


def _json_rows(file: Path) -> Iterator[Row]:
    with open(file, "rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    raise BadInput(f"{file}: line {number} is not JSON") from None
                if not isinstance(row, dict):
                    raise BadInput(f"{file}: line {number} is no JSON object")
                yield row


def mapped(row: Row, columns: Mapping[str, str] | None) -> Row:
    """The row in the shared schema, `columns` naming the column of each field. Raises KeyError with
    the name of a missing column."""
    if not columns:
        return row
    fields: dict[str, Any] = {"answer": None, "meta": {}}
    for name, path in columns.items():
        value = _column(row, path)
        if name.startswith("meta."):
            fields["meta"][name.removeprefix("meta.")] = value
        else:
            fields[name] = value
    return fields


def _column(row: Row, path: str) -> Any:
    value: Any = row
    for step in path.split("."):
        try:
            value = value[int(step)] if isinstance(value, list) else value[step]
        except (LookupError, TypeError, ValueError):
            raise KeyError(path) from None
    return value


def problem_of(data: DataConfig, row: Row, name: str) -> Problem:
    """A Problem from a row of the shared schema, with `name` as its id if the row has none. Raises
    KeyError, ValueError or TypeError for a malformed row."""
    question = row["question"]
    if not isinstance(question, str) or not question.strip():
        raise ValueError(f"question {question!r} is no text")
    choices = _choices(row)
    kind: Kind = row.get("kind") or data.kind or ("choice" if choices else "string")
    if kind not in get_args(Kind):
        raise ValueError(f"kind {kind!r} is not one of {', '.join(get_args(Kind))}")
    multiple_choice = choices or _lists_options(question)
    by_domain = f"{data.domain}-{'mc' if multiple_choice else 'oe'}"
    category = row.get("category") or data.category or by_domain
    if not isinstance(category, str):
        raise ValueError(f"category {category!r} is no text")
    answers = _answers(row, kind)
    if kind == "choice":
        reference: str | None = _letter(row["answer"], choices)
    else:
        reference = None if answers[0] is None else str(answers[0])
    meta = row.get("meta") or {}
    return Problem(
        id=str(row.get("id") or name),
        question=question,
        reference=reference,
        kind=kind,
        category=category,
        source=data.name,
        instruction=data.instruction,
        choices=choices,
        context=_context(row.get("context") or "", meta),
        accepted=tuple(str(answer) for answer in answers[1:]),
        meta=meta,
    )


def _choices(row: Row) -> tuple[str, ...]:
    options = row.get("choices") or ()
    if isinstance(options, (str, Mapping)) or len(options) > len(LETTERS):
        most = len(LETTERS)
        raise ValueError(f"choices {str(options)[:40]!r} are no list of at most {most} options")
    return tuple(str(choice) for choice in options)


def _answers(row: Row, kind: Kind) -> list[Any]:
    """All accepted answers, the reference first."""
    without_answer = kind in ("instructions", "procedural")
    answer = row.get("answer") if without_answer else row["answer"]
    answers = list(answer) if isinstance(answer, list) else [answer]
    if not answers:
        raise ValueError("answer [] names no answer")
    return answers


def _lists_options(question: str) -> bool:
    """Whether a question lists its own options: three or more lines that begin with A, B, C."""
    return OPTION.findall(question)[:3] == ["A", "B", "C"]


def _letter(answer: object, choices: Sequence[str]) -> str:
    """The letter of the right option, from a letter or a 0-based index."""
    if re.fullmatch("[A-J]", str(answer)):
        return str(answer)
    if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < len(choices):
        n = len(choices)
        raise ValueError(f"answer {answer!r} is neither a letter nor an index into {n} choices")
    return LETTERS[answer]


def _context(context: str, meta: Row) -> str:
    """The passage, and the earlier turns of a conversation."""
    turns = [f"Q: {turn['q']}\nA: {turn['a']}" for turn in meta.get("history") or ()]
    return "\n".join([context, *turns]) if turns else context
