"""Scored arms → the rows of a report. Pure functions; every comparison is over the problems that all arms share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ratiocine.stats import holm, mcnemar, paired_difference, wilson

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Arm:
    """One finished evaluation: its label, manifest and scores, and its rows by problem."""

    label: str
    manifest: Mapping[str, Any]
    config: Mapping[str, Any]
    scores: Mapping[str, Any]
    rows: Mapping[str, Row]

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
    """`arm` minus `base` accuracy over the same n problems, its 95 % interval, exact McNemar p and Holm-adjusted p."""

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
    """Problems that every arm answered and none found ungradable, in the first arm's order."""
    return [key for key in arms[0].rows if all(key in arm.rows and arm.rows[key]["verdict"] != "ungradable" for arm in arms)]


def groups(arms: Sequence[Arm], field: str) -> dict[str, list[str]]:
    """Shared problems by `benchmark` or `category`, named in order."""
    found: dict[str, list[str]] = {}
    for key in shared_keys(arms):
        found.setdefault(arms[0].rows[key][field], []).append(key)
    return dict(sorted(found.items(), key=lambda item: (_category(arms[0], item[1]), item[0])))


def _category(arm: Arm, keys: Sequence[str]) -> str:
    return str(arm.rows[keys[0]]["category"])


def right(arm: Arm, keys: Sequence[str]) -> list[bool]:
    return [arm.rows[key]["verdict"] == "right" for key in keys]


def accuracy(arm: Arm, keys: Sequence[str]) -> Share:
    hits = sum(right(arm, keys))
    return Share(len(keys), hits / len(keys), *wilson(hits, len(keys)))


def differences(pairs: Sequence[tuple[Arm, Arm]], grouped: Mapping[str, Sequence[str]]) -> list[Difference]:
    """All (base, arm) pairs in all groups; the p-values are Holm-adjusted over every difference in the list."""
    rows = []
    for group, keys in grouped.items():
        for base, arm in pairs:
            a, b = right(base, keys), right(arm, keys)
            rows.append((group, arm.label, base.label, len(keys), *paired_difference(a, b), mcnemar(a, b)))
    return [Difference(*row, adjusted) for row, adjusted in zip(rows, holm([row[-1] for row in rows]), strict=True)]


@dataclass(frozen=True)
class Expectation:
    """What was declared of a family before training, and what the paired difference between the ratios says of it."""

    family: str
    declared: str
    difference: Difference
    verdict: str


def expectations(arms: Sequence[Arm]) -> list[Expectation]:
    """The declared families tested between the lowest and the highest trained ratio; empty with fewer than two."""
    trained = sorted((arm for arm in arms if arm.ratio is not None), key=lambda arm: arm.ratio or 0.0)
    declared: Mapping[str, str] = arms[0].manifest.get("expected") or {}
    if len(trained) < 2 or trained[0].ratio == trained[-1].ratio:
        return []
    tested = {name: keys for name, keys in groups(arms, "benchmark").items() if name in declared}
    found = differences([(trained[0], trained[-1])], tested)
    return [Expectation(d.group, declared[d.group], d, verdict(declared[d.group], d)) for d in found]


def verdict(declared: str, d: Difference) -> str:
    """The interval decides, not the point."""
    if declared == "gain":
        return {1: "gain seen", 0: f"not decided by {d.n} problems", -1: "the opposite was seen"}[d.decided]
    return {1: "a gain was seen after all", 0: "no difference seen", -1: "a loss was seen"}[d.decided]


def examples(arms: Sequence[Arm], per_group: int = 2) -> list[tuple[str, list[Row]]]:
    """A few problems of each benchmark with every arm's row: those on which the arms disagree most come first."""
    chosen = []
    for group, keys in groups(arms, "benchmark").items():
        spread = {key: len({arm.rows[key]["verdict"] for arm in arms}) for key in keys}
        for key in sorted(keys, key=lambda k: (-spread[k], k))[:per_group]:
            chosen.append((group, [arm.rows[key] for arm in arms]))
    return chosen
