"""A study in numbers: accuracy, cost and length over ratio × scenario × model × seed, as tables. Pure functions of its ways.

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

from eval import tables
from eval.tables import Arm
from eval.ways import Way, gather
from ratiocine.power import Spread, spread
from ratiocine.stats import compare_seeds

Cell = str | float | bool | None
Pair = tuple[Way, Way]  # the one against which the other is compared, and that one

DECIDED = {1: "better", 0: "not decided", -1: "worse"}
NAMED = ("way", "line", "model", "scenario", "match", "ratio", "seeds")
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


def rounded_table(name: str, caption: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    return Table(name, caption, tuple(columns), tuple(tuple(map(_rounded, row)) for row in rows))


def _rounded(cell: Any) -> Any:
    if not isinstance(cell, float):
        return cell
    return 0.0 if abs(cell) < TINY else float(f"{cell:.6g}")


@dataclass(frozen=True)
class Study:
    """The ways of a study, the shared problems by benchmark, and by category with `all` after them."""

    ways: tuple[Way, ...]
    benchmarks: Mapping[str, Sequence[str]]
    groups: Mapping[str, Sequence[str]]

    @staticmethod
    def of(arms: Sequence[Arm]) -> Study:
        ways = gather(arms)
        everyone = [arm for way in ways for arm in way.arms]
        benchmarks, categories = (
            {name: sorted(keys) for name, keys in tables.groups(everyone, field).items()} for field in ("benchmark", "category")
        )
        return Study(tuple(ways), benchmarks, {**categories, "all": [key for keys in benchmarks.values() for key in keys]})

    @property
    def keys(self) -> Sequence[str]:
        return self.groups["all"]

    @property
    def arms(self) -> list[Arm]:
        return [arm for way in self.ways for arm in way.arms]

    @property
    def trained(self) -> list[Way]:
        return [way for way in self.ways if way.trained]

    @property
    def models(self) -> list[str]:
        return list(dict.fromkeys(way.model for way in self.ways))

    @property
    def most_seeds(self) -> int:
        return max((len(way.arms) for way in self.trained), default=1)

    def like(self, way: Way, **axes: Any) -> Way | None:
        """The way that differs from this one in these axes alone."""
        wanted = {**way.axes, **axes}
        return next((other for other in self.trained if other.axes == wanted), None)


def named(way: Way) -> tuple[Cell, ...]:
    """What `NAMED` holds."""
    if not way.trained:
        return way.label, way.line, way.model, None, None, None, len(way.arms)
    match = way.axes["match"] or "examples"
    return way.label, way.line, way.model, way.axes["scenario"], match, way.ratio, len(way.arms)


def ratio_pairs(study: Study) -> list[Pair]:
    """Every ratio and the lowest one (0, in most studies) of the same model taught in the same way, or mixed where the scenario
    has none of its own."""
    found = []
    for way in study.trained:
        own = [other for other in study.trained if _but_ratio(other) in (_but_ratio(way), _but_ratio(way, scenario="mixed"))]
        lower = [other for other in own if _ratio(other) < _ratio(way)]
        if way.ratio is not None and lower:
            found.append((min(lower, key=lambda other: (_ratio(other), other.axes["scenario"] == "mixed")), way))
    return found


def _ratio(way: Way) -> float:
    return inf if way.ratio is None else way.ratio


def _but_ratio(way: Way, **axes: Any) -> dict[str, Any]:
    return {**way.axes, **axes, "ratio": None}


def scenario_pairs(study: Study) -> list[Pair]:
    """Every other scenario and mixed teaching at the same ratio; one with formats by domain, and the same without reasoning."""
    found = []
    for way in study.trained:
        scenario = str(way.axes["scenario"])
        base = study.like(way, scenario="mixed" if way.ratio is not None else scenario.replace("reasoning", "ift"))
        if base is not None and base is not way:
            found.append((base, way))
    return found


def compute_pairs(study: Study) -> list[Pair]:
    """Every ratio, taught the same examples, and ratio 0 taught for as many FLOPs (or tokens) as reasoning costs."""
    found = []
    for match in ("flops", "tokens"):
        for way in study.trained:
            if way.ratio and way.axes["match"] in (None, "examples"):
                base = study.like(way, match=match, ratio=0.0) or study.like(way, match=match, ratio=0.0, scenario="mixed")
                found += [] if base is None else [(base, way)]
    return found


def reward_pairs(study: Study) -> list[Pair]:
    """Every way that rewards have trained, and what it began with."""
    by_hash = {arm.student.get("hash"): way for way in study.trained for arm in way.arms}
    untrained = {way.model: way for way in study.ways if not way.trained}
    found = []
    for way in study.trained:
        if way.axes["reward"] is not None:
            parent = way.student["parent"]
            base = untrained.get(way.model) if parent is None else by_hash.get(parent["hash"])
            found += [] if base is None else [(base, way)]
    return found


def main_pairs(study: Study) -> list[Pair]:
    """What a study is asked first: the highest ratio against the lowest, of every model and data, of mixed teaching on the same
    examples where there is such."""
    usual = [way for way in study.trained if way.axes["scenario"] == "mixed" and way.axes["match"] in (None, "examples")]
    lines: dict[str, list[Way]] = {}
    for way in usual or study.trained:
        if way.ratio is not None and way.axes["reward"] is None:
            lines.setdefault(str(_but_ratio(way)), []).append(way)
    ends = [(line[0], line[-1]) for line in lines.values()]  # ways are in order of their ratios
    return [(low, high) for low, high in ends if low.ratio != high.ratio]


def counterparts(first: Way, second: Way) -> list[tuple[Arm, Arm]]:
    """The arms of two ways in pairs: what rewards began with, or the same seed; one that stands alone goes with all. Where ways
    have no seed in common, the first with the first."""
    found = []
    for arm in second.arms:
        parent = (arm.student.get("parent") or {}).get("hash")
        for other in first.arms:
            same_seed = first.trained and other.student.get("seed") == arm.student.get("seed")
            if other.student.get("hash", "") == parent or (parent is None and same_seed):
                found.append((other, arm))
    if found:
        return found
    return [(first.arms[0], arm) for arm in second.arms] if len(first.arms) == 1 else list(zip(first.arms, second.arms))


@dataclass(frozen=True)
class Compared:
    """A pair over the same problems: how many of these and of seeds there are, what makes the difference uncertain, and what
    `compare_seeds` says."""

    n: int
    seeds: int
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
    first, second = ([tables.right(arms[side], keys) for arms in both] for side in (0, 1))
    return Compared(len(keys), len(both), spread(first, second), *compare_seeds(first, second))
