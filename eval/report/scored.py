"""Scored arms → the rows of a report. Pure functions; every comparison is over the problems that all arms share."""

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
Line = tuple[str, list[str]]  # what a line of a table shows: its name, and a text for every arm


@dataclass(frozen=True)
class Arm:
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
    """`arm` minus `base` accuracy over the same n problems, its 95 % interval, p-value (`stats.compare`) and Holm-adjusted
    p-value."""

    group: str
    arm: str
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


def shared_keys(arms: Sequence[Arm]) -> list[str]:
    """Problems that every arm answered gradably, in the first arm's order."""
    return [key for key in arms[0].answers if all(key in arm.shares for arm in arms)]


def groups(arms: Sequence[Arm], field: str) -> dict[str, list[str]]:
    """Shared problems by `benchmark` or `category`, named in order."""
    found: dict[str, list[str]] = {}
    for key in shared_keys(arms):
        found.setdefault(arms[0].first(key)[field], []).append(key)
    return dict(
        sorted(
            found.items(), key=lambda item: (str(arms[0].first(item[1][0])["category"]), item[0])
        )
    )


def right(arm: Arm, keys: Sequence[str]) -> list[float]:
    """The share of right answers of each problem: 0 or 1 where it was answered once."""
    return [arm.shares[key] for key in keys]


def accuracy(arm: Arm, keys: Sequence[str]) -> Share:
    values = right(arm, keys)
    return Share(len(keys), fmean(values), *interval(values))


def macros(arms: Sequence[Arm], categories: Mapping[str, Sequence[str]]) -> dict[str, list[Share]]:
    """The macro-average of each category that has more than one benchmark, and of all, by arm."""
    found = {}
    for name, keys in {**categories, "all": shared_keys(arms)}.items():
        benchmarks: dict[str, list[str]] = {}
        for key in keys:
            benchmarks.setdefault(arms[0].first(key)["benchmark"], []).append(key)
        if len(benchmarks) > 1:
            found[name] = [
                Share(len(keys), *macro_average([right(arm, own) for own in benchmarks.values()]))
                for arm in arms
            ]
    return found


def differences(
    pairs: Sequence[tuple[Arm, Arm]], grouped: Mapping[str, Sequence[str]]
) -> list[Difference]:
    """All (base, arm) pairs in all groups; the p-values are Holm-adjusted over every difference in the list."""
    rows = []
    for group, keys in grouped.items():
        for base, arm in pairs:
            rows.append(
                (
                    group,
                    arm.label,
                    base.label,
                    len(keys),
                    *compare(right(base, keys), right(arm, keys)),
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


def expectations(arms: Sequence[Arm]) -> list[Expectation]:
    """The declared families tested between the lowest and the highest trained ratio; empty with fewer than two, and where the
    two differ in more than the ratio."""
    trained = sorted(
        (arm for arm in arms if arm.ratio is not None), key=lambda arm: arm.ratio or 0.0
    )
    declared: Mapping[str, str] = arms[0].manifest.get("expected") or {}
    if (
        len(trained) < 2
        or trained[0].ratio == trained[-1].ratio
        or beside_ratio([trained[0], trained[-1]])
    ):
        return []
    tested = {name: keys for name, keys in groups(arms, "benchmark").items() if name in declared}
    found = differences([(trained[0], trained[-1])], tested)
    return [
        Expectation(d.group, declared[d.group], d, verdict(declared[d.group], d)) for d in found
    ]


def beside_ratio(arms: Sequence[Arm]) -> dict[str, list[str]]:
    """What arms that were trained, but not by rewards, differ in beside the ratio: names with the values that they have."""
    students = [arm.student for arm in arms if arm.student and "reward" not in arm.student]
    names = [name for student in students[1:] for name in differing(students[0], student, "ratio")]
    if len({student.get("seed") for student in students}) > 1:
        names.append("seed")
    told = [{**student, **axes(student)} for student in students]
    return {name: sorted({str(one.get(name)) for one in told}) for name in dict.fromkeys(names)}


def rewarded(arms: Sequence[Arm]) -> list[Difference]:
    """Every arm that rewards have trained against the one that it began with, where that is here, over all problems."""
    by_hash = {arm.student.get("hash"): arm for arm in arms if arm.student}
    pairs = [
        (by_hash.get((arm.student.get("parent") or {}).get("hash")), arm)
        for arm in arms
        if "reward" in arm.student
    ]
    return differences(
        [(base, arm) for base, arm in pairs if base is not None], {"all": shared_keys(arms)}
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


def summaries(arms: Sequence[Arm]) -> list[Mapping[str, Any]]:
    """What `evaluate.summary` says of every arm over the problems that all share."""
    keys = shared_keys(arms)
    return [
        summary(
            [dict(row) for key in keys for row in arm.answers[key]],
            Shape(**shape) if shape else None,
        )
        for arm in arms
        for shape in [arm.manifest.get("shape")]
    ]


def thinking(arms: Sequence[Arm]) -> list[Line]:
    """How the arms think: each measure with its value in every arm."""
    scores = summaries(arms)
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


def costs(arms: Sequence[Arm]) -> list[Line]:
    """What training and evaluation cost, by arm; times are those of whole runs."""
    scores = summaries(arms)
    return [
        ("Training FLOPs", [short(arm.student.get("train_flops")) for arm in arms]),
        ("Training seconds", [str(arm.student.get("seconds", "–")) for arm in arms]),
        ("Evaluation seconds", [str(arm.manifest["seconds"]) for arm in arms]),
        ("FLOPs per problem", [short(s["flops"]) for s in scores]),
        ("Completion tokens per problem", [short(s["completion_tokens"]) for s in scores]),
    ]


def examples(arms: Sequence[Arm], per_group: int = 2) -> list[tuple[str, list[Row]]]:
    """A few problems of each benchmark with every arm's row: those on which the arms disagree most come first."""
    chosen = []
    for group, keys in groups(arms, "benchmark").items():
        spread = {key: len({arm.first(key)["verdict"] for arm in arms}) for key in keys}
        for key in sorted(keys, key=lambda k: (-spread[k], k))[:per_group]:
            chosen.append((group, [arm.first(key) for arm in arms]))
    return chosen
