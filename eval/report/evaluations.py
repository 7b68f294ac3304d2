"""Finished evaluations, and the problems that they share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ratiocine import cli
from ratiocine.column_builder import columns_of
from ratiocine.columns import Columns, StoredAnswers
from ratiocine.errors import BadInput
from ratiocine.records import JsonObject, ScoredCompletion
from ratiocine.runs import EvalFacts, Manifest, StudentInfo

if TYPE_CHECKING:
    import numpy as np


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
        """Of difficulty, the benchmark's own or the depth of an embedded family; None where it has
        no levels."""
        problems = self.columns.problems
        number = problems.numbers[key]
        return problems.levels[number] or self._depths.get(problems.benchmarks[number])

    @cached_property
    def _depths(self) -> Mapping[str, str]:
        """Depths of embedded families with several in one data configuration, by name."""
        from ratiocine.data import DataConfig, depth

        found: dict[str, str] = {}
        for name in self.config.get("benchmarks") or ():
            with suppress(BadInput):  # a file, or a data set of another release
                families = cli.named("data", str(name), DataConfig).families
                n = Counter(family.family or entry for entry, family in families.items())
                for entry, family in families.items():
                    several = n[family.family or entry] > 1
                    if several and (one := depth(entry, family)) is not None:
                        found[entry] = f"{one:g}"
        return found


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
