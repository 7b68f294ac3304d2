"""Named source → Problems: embedded families, hub data sets, local JSONL and Parquet files, and mixtures of these.

A problem that has a reference enters only if `grade` accepts that reference; what is dropped is told with its reason. Sources
are read as they come: a file or a data set may be larger than memory.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from ratiocine.cli import named
from ratiocine.config import ByContent, Hashed, StrictConfig, Unhashed
from ratiocine.data.families import FAMILIES, Split, generate
from ratiocine.data.hub import HubConfig, adapted, download, revision, streamed
from ratiocine.data.rows import mapped, problem_of, read_rows
from ratiocine.errors import BadInput
from ratiocine.grading import grade
from ratiocine.hashing import Seen, content_key, digest, smallest
from ratiocine.prompts import Parts
from ratiocine.records import Kind, Problem
from ratiocine.runs import hash_path

GENERATOR_VERSION = 2  # raise it when a family's problems change


class FamilyConfig(StrictConfig):
    """How many problems of a family go to each split, at which difficulty, and what is expected of traces there. One with a
    name of its own says whose problems it has (`family`) and may set its generator (`settings`) itself."""

    train: Hashed[NonNegativeInt]
    test: Hashed[NonNegativeInt]
    difficulty: Hashed[PositiveInt] = 1
    family: Hashed[str | None] = None
    settings: Hashed[dict[str, int | float]] = {}
    hypothesis: Hashed[Literal["gain", "no_gain"] | None] = None


class DataConfig(StrictConfig):
    """conf/data: `families`, or rows from `path` (a file of the user's), `root`/`files` (local copies) or `hub`, or a mixture
    of `n` problems in which each named source has its share (`mix`). `columns` says which column holds a field of the shared
    schema (`question`, `answer`, `meta.level`, …); dots reach inside one. `budget` is the number of tokens a completion is
    given where nothing else is said."""

    name: Hashed[str]
    instruction: Hashed[str] = ""
    families: Hashed[dict[str, FamilyConfig]] = {}
    mix: Hashed[dict[str, PositiveFloat] | None] = None
    n: Hashed[PositiveInt | None] = None
    columns: Hashed[dict[str, str] | None] = None
    kind: Hashed[Kind | None] = None
    category: Hashed[str | None] = None
    domain: Hashed[Literal["general", "math"]] = "general"
    hub: Hashed[HubConfig | None] = None
    files: Hashed[dict[Split, str]] = {}
    data_dir: ByContent[str | None] = None
    path: ByContent[str | None] = None
    license: Unhashed[str | None] = None
    max_new_tokens: Hashed[PositiveInt | None] = None


@dataclass(frozen=True)
class Loaded:
    """Problems of one source and split, and the ids of dropped rows by reason."""

    problems: list[Problem]
    dropped: dict[str, list[str]]


def load(data: DataConfig, split: Split, *, seed: int = 0, limit: int | None = None) -> Loaded:
    """The problems of one split; at most `limit` of each named benchmark in it. `seed` drives generation and `limit`."""
    dropped: dict[str, list[str]] = {}

    def drop(problem: Problem, reason: str) -> None:
        dropped.setdefault(reason, []).append(problem.id)

    return Loaded(list(stream(data, split, seed=seed, limit=limit, drop=drop)), dropped)


def stream(
    data: DataConfig,
    split: Split,
    *,
    seed: int = 0,
    limit: int | None = None,
    drop: Callable[[Problem, str], None] = lambda problem, reason: None,
) -> Iterator[Problem]:
    """The problems that `load` gives, one by one; `drop` is told of each that is left out, and why."""
    if data.mix:
        for part, share in _parts(data):
            names = [f"{p.source}/{p.id}" for p in stream(part, split, seed=seed, limit=limit)]
            chosen = set(smallest(names, share, seed))
            for problem in stream(part, split, seed=seed, limit=limit, drop=drop):
                if f"{problem.source}/{problem.id}" in chosen:
                    yield problem
        return
    kept = None
    if limit is not None:
        ids: dict[str, list[str]] = {}
        for problem in _checked(data, split, seed, lambda problem, reason: None):
            ids.setdefault(problem.source, []).append(problem.id)
        kept = {
            (source, name) for source, names in ids.items() for name in smallest(names, limit, seed)
        }
    for problem in _checked(data, split, seed, drop):
        if kept is None or (problem.source, problem.id) in kept:
            yield problem


def read(data: DataConfig, split: Split, seed: int) -> Iterator[Problem]:
    """All problems as they stand in the source, whatever they are worth. Raises BadInput where two have one id."""
    seen = Seen()
    for problem in _all(data, split, seed):
        if not seen.add(problem.id):
            raise BadInput(f"data={data.name}: the id '{problem.id}' occurs twice")
        yield problem


def _all(data: DataConfig, split: Split, seed: int) -> Iterator[Problem]:
    if data.mix:
        return chain.from_iterable(_all(part, split, seed) for part, _ in _parts(data))
    return _families(data, split, seed) if data.families else _rows(data, split)


def _checked(
    data: DataConfig, split: Split, seed: int, drop: Callable[[Problem, str], None]
) -> Iterator[Problem]:
    """All problems of a split whose own reference can be judged."""
    for problem in read(data, split, seed):
        if problem.reference is not None and not _gradable(problem, data):
            drop(problem, "reference_not_gradable")
        else:
            yield problem


def _parts(data: DataConfig) -> list[tuple[DataConfig, int]]:
    """The sources of a mixture and how many problems each gives; what rounding leaves goes to the largest remainders."""
    assert data.mix
    if data.n is None:
        raise BadInput(f"data={data.name}: a mixture needs its size: data.n=10000")
    total = sum(data.mix.values())
    exact = {name: data.n * weight / total for name, weight in data.mix.items()}
    counts = {name: int(share) for name, share in exact.items()}
    for name in sorted(exact, key=lambda name: counts[name] - exact[name])[
        : data.n - sum(counts.values())
    ]:
        counts[name] += 1
    parts = {
        name: named("data", name, DataConfig).model_copy(update={"data_dir": data.data_dir})
        for name in data.mix
    }
    return [(parts[name], count) for name, count in counts.items() if count]


def limited(problems: Sequence[Problem], limit: int | None, seed: int) -> list[Problem]:
    """At most `limit` problems of each named benchmark."""
    by_source: dict[str, list[Problem]] = {}
    for problem in problems:
        by_source.setdefault(problem.source, []).append(problem)
    if limit is None:
        return list(problems)
    found = []
    for group in by_source.values():
        kept = set(smallest([problem.id for problem in group], limit, seed))
        found += [problem for problem in group if problem.id in kept]
    return found


def _gradable(problem: Problem, data: DataConfig) -> bool:
    try:
        return gradable(problem)
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(
            f"data={data.name}: the problem '{problem.id}' cannot be judged: {error!r}"
        ) from None


def gradable(problem: Problem) -> bool:
    """Whether the grader calls the problem's own reference right."""
    parts = Parts(think=None, answer="", boxed=problem.reference, closed=True)
    return grade(problem, parts).verdict == "right"


def content(problem: Problem) -> str:
    """What makes two problems the same problem: the generator's item where there is one, else the question."""
    return str(problem.meta.get("content") or content_key(f"{problem.context} {problem.question}"))


def fingerprint(data: DataConfig, split: Split) -> str:
    """Content hash of a source: of the generator's settings, of a local file, of a hub revision, or of a mixture's parts."""
    described = data.model_dump(exclude={"data_dir", "path", "license", "max_new_tokens"})
    for family in described["families"].values():
        family["expect"] = family.pop(
            "hypothesis"
        )  # as schema 1 calls it, so that content hashes stay what they were
    if data.mix:
        return digest(
            "data",
            json.dumps(described, sort_keys=True),
            *(fingerprint(part, split) for part, _ in _parts(data)),
        )
    file = _local_file(data, split)
    if file is not None:
        return digest("data", split, json.dumps(described, sort_keys=True), hash_path(file))
    if data.hub is not None:
        described["hub"]["revision"] = revision(data.name, data.hub)
    return digest("data", GENERATOR_VERSION, split, json.dumps(described, sort_keys=True))


def revisions(data: DataConfig) -> dict[str, str]:
    """The revision at which each data set of the hub is read."""
    if data.mix:
        return {name: found for part, _ in _parts(data) for name, found in revisions(part).items()}
    if data.hub is None or data.families or data.path or (data.data_dir and data.files):
        return {}
    return {data.hub.repo: revision(data.name, data.hub)}


def has(data: DataConfig, split: Split) -> bool:
    """Whether a split of the source is within reach, as far as its configuration says."""
    if data.mix:
        return all(has(part, split) for part, _ in _parts(data))
    if data.path or data.families:
        return bool(data.families)
    return split in data.files if data.data_dir else data.hub is not None and data.hub.has(split)


def _families(data: DataConfig, split: Split, seed: int) -> Iterator[Problem]:
    of = {name: family.family or name for name, family in data.families.items()}
    if unknown := [name for name in of.values() if name not in FAMILIES]:
        raise BadInput(
            f"data={data.name}: unknown family '{unknown[0]}'; known: {', '.join(sorted(FAMILIES))}"
        )
    for name, family in data.families.items():
        yield from generate(
            of[name],
            family.train if split == "train" else family.test,
            seed=seed,
            difficulty=family.difficulty,
            split=split,
            instruction=data.instruction,
            settings=family.settings,
            source=name,
        )


def _local_file(data: DataConfig, split: Split) -> Path | None:
    if data.path is not None:
        file = Path(data.path)
    elif data.data_dir is not None and data.files:
        if split not in data.files:
            raise BadInput(f"data={data.name} has no {split} split")
        file = Path(data.data_dir) / data.files[split]
    else:
        return None
    if not file.is_file():
        raise BadInput(f"data={data.name}: {file} is not a file")
    return file


def _rows(data: DataConfig, split: Split) -> Iterator[Problem]:
    file = _local_file(data, split)
    own = file is not None and (
        data.path is None or data.hub is None
    )  # in the shared schema, or with `columns`
    rows = read_rows(file) if own and file is not None else _hub(data, split, file)
    seen, again = Seen(), Counter[str]()
    for index, row in enumerate(rows):
        where = f"{file or f'data={data.name}'}, row {index + 1}"
        try:
            row = mapped(row, data.columns)
            name = ""
            if not row.get("id"):  # a name that does not depend on the file's order
                name = f"{data.name}-{split}-{digest(row['question'], row.get('context'), row.get('choices'))[:12]}"
                if not seen.add(name):
                    again[name] += 1
                    name += f"-{again[name] + 1}"
            yield problem_of(data, row, name)
        except KeyError as error:
            raise BadInput(
                f"{where}: there is no column {error}; there are {', '.join(row)}"
            ) from None
        except (AttributeError, TypeError, ValueError, IndexError, RecursionError) as error:
            raise BadInput(f"{where}: {error}") from None


def _hub(data: DataConfig, split: Split, copy: Path | None) -> Iterator[dict[str, Any]]:
    """The rows of a data set as the hub has them, from there or from a local copy of its file."""
    if data.hub is None:
        raise BadInput(f"data={data.name} names no source: give data.path=FILE")
    if not data.hub.has(split):
        raise BadInput(f"data={data.name} has no {split} split")
    if copy is not None:
        found = ((str(copy), row) for row in enumerate(read_rows(copy), 1))
    elif split in data.hub.files:
        found = (
            (str(file), row)
            for file in download(data.name, data.hub, split)
            for row in enumerate(read_rows(file), 1)
        )
    else:
        found = (
            (f"data={data.name}", row) for row in enumerate(streamed(data.name, data.hub, split), 1)
        )
    for file, (number, row) in found:
        try:
            yield from adapted(data.hub, row)
        except (KeyError, ValueError, IndexError, TypeError, AttributeError) as error:
            raise BadInput(
                f"{file}: row {number} is not as {data.hub.repo} has them: {error!r}"
            ) from None
