"""Rows of files, JSONL and Parquet, and what makes a Problem of a row in the shared schema."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ratiocine.errors import BadInput
from ratiocine.records import LETTERS, Kind, Problem

if TYPE_CHECKING:
    from ratiocine.data.sources import DataConfig

OPTION = re.compile(r"^\s*\(?([A-J])[.):]", re.MULTILINE)


def read_rows(file: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file, one by one. Raises BadInput where it is damaged."""
    if file.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            for batch in pq.ParquetFile(file).iter_batches(1024):
                yield from batch.to_pylist()
        except pa.ArrowException as error:
            raise BadInput(
                f"{file} is no readable parquet file: {str(error).splitlines()[0]}"
            ) from None
        return
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


def mapped(row: dict[str, Any], columns: Mapping[str, str] | None) -> dict[str, Any]:
    """The row in the shared schema. KeyError with the name of a column that is not there."""
    if not columns:
        return row
    found: dict[str, Any] = {"answer": None, "meta": {}}
    for name, path in columns.items():
        value: Any = row
        for step in path.split("."):
            try:
                value = value[int(step)] if isinstance(value, list) else value[step]
            except (LookupError, TypeError, ValueError):
                raise KeyError(path) from None
        into, inner = (
            (found["meta"], name.removeprefix("meta."))
            if name.startswith("meta.")
            else (found, name)
        )
        into[inner] = value
    return found


def problem_of(data: DataConfig, row: dict[str, Any], name: str) -> Problem:
    """A row of the shared schema: `question`, `answer` (for multiple choice the 0-based index of the right option, or its
    letter; None where there is none), and optionally `id` (else `name`), `choices`, `context`, `category`, `kind`, `meta`.
    Raises KeyError, ValueError or TypeError where it is malformed."""
    if not isinstance(row["question"], str) or not row["question"].strip():
        raise ValueError(f"question {row['question']!r} is no text")
    options = row.get("choices") or ()
    if isinstance(options, (str, Mapping)) or len(options) > len(LETTERS):
        raise ValueError(
            f"choices {str(options)[:40]!r} are no list of at most {len(LETTERS)} options"
        )
    choices = tuple(str(choice) for choice in options)
    kind: Kind = row.get("kind") or data.kind or ("choice" if choices else "string")
    if kind not in get_args(Kind):
        raise ValueError(f"kind {kind!r} is not one of {', '.join(get_args(Kind))}")
    category = (
        row.get("category")
        or data.category
        or f"{data.domain}-{'mc' if choices or _lettered(row['question']) else 'oe'}"
    )
    if not isinstance(category, str):
        raise ValueError(f"category {category!r} is no text")
    answer = row.get("answer") if kind in ("instructions", "procedural") else row["answer"]
    answers = list(answer) if isinstance(answer, list) else [answer]
    if not answers:
        raise ValueError("answer [] names no answer")
    reference: str | None
    if kind == "choice":
        reference = (
            str(answer) if re.fullmatch("[A-J]", str(answer)) else LETTERS[_place(answer, choices)]
        )
    else:
        reference = None if answers[0] is None else str(answers[0])
    meta = row.get("meta") or {}
    return Problem(
        id=str(row.get("id") or name),
        question=row["question"],
        reference=reference,
        kind=kind,
        category=category,
        source=data.name,
        instruction=data.instruction,
        choices=choices,
        context=_context(row.get("context") or "", meta),
        accepted=tuple(str(a) for a in answers[1:]),
        meta=meta,
    )


def _lettered(question: str) -> bool:
    """Whether a question brings its own options: three lines or more that begin with the letters A, B, C."""
    return OPTION.findall(question)[:3] == ["A", "B", "C"]


def _place(answer: Any, choices: Sequence[str]) -> int:
    if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < len(choices):
        raise ValueError(
            f"answer {answer!r} is neither a letter nor an index into {len(choices)} choices"
        )
    return answer


def _context(context: str, meta: Mapping[str, Any]) -> str:
    """The passage, and the turns of a conversation before this question."""
    turns = [f"Q: {turn['q']}\nA: {turn['a']}" for turn in meta.get("history") or ()]
    return "\n".join([context, *turns]) if turns else context
