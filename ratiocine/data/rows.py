"""Rows of any source, and their conversion to Problems.

The shared schema: `question`, `answer` (for multiple choice the 0-based index of the right option,
or its letter; None where there is none) and optionally `id`, `choices`, `context`, `category`,
`kind` (else told from the answer), `tolerance`, `decimal`, `solution` and `meta`. Rows of Alpaca's,
ShareGPT's and OpenAI's shapes are read as such.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite, isnan
from typing import Any, get_args

from ratiocine.data.config import DataConfig
from ratiocine.data.option_lists import letter, listed_options, lists_options, option_list
from ratiocine.data.row_files import Row
from ratiocine.data.row_shapes import shaped
from ratiocine.grading import (
    has_decimal_comma,
    has_decimal_point,
    read_number,
    reads_as_formula,
    with_decimal_points,
)
from ratiocine.records import Decimal, Kind, Problem, category_name

UNMAPPED = ("context", "answer", "choices", "kind", "category", "tolerance", "decimal", "solution")
NO_REFERENCE = (
    "give a short answer, in a column of its own or in \\boxed{} of a whole answer; the column of "
    "one is named by data.columns='{answer: NAME}' (eval: columns=)"
)
"""Advice for problems without a reference."""
FORMULA = re.compile(r"[\\^√π]")


def mapped(row: Row, columns: Mapping[str, str] | None, absent: Counter[str] | None = None) -> Row:
    """The row in the shared schema. `columns` names the column of each field; a field that it does
    not name is read from the column of its own name, but for `id`, or from a conversation.

    A missing column is counted in `absent` and its field is None; without it KeyError with the
    column's name is raised.
    """
    absent = _Strict() if absent is None else absent
    told = row if "question" in row else shaped(row)
    if not columns:
        for name in ("question", "answer"):
            if name not in told:
                absent[name] += 1
                told = {**told, name: None}
        return _with_options(told, row.get("options"))
    fields: dict[str, Any] = {"answer": None, "meta": {}}
    if told is not row and "question" not in columns:
        own = told.get("meta")
        meta = dict(own) if isinstance(own, Mapping) else {}
        fields |= {"question": told.get("question"), "answer": told.get("answer"), "meta": meta}
    elif "question" not in columns:
        if "question" not in row:
            absent["question"] += 1
        fields["question"] = row.get("question")
    fields |= {name: row[name] for name in UNMAPPED if row.get(name) is not None}
    for name, path in columns.items():
        try:
            value = _column(row, path)
        except KeyError:
            absent[path] += 1
            value = None
        if name.startswith("meta."):
            fields["meta"][name.removeprefix("meta.")] = value
        else:
            fields[name] = value
    return _with_options(fields, row.get("options"))


class _Strict(Counter[str]):
    """Counts nothing: a missing column is an error."""

    def __setitem__(self, name: str, n: int) -> None:
        raise KeyError(name)


def _with_options(row: Row, options: object) -> Row:
    """The row with the column `options` as `choices`, where it has no others."""
    return row if row.get("choices") or not options else {**row, "choices": options}


def _column(row: Row, path: str) -> Any:
    """The value of a column, or of a field nested in one: dots reach into it where no field is
    called by all that is left of the path."""
    value: Any = row
    steps = path.split(".")
    for at, step in enumerate(steps):
        rest = ".".join(steps[at:])
        if isinstance(value, Mapping) and rest in value:
            return value[rest]
        try:
            value = value[int(step)] if isinstance(value, list) else value[step]
        except (LookupError, TypeError, ValueError):
            raise KeyError(path) from None
    return value


def problem_of(data: DataConfig, row: Row, name: str) -> Problem:
    """A Problem from a row of the shared schema, with `name` as its id if the row has none. Raises
    KeyError, ValueError or TypeError for a malformed row."""
    question = "" if row["question"] is None else row["question"]
    if not isinstance(question, str):
        raise ValueError(f"question {question!r} is no text")
    choices = option_list(row.get("choices"))
    given = row.get("kind") or (None if choices else data.kind)
    if not (choices or given or data.hub) and (found := listed_options(question, row["answer"])):
        question, choices = found
    raw = raw_answers(row, given)
    answers = [_answer(one) for one in raw]
    decimal = _decimal(row, data, answers)
    if decimal == "comma":  # a JSON number has a point
        of_numbers = zip(raw, answers, strict=True)
        answers = [
            text.replace(".", ",") if text and isinstance(one, float) else text
            for one, text in of_numbers
        ]
    kind: Kind = given or _kind_of(answers, choices, decimal)
    if kind not in get_args(Kind):
        raise ValueError(f"kind {kind!r} is not one of {', '.join(get_args(Kind))}")
    multiple_choice = choices or lists_options(question)
    by_domain = f"{data.domain}-{'mc' if multiple_choice else 'oe'}"
    category = row.get("category") or data.category or by_domain
    if not isinstance(category, str):
        raise ValueError(f"category {category!r} is no text")
    try:
        category_name(category)
    except ValueError as error:
        raise ValueError(f"category {category!r}: {error}") from None
    if kind == "choice":
        reference: str | None = letter(row["answer"], choices)
    else:
        reference = answers[0]
    meta = row.get("meta") or {}
    if not isinstance(meta, Mapping):
        raise ValueError(f"meta {str(meta)[:40]!r} is no mapping")
    if isinstance(row.get("solution"), str):
        meta = {"solution": row["solution"], **meta}
    return Problem(
        id=str(row.get("id") or name),
        question=question,
        reference=reference,
        kind=kind,
        category=category,
        source=data.name,
        instruction=data.instruction,
        choices=choices,
        context=_context(_passages(row.get("context")), meta),
        tolerance=_tolerance(row, data, kind),
        decimal=decimal if kind == "number" else "point",
        accepted=tuple(answer for answer in answers[1:] if answer is not None),
        meta=meta,
    )


def _tolerance(row: Row, data: DataConfig, kind: Kind) -> float | None:
    """The relative tolerance of a number; that of the row first."""
    given = row.get("tolerance")
    if isinstance(given, str):  # as in CSV
        given = float(given) if given.strip() else None
    tolerance = data.tolerance if given is None else given
    if tolerance is None or kind != "number":
        return None
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float):
        raise ValueError(f"tolerance {tolerance!r} is no number")
    if not 0 <= tolerance < 1:
        raise ValueError(f"tolerance {tolerance!r} is not a relative error from 0 to below 1")
    return float(tolerance)


def _decimal(row: Row, data: DataConfig, answers: Sequence[str | None]) -> Decimal:
    """What separates the decimals of a row's numbers; its answers tell where nothing is stated."""
    stated = row.get("decimal") or data.decimal
    if stated not in (None, *get_args(Decimal)):
        raise ValueError(f"decimal {stated!r} is not one of {', '.join(get_args(Decimal))}")
    return stated or told_decimal(answers) or "point"


def told_decimal(answers: Iterable[str | None]) -> Decimal | None:
    """The comma where these answers tell that it separates decimals, without a contradiction."""
    comma = point = False
    for text in answers:
        comma |= text is not None and has_decimal_comma(text)
        point |= text is not None and has_decimal_point(text)
        if comma and point:
            return None
    return "comma" if comma else None


def raw_answers(row: Row, kind: Kind | None) -> list[object]:
    """All accepted answers as the row has them, the reference first."""
    without_answer = kind in ("instructions", "procedural")
    answer = row.get("answer") if without_answer else row["answer"]
    if isinstance(answer, Mapping) and "text" in answer:  # SQuAD's {text: […], answer_start: […]}
        answer = answer["text"]
    answers = list(answer) if isinstance(answer, list) else [answer]
    if not answers:
        raise ValueError("answer [] names no answer")
    if len(answers) > 1 and None in answers:
        raise ValueError(f"answer {answers} contains null")
    return answers


def _answer(value: object) -> str | None:
    """A text, number or boolean as JSON writes it."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float) and isnan(value):  # a cell without a value
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) or (isinstance(value, float) and isfinite(value)):
        return str(value)
    raise ValueError(f"answer {str(value)[:40]!r} is neither a text nor a number")


def _kind_of(answers: Sequence[str | None], choices: Sequence[str], decimal: Decimal) -> Kind:
    """The kind of an answer for which none is given: `number` or `expression` if all its references
    are read as such, else `string`."""
    if choices:
        return "choice"
    texts = [answer for answer in answers if answer is not None]
    as_read = with_decimal_points if decimal == "comma" else str
    if texts and all(read_number(as_read(text)) is not None for text in texts):
        return "number"
    if texts and all(FORMULA.search(text) and reads_as_formula(text) for text in texts):
        return "expression"
    return "string"


def _passages(context: object) -> str:
    """A passage, or several of them one after the other."""
    passages = context if isinstance(context, list) else [context or ""]
    texts = [passage for passage in passages if isinstance(passage, str)]
    if len(texts) < len(passages):
        raise ValueError(f"context {str(context)[:40]!r} is neither a text nor a list of texts")
    return "\n".join(texts)


def _context(context: str, meta: Row) -> str:
    """The passage, and the earlier turns of a conversation."""
    turns = [f"Q: {turn['q']}\nA: {turn['a']}" for turn in meta.get("history") or ()]
    return "\n".join([context, *turns]) if turns else context
