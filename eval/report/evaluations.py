"""Finished evaluations: loading them, their labels, and the problems that they share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from ratiocine.column_builder import columns_of, read_columns
from ratiocine.columns import Columns, ProblemTable, StoredAnswers
from ratiocine.errors import BadInput
from ratiocine.executors import map_in_processes, num_cpus
from ratiocine.progress import tracked
from ratiocine.records import JsonObject, ScoredCompletion
from ratiocine.runs import (
    CONFIG,
    EvalFacts,
    Manifest,
    StudentInfo,
    check_finished,
    read_config,
    read_manifest,
)
from ratiocine.scores import check_names
from ratiocine.stores import completions_file

if TYPE_CHECKING:
    import numpy as np

PARALLEL_BYTES = 1 << 26  # of completions, from which several processes read them


@dataclass(frozen=True)
class Evaluation:
    """One finished evaluation."""

    label: str
    manifest: Manifest
    config: JsonObject
    """As it was run, by key."""
    answers: Mapping[str, Sequence[ScoredCompletion]]
    """Completions by problem; those of a folder (`StoredAnswers`) are read from it when asked for,
    as their numbers in `columns` are what is held."""
    folder: Path | None = None
    model: str | None = None
    """Its starting model, where the name alone is that of several (`distinct_models`)."""

    @cached_property
    def facts(self) -> EvalFacts:
        facts = self.manifest.evaluation
        return facts if self.model is None else facts.renamed(self.model)

    @cached_property
    def columns(self) -> Columns:
        """The numbers of the completions."""
        if isinstance(self.answers, StoredAnswers):
            return self.answers.columns
        return columns_of(row for rows in self.answers.values() for row in rows)

    def at(self, keys: Sequence[str]) -> np.ndarray:
        """The numbers of these problems in `columns`."""
        return self.columns.problems.at(keys)

    @property
    def student(self) -> StudentInfo | None:
        """None for a starting model."""
        return self.facts.student

    @property
    def ratio(self) -> float | None:
        """The reasoning ratio of its training; None where that is not one number."""
        return self.student.ratio if self.student else None

    @property
    def seed(self) -> int | None:
        """The training seed."""
        return self.student.seed if self.student else None

    def mean_tokens(self, keys: Sequence[str]) -> float | None:
        """Mean tokens of a completion of these problems; None where no request was answered."""
        n = self.columns.total("answered", at := self.at(keys))
        return self.columns.total("answered n_completion", at) / n if n else None

    def row(self, number: int) -> ScoredCompletion:
        """The completion with this number in `columns`."""
        columns = self.columns
        problem = int(columns.by_problem[number])
        return self.answers[columns.problems.keys[problem]][number - int(columns.starts[problem])]

    def benchmark(self, key: str) -> str:
        problems = self.columns.problems
        return problems.benchmarks[problems.numbers[key]]

    def category(self, key: str) -> str:
        problems = self.columns.problems
        return problems.categories[problems.numbers[key]]

    def level(self, key: str) -> str | None:
        """Of difficulty; None where the benchmark has no levels."""
        problems = self.columns.problems
        return problems.levels[problems.numbers[key]]


def find_evaluations(folder: Path) -> list[Path]:
    """The folder itself, or, for the folder of a study, those of its finished evaluations.

    Raises BadInput where there are none.
    """
    if not folder.is_dir() or (folder / "DONE").exists() or (folder / CONFIG).exists():
        return [folder]
    done = [inner for inner in sorted(folder.iterdir()) if (inner / "DONE").exists()]
    found = [inner for inner in done if read_manifest(inner).verb == "eval"]
    if not found:
        raise BadInput(f"{folder} holds no finished evaluation, neither itself nor in a subfolder")
    return found


def load_all(folders: Sequence[Path]) -> list[Evaluation]:
    """All evaluations in these folders (`find_evaluations`), copies of one evaluation once.

    Copies have one hash, engine and grader. Raises BadInput as `load_evaluations`.
    """
    found: dict[tuple[str | None, ...], Path] = {}
    for folder in folders:
        for one in find_evaluations(folder):
            manifest = read_manifest(one)
            named = [manifest.facts.get(name) for name in ("engine", "grader")]
            key = (manifest.hash, *named)
            found.setdefault(key, one)
    return load_evaluations([*found.values()])


def load_evaluations(folders: Sequence[Path], *, with_tokens: bool = False) -> list[Evaluation]:
    """The evaluations in the given order; token ids and log-probabilities only `with_tokens`.

    Raises BadInput where a folder is no finished evaluation, and where evaluations have different
    graders, different problems of one name, or no problem in common.
    """
    evaluations: list[Evaluation] = []
    for found in distinct_models(_load_folders(folders, with_tokens)):
        if found.label in {evaluation.label for evaluation in evaluations}:
            found = replace(found, label=f"{found.label} ({found.manifest.hash[:6]})")
        evaluations.append(found)
    _check_comparable(evaluations)
    if not shared_keys(evaluations):
        raise BadInput("these evaluations share no problem that could be compared")
    return evaluations


def _load(folder: Path, *, with_tokens: bool) -> Evaluation:
    manifest = check_finished(folder)
    if manifest.verb != "eval":
        raise BadInput(f"{folder} holds a `{manifest.verb}` run, not an evaluation")
    columns = read_columns(completions_file(folder))
    for named in {*zip(columns.problems.benchmarks, columns.problems.categories, strict=True)}:
        check_names(folder, *named)
    answers = StoredAnswers(folder, columns, with_tokens=with_tokens)
    return Evaluation(label(manifest.evaluation), manifest, read_config(folder), answers, folder)


def _load_folders(folders: Sequence[Path], with_tokens: bool) -> list[Evaluation]:
    """In parallel where that is worth the start of processes. Equal tables of problems are held
    once."""
    load = partial(_load, with_tokens=with_tokens)
    files = [completions_file(folder) for folder in folders]
    n_bytes = sum(file.stat().st_size for file in files if file.is_file())
    if n_bytes < PARALLEL_BYTES:
        return _with_shared_problems(map(load, folders))
    loaded = map_in_processes(load, folders, min(len(folders), num_cpus()))
    return _with_shared_problems(tracked(loaded, len(folders), "read", "evaluations"))


def _with_shared_problems(evaluations: Iterable[Evaluation]) -> list[Evaluation]:
    tables: list[ProblemTable] = []
    found = []
    for evaluation in evaluations:
        problems = evaluation.columns.problems
        same = next((table for table in tables if table == problems), None)
        if same is None:
            tables.append(problems)
        else:
            answers = evaluation.answers
            assert isinstance(answers, StoredAnswers)
            answers.columns = replace(answers.columns, problems=same)
            evaluation = replace(evaluation, answers=answers)
        found.append(evaluation)
    return found


def distinct_models(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """The evaluations; starting models of one name, but of other contents and paths, are named by
    the shortest ends of their paths that differ."""
    starts = [_start(evaluation) for evaluation in evaluations]
    ends = {name: _ends([one for one in starts if one.name == name]) for name, _, _ in starts}
    found = []
    for evaluation, start in zip(evaluations, starts, strict=True):
        if start.content in ends[start.name]:
            evaluation = replace(evaluation, model=ends[start.name][start.content])
            evaluation = replace(evaluation, label=label(evaluation.facts))
        found.append(evaluation)
    return found


class _Start(NamedTuple):
    """A starting model; None where a path or content hash is unknown."""

    name: str
    path: str | None
    content: str | None


def _start(evaluation: Evaluation) -> _Start:
    student = evaluation.student
    if student is None:
        path = (evaluation.config.get("model") or {}).get("path")
        return _Start(evaluation.facts.model, path, evaluation.manifest.inputs.get("model"))
    *_, first = student.ancestors()
    return _Start(str(first.base or evaluation.facts.model), first.base_path, first.base_hash)


def _ends(starts: Sequence[_Start]) -> dict[str | None, str]:
    """By content, the last parts of its path, at least two and as few as tell the paths apart; none
    where there is a single path."""
    parts: dict[str | None, tuple[str, ...]] = {
        one.content: tuple(part for part in one.path.split("/") if part not in ("", "."))
        for one in starts
        if one.content and one.path
    }
    n_paths = len(set(parts.values()))
    if n_paths + any(one.content and not one.path for one in starts) < 2:
        return {}
    for n in range(2, 1 + max(map(len, parts.values()), default=0)):
        ends = {content: "/".join(of[-n:]) for content, of in parts.items()}
        if len(set(ends.values())) == n_paths:
            return ends
    return {}


def _check_comparable(evaluations: Sequence[Evaluation]) -> None:
    asked: dict[str, Evaluation] = {}
    for evaluation in evaluations:
        for name, value in evaluation.manifest.inputs.items():
            if not name.startswith("benchmark:"):
                continue
            other = asked.setdefault(name, evaluation)
            if other.manifest.inputs[name] != value:
                raise BadInput(
                    f"{other.folder} ({other.label}) and {evaluation.folder} ({evaluation.label}) "
                    f"have different {name.partition(':')[2]} problems (questions, references or "
                    "categories); evaluate both on one file"
                )
    graders = {evaluation.facts.grader: evaluation for evaluation in reversed(evaluations)}
    if len(graders) > 1:
        named = ", ".join(
            f"{evaluation.label}: {grader or 'unknown'}" for grader, evaluation in graders.items()
        )
        raise BadInput(
            f"the evaluations have different grader versions ({named}); grade them again with "
            "python -m eval.regrade"
        )


def label(facts: EvalFacts) -> str:
    """Short name of an evaluation: that of its arm, with the seed of a student of `rl`."""
    student = facts.student
    if student and student.rewarded:
        return f"{arm_label(facts)}, seed {student.seed}"
    return arm_label(facts)


def arm_label(facts: EvalFacts) -> str:
    """Short name of an arm: scenario and ratio, then objective and reward."""
    return training_label(facts.student) if facts.student else f"{facts.model} (untrained)"


def training_label(student: StudentInfo) -> str:
    """How a student was trained, in a few words: scenario, ratio, rewards."""
    if student.rewarded:
        start = training_label(student.parent) if student.parent else str(student.base)
        named = (
            f"{name} (changed)" if group in student.changed else str(name)
            for group, name in (("objective", student.objective), ("reward", student.reward))
        )
        return f"{start} + {' '.join(named)}{', rewards shuffled' * student.control}"
    words = [student.scenario] if student.scenario not in (None, "mixed") else []
    words += [] if student.ratio is None else [f"ratio {student.ratio:g}"]
    return " ".join(map(str, words))


def shared_keys(evaluations: Sequence[Evaluation]) -> list[str]:
    """Problems with a gradable answer in every evaluation, in the first evaluation's order."""
    known: dict[int, set[str]] = {}
    for evaluation in evaluations:
        problems, graded = evaluation.columns.problems, evaluation.columns.sums("graded") > 0
        gradable = {
            key for key, any_graded in zip(problems.keys, graded, strict=True) if any_graded
        }
        known.setdefault(id(problems), gradable).intersection_update(gradable)
    return [key for key in evaluations[0].answers if all(key in keys for keys in known.values())]


def problem_groups(
    evaluations: Sequence[Evaluation], by: Literal["benchmark", "category"]
) -> dict[str, list[str]]:
    """Shared problems by benchmark or category, ordered by category and name."""
    first, found = evaluations[0], dict[str, list[str]]()
    for key in shared_keys(evaluations):
        name = first.benchmark(key) if by == "benchmark" else first.category(key)
        found.setdefault(name, []).append(key)
    ordered = sorted(found.items(), key=lambda item: (first.category(item[1][0]), item[0]))
    return dict(ordered)


def right_shares(evaluation: Evaluation, keys: Sequence[str]) -> list[float]:
    """Share of right completions of each problem: 0 or 1 where it was answered once."""
    found: list[float] = evaluation.columns.shares[evaluation.at(keys)].tolist()
    return found


def answer_formats(evaluation: Evaluation, keys: Sequence[str]) -> frozenset[str]:
    """Answer formats of problems: `mc`, `oe` or both."""
    return frozenset(evaluation.category(key).rpartition("-")[2] for key in keys)
