"""Rows of JSONL and Parquet files, and their conversion to Problems.

The shared schema: `question`, `answer` (for multiple choice the 0-based index of the right option,
or its letter; None where there is none) and optionally `id`, `choices`, `context`, `category`,
`kind` (else told from the answer), `tolerance`, `solution` and `meta`. Rows of Alpaca's, ShareGPT's
and OpenAI's shapes are read as such.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, BinaryIO, cast, get_args

from ratiocine.data.config import ENDINGS, DataConfig, ending
from ratiocine.errors import BadInput
from ratiocine.grading import read_number, reads_as_formula
from ratiocine.records import LETTERS, Kind, Problem

Row = Mapping[str, Any]  # of any data set
FORMULA = re.compile(r"[\\^√π]")
OPTION = re.compile(r"^\s*\(?([A-J])[.):]", re.MULTILINE)


def read_rows(file: Path) -> Iterator[Row]:
    """The rows of a file, read one by one (those of a JSON array at once). Raises BadInput for a
    damaged file, and for one of another kind."""
    kind = ending(file.name)
    if kind not in ENDINGS:
        known = ", ".join(ENDINGS)
        raise BadInput(f"{file}: files of rows end in {known}, or in one of these and .gz")
    if kind == ".parquet":
        return _parquet_rows(file)
    if kind in (".csv", ".tsv"):
        return _csv_rows(file, "\t" if kind == ".tsv" else ",")
    return _json_array(file) if kind == ".json" else _json_rows(file)


def _opened(file: Path) -> BinaryIO:
    zipped = file.name.lower().endswith(".gz")
    return cast(BinaryIO, gzip.open(file)) if zipped else open(file, "rb")


def _json_array(file: Path) -> Iterator[Row]:
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
        yield _object(file, f"item {number}", row)


def _csv_rows(file: Path, delimiter: str) -> Iterator[Row]:
    try:
        with io.TextIOWrapper(_opened(file), encoding="utf-8-sig", newline="") as lines:
            for row in csv.DictReader(lines, delimiter=delimiter):
                if None in row or None in row.values():
                    raise BadInput(f"{file}: a row has another number of fields than the header")
                yield row
    except (csv.Error, UnicodeDecodeError, OSError, EOFError) as error:
        raise BadInput(f"{file} is no readable CSV file in UTF-8: {error}") from None


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
    try:
        with _opened(file) as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    try:
                        row = json.loads(line.removeprefix(b"\xef\xbb\xbf"))
                    except (ValueError, RecursionError):
                        raise BadInput(f"{file}: line {number} is not JSON") from None
                    yield _object(file, f"line {number}", row, escaped=b"\\u" in line)
    except (OSError, EOFError) as error:
        raise BadInput(f"{file} cannot be read: {error}") from None


def _encodable(row: Row) -> bool:
    """Whether a row's texts can be stored: half of a surrogate pair cannot."""
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def mapped(row: Row, columns: Mapping[str, str] | None) -> Row:
    """The row in the shared schema, `columns` naming the column of each field. Raises KeyError with
    the name of a missing column."""
    if not columns:
        return row if "question" in row else _shaped(row)
    fields: dict[str, Any] = {"answer": None, "meta": {}}
    for name, path in columns.items():
        value = _column(row, path)
        if name.startswith("meta."):
            fields["meta"][name.removeprefix("meta.")] = value
        else:
            fields[name] = value
    return fields


def _shaped(row: Row) -> Row:
    """A row in the shape of Alpaca (`instruction`, `input`, `output`), ShareGPT (`conversations`)
    or OpenAI (`messages`), of whose turns the first of the user and the next one count; any other
    row as it is."""
    if "instruction" in row and "output" in row:
        parts = [row["instruction"], row.get("input")]
        question = "\n".join(str(part) for part in parts if part)
        return {**row, "question": question, "answer": row["output"]}
    turns = row.get("messages") or row.get("conversations")
    if not isinstance(turns, list):
        return row
    said = [
        (turn.get("role") or turn.get("from"), turn.get("content") or turn.get("value"))
        for turn in turns
        if isinstance(turn, Mapping)
    ]
    first = next((at for at, (role, _) in enumerate(said) if role in ("user", "human")), None)
    if first is None:
        return row
    answer = said[first + 1][1] if len(said) > first + 1 else None
    return {**row, "question": said[first][1], "answer": answer}


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
    given = row.get("kind") or data.kind
    answers = _answers(row, given)
    kind: Kind = given or _kind_of(answers, choices)
    if kind not in get_args(Kind):
        raise ValueError(f"kind {kind!r} is not one of {', '.join(get_args(Kind))}")
    multiple_choice = choices or _lists_options(question)
    by_domain = f"{data.domain}-{'mc' if multiple_choice else 'oe'}"
    category = row.get("category") or data.category or by_domain
    if not isinstance(category, str):
        raise ValueError(f"category {category!r} is no text")
    if kind == "choice":
        reference: str | None = _letter(row["answer"], choices)
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


def _choices(row: Row) -> tuple[str, ...]:
    options = row.get("choices") or ()
    if isinstance(options, (str, Mapping)) or len(options) > len(LETTERS):
        most = len(LETTERS)
        raise ValueError(f"choices {str(options)[:40]!r} are no list of at most {most} options")
    return tuple(str(choice) for choice in options)


def _answers(row: Row, kind: Kind | None) -> list[str | None]:
    """All accepted answers, the reference first."""
    without_answer = kind in ("instructions", "procedural")
    answer = row.get("answer") if without_answer else row["answer"]
    if isinstance(answer, Mapping) and "text" in answer:  # SQuAD's {text: […], answer_start: […]}
        answer = answer["text"]
    answers = list(answer) if isinstance(answer, list) else [answer]
    if not answers:
        raise ValueError("answer [] names no answer")
    if len(answers) > 1 and None in answers:
        raise ValueError(f"answer {answers} contains null")
    return [_answer(one) for one in answers]


def _answer(value: object) -> str | None:
    """A text, number or boolean as JSON writes it."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) or (isinstance(value, float) and isfinite(value)):
        return str(value)
    raise ValueError(f"answer {str(value)[:40]!r} is neither a text nor a number")


def _kind_of(answers: Sequence[str | None], choices: Sequence[str]) -> Kind:
    """The kind of an answer for which none is given: `number` or `expression` if all its references
    are read as such, else `string`."""
    if choices:
        return "choice"
    texts = [answer for answer in answers if answer is not None]
    if texts and all(read_number(text) is not None for text in texts):
        return "number"
    if texts and all(FORMULA.search(text) and reads_as_formula(text) for text in texts):
        return "expression"
    return "string"


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
