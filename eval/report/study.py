"""A study in numbers: accuracy, cost and length over ratio × scenario × model × seed, as tables. Pure functions of its arms.

Every number is over the problems that all evaluations answered gradably. Intervals are of 95 %, over training seeds and
problems; the p-values of a table are Holm-adjusted for all its rows.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from eval.report import scored
from eval.report.arms import Arm, counterparts, gather, varying
from eval.report.scored import Evaluation
from ratiocine.stats import Spread, compare_seeds, spread

Cell = str | float | bool | None
Pair = tuple[Arm, Arm]  # the one against which the other is compared, and that one

DECIDED = {1: "better", 0: "not decided", -1: "worse"}
NAMED = ("arm", "line", "model", "scenario", "equalize", "ratio", "seeds")
TINY = 1e-13  # but for rounding, nothing


@dataclass(frozen=True)
class Table:
    """Rows under named columns: what a figure draws, a file of `tables/` holds and the page shows. Numbers have six digits, so
    that they are the same on every machine."""

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (dict(zip(self.columns, row, strict=True)) for row in self.rows)

    def where(self, **wanted: Cell) -> list[dict[str, Any]]:
        return [row for row in self if all(row[name] == value for name, value in wanted.items())]

    def csv(self) -> str:
        """The file's text; shares are fractions, what is not known is empty."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([_text(cell) for cell in row] for row in self.rows)
        return out.getvalue()


def _text(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return f"{cell:.6g}" if isinstance(cell, float) else str(cell)


def rounded_table(
    name: str, caption: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> Table:
    return Table(name, caption, tuple(columns), tuple(tuple(map(_rounded, row)) for row in rows))


def _rounded(cell: Any) -> Any:
    if not isinstance(cell, float):
        return cell
    return 0.0 if abs(cell) < TINY else float(f"{cell:.6g}")


@dataclass(frozen=True)
class Study:
    """The arms of a study, the shared problems by benchmark, and by category with `all` after them."""

    arms: tuple[Arm, ...]
    benchmarks: Mapping[str, Sequence[str]]
    groups: Mapping[str, Sequence[str]]

    @staticmethod
    def of(evaluations: Sequence[Evaluation]) -> Study:
        arms = gather(evaluations)
        everyone = [evaluation for arm in arms for evaluation in arm.evaluations]
        benchmarks, categories = (
            {name: sorted(keys) for name, keys in scored.groups(everyone, field).items()}
            for field in ("benchmark", "category")
        )
        return Study(
            tuple(arms),
            benchmarks,
            {**categories, "all": [key for keys in benchmarks.values() for key in keys]},
        )

    @property
    def keys(self) -> Sequence[str]:
        return self.groups["all"]

    @property
    def evaluations(self) -> list[Evaluation]:
        return [evaluation for arm in self.arms for evaluation in arm.evaluations]

    @property
    def trained(self) -> list[Arm]:
        return [arm for arm in self.arms if arm.trained]

    @property
    def models(self) -> list[str]:
        return list(dict.fromkeys(arm.model for arm in self.arms))

    @property
    def most_seeds(self) -> int:
        return max((len(arm.evaluations) for arm in self.trained), default=1)

    def like(self, arm: Arm, **axes: Any) -> Arm | None:
        """The arm that differs from this one in these axes, and what follows from them, alone; None where several do."""
        wanted = {**arm.axes, **axes}
        return only(
            other for other in self.trained if other.axes == wanted and other.alike(arm, *axes)
        )


def only(found: Iterable[Arm]) -> Arm | None:
    """The one that was found: of several it is not known which is meant."""
    arms = list(found)
    return arms[0] if len(arms) == 1 else None


def named(arm: Arm) -> tuple[Cell, ...]:
    """What `NAMED` holds."""
    if not arm.trained:
        return arm.label, arm.line, arm.model, None, None, None, len(arm.evaluations)
    match = arm.axes["equalize"] or "examples"
    return (
        arm.label,
        arm.line,
        arm.model,
        arm.axes["scenario"],
        match,
        arm.ratio,
        len(arm.evaluations),
    )


def ratio_pairs(study: Study) -> list[Pair]:
    """Every ratio and the lowest one (0, in most studies) of the same model taught in the same arm, or mixed where the scenario
    has none of its own."""
    found = []
    for arm in study.trained:
        own = [
            other
            for other in study.trained
            if _ratio(other) < _ratio(arm) < inf
            and (
                other.alike(arm, "ratio")
                or (other.axes["scenario"] == "mixed" and other.alike(arm, "ratio", "scenario"))
            )
        ]
        ranks = [(_ratio(other), other.axes["scenario"] != arm.axes["scenario"]) for other in own]
        base = only(other for other, rank in zip(own, ranks, strict=True) if rank == min(ranks))
        found += [] if base is None else [(base, arm)]
    return found


def _ratio(arm: Arm) -> float:
    return inf if arm.ratio is None else arm.ratio


def _examples(arm: Arm) -> bool:
    return arm.axes["equalize"] in (None, "examples")


def scenario_pairs(study: Study) -> list[Pair]:
    """Every other scenario and mixed teaching at the same ratio; one with formats by domain, and the same without reasoning."""
    found = []
    for arm in study.trained:
        scenario = str(arm.axes["scenario"])
        usual = "mixed" if arm.ratio is not None else scenario.replace("reasoning", "ift")
        base = None if usual == scenario else study.like(arm, scenario=usual)
        found += [] if base is None else [(base, arm)]
    return found


def compute_pairs(study: Study) -> list[Pair]:
    """Every ratio, taught the same examples, and ratio 0 taught for as many FLOPs (or tokens) as reasoning costs."""
    found = []
    for match in ("flops", "tokens"):
        for arm in study.trained:
            if arm.ratio and _examples(arm):
                base = study.like(arm, match=match, ratio=0.0) or study.like(
                    arm, match=match, ratio=0.0, scenario="mixed"
                )
                found += [] if base is None else [(base, arm)]
    return found


def reward_pairs(study: Study) -> list[Pair]:
    """Every arm that rewards have trained, and what it began with."""
    by_hash = {
        evaluation.student.get("hash"): arm
        for arm in study.trained
        for evaluation in arm.evaluations
    }
    untrained = {arm.model: arm for arm in study.arms if not arm.trained}
    found = []
    for arm in study.trained:
        if arm.axes["reward"] is not None:
            parent = arm.student["parent"]
            base = untrained.get(arm.model) if parent is None else by_hash.get(parent["hash"])
            found += [] if base is None else [(base, arm)]
    return found


def main_pairs(study: Study) -> list[Pair]:
    """What a study is asked first: the highest ratio against the lowest, of every model and data, of mixed teaching on the same
    examples where there is such."""
    kinds: list[list[Pair]] = []
    for pair in ratio_pairs(study):
        if pair[1].axes["reward"] is None:
            _gathered(kinds, pair, "ratio", "scenario", "equalize")
    found = []
    for kind in kinds:
        usual = [
            (base, arm) for base, arm in kind if arm.axes["scenario"] == "mixed" and _examples(arm)
        ]
        lines: list[list[Pair]] = []
        for pair in usual or kind:
            _gathered(lines, pair, "ratio")
        for line in lines:
            highest = max(_ratio(arm) for _, arm in line)
            arm = only(arm for _, arm in line if arm.ratio == highest)
            found += [pair for pair in line if pair[1] is arm]
    return found


def _gathered(groups: list[list[Pair]], pair: Pair, *apart: str) -> None:
    """Put a pair to those whose arms differ from its own in these axes alone."""
    group = next((group for group in groups if group[0][1].alike(pair[1], *apart)), None)
    if group is None:
        groups.append(group := [])
    group.append(pair)


@dataclass(frozen=True)
class Compared:
    """A pair over the same problems: how many of these, of seeds and of arms with seeds of their own there are, what makes the
    difference uncertain, and what `compare_seeds` says."""

    n: int
    seeds: int
    varying: int
    spread: Spread
    difference: float
    low: float
    high: float
    p: float

    @property
    def decided(self) -> str:
        return DECIDED[1 if self.low > 0 else -1 if self.high < 0 else 0]


def compared(pair: Pair, keys: Sequence[str]) -> Compared:
    both = counterparts(*pair)
    first, second = (
        [scored.right(evaluations[side], keys) for evaluations in both] for side in (0, 1)
    )
    own = varying(both)
    return Compared(
        len(keys), len(both), own, spread(first, second, own), *compare_seeds(first, second)
    )
