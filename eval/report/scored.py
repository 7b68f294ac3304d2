"""Scored evaluations → the rows of a report. Pure functions; every comparison is over the problems that all evaluations share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from eval.report.html import percent, short
from ratiocine.cost import Shape
from ratiocine.evaluate import shares, summary
from ratiocine.runs import axes, differing
from ratiocine.stats import compare, holm, interval, macro_average

Row = Mapping[str, Any]
Line = tuple[
    str, list[str]
]  # what a line of a table shows: its name, and a text for every evaluation


@dataclass(frozen=True)
class Evaluation:
    """One finished evaluation: its label, manifest and scores, its answers to each problem, and where it is."""

    label: str
    manifest: Mapping[str, Any]
    config: Mapping[str, Any]
    scores: Mapping[str, Any]
    answers: Mapping[str, Sequence[Row]]
    folder: Path | None = None

    @cached_property
    def shares(self) -> dict[str, float]:
        """The share of right answers of each problem that could be graded."""
        return shares(row for rows in self.answers.values() for row in rows)

    @property
    def student(self) -> Mapping[str, Any]:
        """How its model was trained; empty for one that was not trained here."""
        return self.manifest.get("student") or {}

    def first(self, key: str) -> Row:
        return self.answers[key][0]

    @property
    def ratio(self) -> float | None:
        """The reasoning ratio it was trained at; None for a model that was not trained here."""
        student = self.manifest.get("student")
        return None if student is None else student["ratio"]


@dataclass(frozen=True)
class Share:
    """A share of n problems with its 95 % interval."""

    n: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """`evaluation` minus `base` accuracy over the same n problems, its 95 % interval, p-value (`stats.compare`) and Holm-adjusted
    p-value."""

    group: str
    evaluation: str
    base: str
    n: int
    value: float
    low: float
    high: float
    p: float
    p_adjusted: float

    @property
    def decided(self) -> int:
        """1 or −1 where the interval excludes zero, else 0."""
        return 1 if self.low > 0 else -1 if self.high < 0 else 0


def shared_keys(evaluations: Sequence[Evaluation]) -> list[str]:
    """Problems that every evaluation answered gradably, in the first evaluation's order."""
    return [
        key
        for key in evaluations[0].answers
        if all(key in evaluation.shares for evaluation in evaluations)
    ]


def groups(evaluations: Sequence[Evaluation], field: str) -> dict[str, list[str]]:
    """Shared problems by `benchmark` or `category`, named in order."""
    found: dict[str, list[str]] = {}
    for key in shared_keys(evaluations):
        found.setdefault(evaluations[0].first(key)[field], []).append(key)
    return dict(
        sorted(
            found.items(),
            key=lambda item: (str(evaluations[0].first(item[1][0])["category"]), item[0]),
        )
    )


def right(evaluation: Evaluation, keys: Sequence[str]) -> list[float]:
    """The share of right answers of each problem: 0 or 1 where it was answered once."""
    return [evaluation.shares[key] for key in keys]


def accuracy(evaluation: Evaluation, keys: Sequence[str]) -> Share:
    values = right(evaluation, keys)
    return Share(len(keys), fmean(values), *interval(values))


def macros(
    evaluations: Sequence[Evaluation], categories: Mapping[str, Sequence[str]]
) -> dict[str, list[Share]]:
    """The macro-average of each category that has more than one benchmark, and of all, by evaluation."""
    found = {}
    for name, keys in {**categories, "all": shared_keys(evaluations)}.items():
        benchmarks: dict[str, list[str]] = {}
        for key in keys:
            benchmarks.setdefault(evaluations[0].first(key)["benchmark"], []).append(key)
        if len(benchmarks) > 1:
            found[name] = [
                Share(
                    len(keys),
                    *macro_average([right(evaluation, own) for own in benchmarks.values()]),
                )
                for evaluation in evaluations
            ]
    return found


def differences(
    pairs: Sequence[tuple[Evaluation, Evaluation]], grouped: Mapping[str, Sequence[str]]
) -> list[Difference]:
    """All (base, evaluation) pairs in all groups; the p-values are Holm-adjusted over every difference in the list."""
    rows = []
    for group, keys in grouped.items():
        for base, evaluation in pairs:
            rows.append(
                (
                    group,
                    evaluation.label,
                    base.label,
                    len(keys),
                    *compare(right(base, keys), right(evaluation, keys)),
                )
            )
    return [
        Difference(*row, adjusted)
        for row, adjusted in zip(rows, holm([row[-1] for row in rows]), strict=True)
    ]


@dataclass(frozen=True)
class Expectation:
    """What was declared of a family before training, and what the paired difference between the ratios says of it."""

    family: str
    declared: str
    difference: Difference
    verdict: str


def expectations(evaluations: Sequence[Evaluation]) -> list[Expectation]:
    """The declared families tested between the lowest and the highest trained ratio; empty with fewer than two, and where the
    two differ in more than the ratio."""
    trained = sorted(
        (evaluation for evaluation in evaluations if evaluation.ratio is not None),
        key=lambda evaluation: evaluation.ratio or 0.0,
    )
    declared: Mapping[str, str] = evaluations[0].manifest.get("hypotheses") or {}
    if (
        len(trained) < 2
        or trained[0].ratio == trained[-1].ratio
        or beside_ratio([trained[0], trained[-1]])
    ):
        return []
    tested = {
        name: keys for name, keys in groups(evaluations, "benchmark").items() if name in declared
    }
    found = differences([(trained[0], trained[-1])], tested)
    return [
        Expectation(d.group, declared[d.group], d, verdict(declared[d.group], d)) for d in found
    ]


def beside_ratio(evaluations: Sequence[Evaluation]) -> dict[str, list[str]]:
    """What evaluations that were trained, but not by rewards, differ in beside the ratio: names with the values that they have."""
    students = [
        evaluation.student
        for evaluation in evaluations
        if evaluation.student and "reward" not in evaluation.student
    ]
    names = [name for student in students[1:] for name in differing(students[0], student, "ratio")]
    if len({student.get("seed") for student in students}) > 1:
        names.append("seed")
    told = [{**student, **axes(student)} for student in students]
    return {name: sorted({str(one.get(name)) for one in told}) for name in dict.fromkeys(names)}


def rewarded(evaluations: Sequence[Evaluation]) -> list[Difference]:
    """Every evaluation that rewards have trained against the one that it began with, where that is here, over all problems."""
    by_hash = {
        evaluation.student.get("hash"): evaluation
        for evaluation in evaluations
        if evaluation.student
    }
    pairs = [
        (by_hash.get((evaluation.student.get("parent") or {}).get("hash")), evaluation)
        for evaluation in evaluations
        if "reward" in evaluation.student
    ]
    return differences(
        [(base, evaluation) for base, evaluation in pairs if base is not None],
        {"all": shared_keys(evaluations)},
    )


def verdict(declared: str, d: Difference) -> str:
    """The interval decides, not the point."""
    if declared == "gain":
        return {1: "gain seen", 0: f"not decided by {d.n} problems", -1: "the opposite was seen"}[
            d.decided
        ]
    return {
        1: "a gain was seen after all",
        0: f"no difference decided by {d.n} problems",
        -1: "a loss was seen",
    }[d.decided]


def summaries(evaluations: Sequence[Evaluation]) -> list[Mapping[str, Any]]:
    """What `evaluate.summary` says of every evaluation over the problems that all share."""
    keys = shared_keys(evaluations)
    return [
        summary(
            [dict(row) for key in keys for row in evaluation.answers[key]],
            Shape(**shape) if shape else None,
        )
        for evaluation in evaluations
        for shape in [evaluation.manifest.get("shape")]
    ]


def thinking(evaluations: Sequence[Evaluation]) -> list[Line]:
    """How the evaluations think: each measure with its value in every evaluation."""
    scores = summaries(evaluations)
    shown: list[Line] = [
        ("Thought", [percent(s["thought"]) for s in scores]),
        ("In the other mode", [percent(s["mode_flip"]) for s in scores]),
    ]
    for name, tokens in (
        ("Thinking tokens", "thinking_tokens"),
        ("Answer tokens", "answer_tokens"),
    ):
        shown += [
            (f"{name}, {verdict}", [short(s[tokens][verdict]) for s in scores])
            for verdict in ("right", "wrong")
        ]
    for name, share in (
        ("Cut off at the budget", "truncated"),
        ("No answer found", "not_extracted"),
    ):
        shown.append((name, [percent(s[share]) for s in scores]))
    for kind in ("outcome", "process"):
        shown.append(
            (
                f"{kind.capitalize()} efficiency",
                [percent((s["efficiency"] or {}).get(kind)) for s in scores],
            )
        )
    return shown


def costs(evaluations: Sequence[Evaluation]) -> list[Line]:
    """What training and evaluation cost, by evaluation; times are those of whole runs."""
    scores = summaries(evaluations)
    return [
        (
            "Training FLOPs",
            [short(evaluation.student.get("train_flops")) for evaluation in evaluations],
        ),
        (
            "Training seconds",
            [str(evaluation.student.get("seconds", "–")) for evaluation in evaluations],
        ),
        ("Evaluation seconds", [str(evaluation.manifest["seconds"]) for evaluation in evaluations]),
        ("FLOPs per problem", [short(s["flops"]) for s in scores]),
        ("Completion tokens per problem", [short(s["completion_tokens"]) for s in scores]),
    ]


def examples(evaluations: Sequence[Evaluation], per_group: int = 2) -> list[tuple[str, list[Row]]]:
    """A few problems of each benchmark with every evaluation's row: those on which the evaluations disagree most come first."""
    chosen = []
    for group, keys in groups(evaluations, "benchmark").items():
        spread = {
            key: len({evaluation.first(key)["verdict"] for evaluation in evaluations})
            for key in keys
        }
        for key in sorted(keys, key=lambda k: (-spread[k], k))[:per_group]:
            chosen.append((group, [evaluation.first(key) for evaluation in evaluations]))
    return chosen
