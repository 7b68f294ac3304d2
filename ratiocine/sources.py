"""Named source → Problems: embedded families, hub data sets at a pinned revision, local JSONL and Parquet files.

A problem that has a reference enters only if `grade` accepts that reference; what is dropped is listed by reason.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt

from ratiocine.errors import BadInput
from ratiocine.families import FAMILIES, Split, generate
from ratiocine.grading import grade
from ratiocine.hub import HubConfig, adapted, download
from ratiocine.problems import LETTERS, Kind, Problem, content_key, digest, smallest
from ratiocine.prompts import Parts
from ratiocine.runs import hash_path

GENERATOR_VERSION = 1  # raise it when a family's problems change


class FamilyConfig(BaseModel):
    """How many problems of a family go to each split, at which difficulty, and what is expected of traces there."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    train: NonNegativeInt
    test: NonNegativeInt
    difficulty: PositiveInt = 1
    expect: Literal["gain", "no_gain"] | None = None


class DataConfig(BaseModel):
    """conf/data: either `families`, or rows from `path` (a file of the user's), `root`/`files` (local copies) or `hub`.
    `budget` is the number of tokens a completion of it is given where nothing else is said."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    instruction: str = ""
    families: dict[str, FamilyConfig] = {}
    kind: Kind | None = None
    category: str | None = None
    hub: HubConfig | None = None
    files: dict[Split, str] = {}
    root: str | None = None
    path: str | None = None
    licence: str | None = None
    budget: PositiveInt | None = None


@dataclass(frozen=True)
class Loaded:
    """Problems of one source and split, and the ids of dropped rows by reason."""

    problems: list[Problem]
    dropped: dict[str, list[str]]


def load(data: DataConfig, split: Split, *, seed: int = 0, limit: int | None = None) -> Loaded:
    """The problems of one split; at most `limit` of each named benchmark in it. `seed` drives generation and `limit`."""
    problems = list(_families(data, split, seed)) if data.families else list(_rows(data, split))
    dropped: dict[str, list[str]] = {}
    kept: dict[str, Problem] = {}
    for problem in problems:
        if problem.id in kept:
            raise BadInput(f"data={data.name}: the id '{problem.id}' occurs twice")
        if problem.reference is not None and not _gradable(problem, data):
            dropped.setdefault("reference_not_gradable", []).append(problem.id)
            continue
        kept[problem.id] = problem
    return Loaded(limited(list(kept.values()), limit, seed), dropped)


def limited(problems: Sequence[Problem], limit: int | None, seed: int) -> list[Problem]:
    """At most `limit` problems of each named benchmark."""
    by_source: dict[str, list[Problem]] = {}
    for problem in problems:
        by_source.setdefault(problem.source, []).append(problem)
    return [p for group in by_source.values() for p in smallest(group, limit, seed)]


def _gradable(problem: Problem, data: DataConfig) -> bool:
    try:
        return gradable(problem)
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"data={data.name}: the problem '{problem.id}' cannot be judged: {error!r}") from None


def gradable(problem: Problem) -> bool:
    """Whether the grader calls the problem's own reference right."""
    parts = Parts(think=None, answer="", boxed=problem.reference, closed=True)
    return grade(problem, parts).verdict == "right"


def content(problem: Problem) -> str:
    """What makes two problems the same problem: the generator's item where there is one, else the question."""
    return str(problem.meta.get("content") or content_key(f"{problem.context} {problem.question}"))


def fingerprint(data: DataConfig, split: Split) -> str:
    """Content hash of a source: of the generator's settings, of a local file, or of a hub revision."""
    described = data.model_dump(exclude={"root", "path", "licence", "budget"})
    file = _local_file(data, split)
    if file is None:
        return digest("data", GENERATOR_VERSION, split, json.dumps(described, sort_keys=True))
    return digest("data", split, json.dumps(described, sort_keys=True), hash_path(file))


def _families(data: DataConfig, split: Split, seed: int) -> Iterator[Problem]:
    if unknown := [name for name in data.families if name not in FAMILIES]:
        raise BadInput(f"data={data.name}: unknown family '{unknown[0]}'; known: {', '.join(sorted(FAMILIES))}")
    for name, family in data.families.items():
        n = family.train if split == "train" else family.test
        yield from generate(name, n, seed=seed, difficulty=family.difficulty, split=split, instruction=data.instruction)


def _local_file(data: DataConfig, split: Split) -> Path | None:
    if data.path is not None:
        file = Path(data.path)
    elif data.root is not None and data.files:
        if split not in data.files:
            raise BadInput(f"data={data.name} has no {split} split")
        file = Path(data.root) / data.files[split]
    else:
        return None
    if not file.is_file():
        raise BadInput(f"data={data.name}: {file} is not a file")
    return file


def _rows(data: DataConfig, split: Split) -> Iterator[Problem]:
    file = _local_file(data, split)
    rows = _read(file) if file is not None else _hub(data, split)
    seen: Counter[str] = Counter()
    for index, row in enumerate(rows):
        where = f"{file or f'data={data.name}'}, row {index + 1}"
        try:
            name = digest(row["question"], row.get("context"), row.get("choices"))[:12]  # does not depend on the file's order
            seen[name] += 1
            yield problem_of(data, row, f"{data.name}-{split}-{name}" + (f"-{seen[name]}" if seen[name] > 1 else ""))
        except KeyError as error:
            raise BadInput(f"{where}: there is no field {error}") from None
        except (AttributeError, TypeError, ValueError, IndexError, RecursionError) as error:
            raise BadInput(f"{where}: {error}") from None


def _read(file: Path) -> Iterator[dict[str, Any]]:
    if file.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            yield from pq.read_table(file).to_pylist()
        except pa.ArrowException as error:
            raise BadInput(f"{file} is no readable parquet file: {str(error).splitlines()[0]}") from None
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


def _hub(data: DataConfig, split: Split) -> Iterator[dict[str, Any]]:
    if data.hub is None:
        raise BadInput(f"data={data.name} names no source: give data.path=FILE")
    for file in download(data.name, data.hub, split):
        for number, row in enumerate(_read(file), 1):
            try:
                yield from adapted(data.hub, row)
            except (KeyError, ValueError, IndexError, TypeError, AttributeError) as error:
                raise BadInput(f"{file}: row {number} is not as {data.hub.repo} has them: {error!r}") from None


def problem_of(data: DataConfig, row: dict[str, Any], name: str) -> Problem:
    """A row of the shared schema: `question`, `answer` (for multiple choice the 0-based index of the right option, or its
    letter; None where there is none), and optionally `id` (else `name`), `choices`, `context`, `category`, `kind`, `meta`.
    Raises KeyError, ValueError or TypeError where it is malformed."""
    if not isinstance(row["question"], str) or not row["question"].strip():
        raise ValueError(f"question {row['question']!r} is no text")
    options = row.get("choices") or ()
    if isinstance(options, (str, Mapping)) or len(options) > len(LETTERS):
        raise ValueError(f"choices {str(options)[:40]!r} are no list of at most {len(LETTERS)} options")
    choices = tuple(str(choice) for choice in options)
    kind: Kind = row.get("kind") or data.kind or ("choice" if choices else "string")
    if kind not in get_args(Kind):
        raise ValueError(f"kind {kind!r} is not one of {', '.join(get_args(Kind))}")
    category = row.get("category") or data.category or ("general-mc" if choices else "general-oe")
    if not isinstance(category, str):
        raise ValueError(f"category {category!r} is no text")
    answer = row.get("answer") if kind in ("instructions", "procedural") else row["answer"]
    answers = list(answer) if isinstance(answer, list) else [answer]
    if not answers:
        raise ValueError("answer [] names no answer")
    reference: str | None
    if kind == "choice":
        reference = str(answer) if re.fullmatch("[A-J]", str(answer)) else LETTERS[_place(answer, choices)]
    else:
        reference = None if answers[0] is None else str(answers[0])
    meta = row.get("meta") or {}
    return Problem(
        id=str(row.get("id") or name), question=row["question"], reference=reference,
        kind=kind, category=category, source=data.name,
        instruction=data.instruction, choices=choices, context=_context(row.get("context") or "", meta),
        accepted=tuple(str(a) for a in answers[1:]), meta=meta,
    )  # fmt: skip


def _place(answer: Any, choices: Sequence[str]) -> int:
    if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < len(choices):
        raise ValueError(f"answer {answer!r} is neither a letter nor an index into {len(choices)} choices")
    return answer


def _context(context: str, meta: Mapping[str, Any]) -> str:
    """The passage, and the turns of a conversation before this question."""
    turns = [f"Q: {turn['q']}\nA: {turn['a']}" for turn in meta.get("history") or ()]
    return "\n".join([context, *turns]) if turns else context
