"""Named source → Problems: embedded families, hub data sets, local files, tasks, and mixtures of
these.

A problem with a reference enters only if `grade` accepts that reference and no other problem with
the same question contradicts it; a dropped problem is reported with its reason. Sources are
streamed: a file or a data set may be larger than memory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from ratiocine.cli import named
from ratiocine.data.config import DataConfig, HubConfig, Split
from ratiocine.data.contradictions import REASON, accepts, contradicted, question_key
from ratiocine.data.families import FAMILIES, generate
from ratiocine.data.hub import has_split, revision
from ratiocine.data.source_rows import local_file, rows_of
from ratiocine.data.splits import rows_of_test
from ratiocine.data.tasks import task_of
from ratiocine.errors import BadInput
from ratiocine.hashing import Seen, digest, smallest
from ratiocine.records import Problem
from ratiocine.runs import hash_path

GENERATOR_VERSION = 2  # bump it when a family's problems change
Drop = Callable[[Problem, str], None]  # is told of each problem left out, with the reason


@dataclass(frozen=True)
class Loaded:
    """Problems of one source and split."""

    problems: list[Problem]
    dropped: dict[str, list[str]]
    """Ids of the problems left out, by reason."""
    places: dict[str, str]
    """Row and line of each problem left out, by id, where it has them."""

    def drop(self, problem: Problem, reason: str) -> None:
        self.dropped.setdefault(reason, []).append(problem.id)
        if problem.place is not None:
            self.places[problem.id] = problem.place

    def told(self, names: Sequence[str]) -> list[str]:
        """Ids with their places, for people."""
        return [f"{name}, {self.places[name]}" if name in self.places else name for name in names]


def _ignore(problem: Problem, reason: str) -> None:
    return


def load(data: DataConfig, split: Split, *, seed: int = 0, limit: int | None = None) -> Loaded:
    """The problems of one split, at most `limit` per source (family, data set) in it. `seed` drives
    generation and which ones are kept."""
    loaded = Loaded([], {}, {})
    loaded.problems.extend(stream(data, split, seed=seed, limit=limit, drop=loaded.drop))
    return loaded


def stream(
    data: DataConfig,
    split: Split,
    *,
    seed: int = 0,
    limit: int | None = None,
    drop: Drop = _ignore,
) -> Iterator[Problem]:
    """The problems of `load`, one by one; those left out go to `drop`, with the reason."""
    return _stream(data, split, seed, limit, drop, _contradicted(data, split, seed))


def _stream(
    data: DataConfig,
    split: Split,
    seed: int,
    limit: int | None,
    drop: Drop,
    contradictory: frozenset[str],
) -> Iterator[Problem]:
    if data.mix:
        for part, share in _parts(data):
            all_of_part = _stream(part, split, seed, limit, _ignore, contradictory)
            names = [f"{p.source}/{p.id}" for p in all_of_part]
            chosen = set(smallest(names, share, seed))
            for problem in _stream(part, split, seed, limit, drop, contradictory):
                if f"{problem.source}/{problem.id}" in chosen:
                    yield problem
        return
    within = None
    if limit is not None:
        ids: dict[str, list[str]] = {}
        for problem in _usable_problems(data, split, seed, _ignore, contradictory):
            ids.setdefault(problem.source, []).append(problem.id)
        within = {
            (source, name) for source, names in ids.items() for name in smallest(names, limit, seed)
        }
    for problem in _usable_problems(data, split, seed, drop, contradictory):
        if within is None or (problem.source, problem.id) in within:
            yield problem


def _contradicted(data: DataConfig, split: Split, seed: int) -> frozenset[str]:
    """The questions with contradicting references; none in generated problems, nor in a published
    benchmark, which is kept as it is."""
    own = data.path is not None and data.hub is None
    if data.families or (split == "test" and not own):
        return frozenset()
    return contradicted(
        lambda: read(data, split, seed),
        lambda problem: bool(problem.question.strip()) and _gradable(data, problem),
    )


def read(data: DataConfig, split: Split, seed: int) -> Iterator[Problem]:
    """All problems of the source, gradable or not. Raises BadInput for a repeated id."""
    seen = Seen()
    of_split = _all(data, split, seed) if data.test_size is None else _side(data, split)
    for problem in of_split:
        if not seen.add(problem.id):
            raise BadInput(f"data={data.label}: the id '{problem.id}' occurs twice")
        yield problem


def _all(data: DataConfig, split: Split, seed: int) -> Iterator[Problem]:
    if data.mix:
        return chain.from_iterable(_all(part, split, seed) for part, _ in _parts(data))
    return _families(data, split, seed) if data.families else rows_of(data, split)


def _side(data: DataConfig, split: Split) -> Iterator[Problem]:
    """The problems of one side of the only split of a source, divided by `test_size`."""
    assert data.test_size is not None
    if _has_own(data, "train") and _has_own(data, "test"):
        raise BadInput(f"test_size={data.test_size:g}: data={data.label} has splits of its own")
    only: Split = "test" if _has_own(data, "test") else "train"
    source = fingerprint(data.model_copy(update={"name": ""}), only)
    if source not in _TEST_ROWS:
        texts = [text(problem) for problem in rows_of(data, only)]
        _TEST_ROWS[source] = rows_of_test(texts, data.test_size)
    for row, problem in enumerate(rows_of(data, only)):
        if (row in _TEST_ROWS[source]) == (split == "test"):
            yield problem


_TEST_ROWS: dict[str, frozenset[int]] = {}  # by fingerprint, with `test_size`, without the name


# What programs write into a cell without a value. `None` and `NA` may be answers.
MISSING = re.compile(
    r"nan|n/a|<na>|null|tbd|tba|[-–—?]+|#(?:n/a|null|div/0|ref|value|name|num)[!?]?", re.IGNORECASE
)


def _usable_problems(
    data: DataConfig, split: Split, seed: int, drop: Drop, contradictory: frozenset[str]
) -> Iterator[Problem]:
    """The problems of a split without those whose own reference the grader refuses or another one
    contradicts."""
    for problem in read(data, split, seed):
        if not problem.question.strip():
            drop(problem, "question_empty")
        elif problem.reference is None:
            yield problem
        elif not _gradable(data, problem):
            drop(problem, _ungradable(problem))
        elif contradictory and question_key(problem) in contradictory:
            drop(problem, REASON)
        else:
            yield problem


def _gradable(data: DataConfig, problem: Problem) -> bool:
    if _empty(problem):
        return False
    try:
        return gradable(problem)
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(
            f"data={data.label}: the problem '{problem.id}' cannot be judged: {error!r}"
        ) from None


def _empty(problem: Problem) -> bool:
    reference = (problem.reference or "").strip()
    return not reference or (
        problem.kind in ("string", "number") and bool(MISSING.fullmatch(reference))
    )


def _ungradable(problem: Problem) -> str:
    """Why a reference is not used, as a reason to count."""
    if _empty(problem):
        return "reference_empty"
    by_kind = {"number": "reference_not_a_number", "choice": "reference_not_an_option"}
    return by_kind.get(problem.kind, "reference_not_gradable")


def _parts(data: DataConfig) -> list[tuple[DataConfig, int]]:
    """The sources of a mixture with the problems of each, rounded by largest remainder."""
    assert data.mix
    if data.n is None:
        raise BadInput(f"data={data.label}: a mixture needs its size: data.n=10000")
    total = sum(data.mix.values())
    exact = {name: data.n * weight / total for name, weight in data.mix.items()}
    counts = {name: int(share) for name, share in exact.items()}
    by_remainder = sorted(exact, key=lambda name: counts[name] - exact[name])
    for name in by_remainder[: data.n - sum(counts.values())]:
        counts[name] += 1
    parts = {
        name: named("data", name, DataConfig).model_copy(update={"data_dir": data.data_dir})
        for name in data.mix
    }
    return [(parts[name], count) for name, count in counts.items() if count]


def limited(problems: Sequence[Problem], limit: int | None, seed: int) -> list[Problem]:
    """At most `limit` problems of each source; None is no limit."""
    by_source: dict[str, list[Problem]] = {}
    for problem in problems:
        by_source.setdefault(problem.source, []).append(problem)
    if limit is None:
        return list(problems)
    found = []
    for group in by_source.values():
        within = set(smallest([problem.id for problem in group], limit, seed))
        found += [problem for problem in group if problem.id in within]
    return found


def gradable(problem: Problem) -> bool:
    """Whether the grader accepts the problem's own reference."""
    return accepts(problem, problem.reference)


def text(problem: Problem) -> str:
    """A problem without the task wording, which is no sign of a shared problem."""
    return f"{problem.context} {problem.question}".strip()


def fingerprint(data: DataConfig, split: Split) -> str:
    """Content hash of a source: of the generator settings, a local file, a hub revision, or the
    parts of a mixture."""
    described = data.model_dump(exclude={"data_dir", "path", "license", "max_new_tokens"})
    for later in ("test_size", "tolerance", "decimal"):  # keys that earlier releases did not have
        if described[later] is None:
            del described[later]
    for family in described["families"].values():
        # Schema 1's name of the key: content hashes must not change.
        family["expect"] = family.pop("hypothesis")
    if data.mix:
        parts = (fingerprint(part, split) for part, _ in _parts(data))
        return digest("data", json.dumps(described, sort_keys=True), *parts)
    if task := task_of(data):
        return digest("data", split, json.dumps(described, sort_keys=True), *task.hashes(split))
    file = local_file(data, split)
    if file is not None:
        return digest("data", split, json.dumps(described, sort_keys=True), hash_path(file))
    if data.hub is not None:
        described["hub"]["revision"] = revision(data.name, data.hub)
    return digest("data", GENERATOR_VERSION, split, json.dumps(described, sort_keys=True))


def hub_sets(data: DataConfig) -> list[tuple[str, HubConfig]]:
    """The hub data sets that are read, each with the name of its source."""
    if data.mix:
        return [found for part, _ in _parts(data) for found in hub_sets(part)]
    if task := task_of(data):
        return [(data.name, task.hub)] if task.hub else []
    if data.hub is None or data.families or data.path or (data.data_dir and data.files):
        return []
    return [(data.name, data.hub)]


def revisions(data: DataConfig) -> dict[str, str]:
    """The revision of each hub data set that is read, by repository."""
    return {hub.repo: revision(name, hub) for name, hub in hub_sets(data)}


def has(data: DataConfig, split: Split) -> bool:
    """Whether the source has this split, by its configuration or by `test_size`."""
    if data.mix:
        return all(has(part, split) for part, _ in _parts(data))
    return data.test_size is not None or _has_own(data, split)


def _has_own(data: DataConfig, split: Split) -> bool:
    """Whether the configuration names this split; a local `path` has no splits."""
    if task := task_of(data):
        return task.split(split) is not None
    if data.path or data.families:
        return bool(data.families)
    if data.data_dir:
        return split in data.files
    return data.hub is not None and has_split(data.name, data.hub, split)


def _families(data: DataConfig, split: Split, seed: int) -> Iterator[Problem]:
    for entry, family in data.families.items():
        if (family.family or entry) not in FAMILIES:
            known = ", ".join(sorted(FAMILIES))
            unknown = family.family or entry
            raise BadInput(f"data={data.label}: unknown family '{unknown}'; known: {known}")
    for entry, family in data.families.items():
        yield from generate(
            family.family or entry,
            family.train if split == "train" else family.test,
            seed=seed,
            difficulty=family.difficulty,
            split=split,
            instruction=data.instruction,
            settings=family.settings,
            source=entry,
        )
