"""Evaluations gathered into ways of training: arms that differ in the seed of their training alone.

A way is what a study compares: a model, how it was taught (scenario, ratio, what was held equal) and by which rewards. Its
accuracy is a mean over seeds and problems, with the uncertainty of both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any

from eval import tables
from eval.tables import Arm
from ratiocine.errors import BadInput
from ratiocine.students import inherited, lineage

AXES = ("model", "scenario", "match", "lr_policy", "data", "reward", "ratio")  # what tells ways apart, the ratio last
USUAL = {"scenario": "mixed", "match": "examples", "lr_policy": "per_format"}  # not worth a word
LONG = 24  # characters of a name of data that a label repeats
FACTS = ("objective", "control", "lora", "lr", "steps")  # what may tell ways apart that are alike on every axis


@dataclass(frozen=True)
class Way:
    """One way of training, and its evaluations by the seed of the training; a model that was not trained here has a single
    one. Among the ways that it was gathered with `label` names it, and `line` those that differ from it in the ratio alone."""

    label: str
    line: str
    arms: tuple[Arm, ...]

    @property
    def student(self) -> Mapping[str, Any]:
        """How it was trained, its seed apart; empty for a model that was not trained here."""
        return self.arms[0].student

    @property
    def trained(self) -> bool:
        return bool(self.student)

    @cached_property
    def axes(self) -> dict[str, Any]:
        """Its value on every axis of a study; None where it has none."""
        found = {axis: inherited(self.student, axis) for axis in AXES}
        return {**found, "model": model(self.arms[0]), "scenario": found["scenario"] or "mixed"}

    @property
    def model(self) -> str:
        return str(self.axes["model"])

    @property
    def ratio(self) -> float | None:
        """The share of reasoning that it was taught; None where that is not one number, or nothing was taught here."""
        return self.axes["ratio"]

    @property
    def seeds(self) -> list[int]:
        return [arm.student.get("seed", 0) for arm in self.arms]

    @property
    def size(self) -> int | None:
        """Number of weights, where that is known."""
        return self.arms[0].manifest.get("size")

    def table(self, keys: Sequence[str]) -> list[list[float]]:
        """The share of right answers, a row a seed and a column a problem."""
        return [tables.right(arm, keys) for arm in self.arms]

    def mean(self, field: str, keys: Sequence[str]) -> float:
        """The mean of a number of every answer to these problems, such as `n_completion` (tokens), over seeds."""
        return fmean(row[field] for arm in self.arms for key in keys for row in arm.answers[key])

    @property
    def train_flops(self) -> float:
        """What its training cost, the mean over seeds, with that of what it began with (the published form); 0 untrained."""
        return fmean(_summed(arm.student, "train_flops") or 0.0 for arm in self.arms)

    @property
    def train_flops_exact(self) -> float | None:
        """The same with exact counts (`cost.exact_training`); None where an evaluation does not hold them."""
        found = [_summed(arm.student, "train_flops_exact") for arm in self.arms]
        return None if None in found else fmean(value or 0.0 for value in found)


def _summed(student: Mapping[str, Any], field: str) -> float | None:
    """A cost of a training and of those that it went on from; None where one of them does not say, 0 without training."""
    if not student:
        return 0.0
    own, before = student.get(field), _summed(student.get("parent") or {}, field)
    return None if own is None or before is None else float(own) + before


def gather(arms: Sequence[Arm]) -> list[Way]:
    """The ways of these evaluations: models untrained first, then by axis and ratio. Raises BadInput where one seed of a way is
    there twice."""
    sides = [tuple(sorted(side, key=_seed)) for side in _sides(arms)]
    for side in sides:
        seeds = [arm.student.get("seed") for arm in side]
        if twice := [seed for seed in seeds if seeds.count(seed) > 1]:
            raise BadInput(f"{side[0].label}: seed {twice[0]} occurs twice; copies of a seed are no second source of variance")
    ways = sorted((Way("", "", side) for side in sides), key=_order)
    lines = _lines(ways)
    named = zip(_labels(ways, lines), _spelled(ways, lines), ways, strict=True)
    return [Way(label, line, way.arms) for label, line, way in named]


def several_seeds(arms: Sequence[Arm]) -> bool:
    """Whether a way is there with more than one seed."""
    return any(len({_seed(arm) for arm in side}) > 1 for side in _sides(arms))


def _sides(arms: Sequence[Arm]) -> list[list[Arm]]:
    found: dict[str, list[Arm]] = {}
    for arm in arms:
        found.setdefault(_key(arm), []).append(arm)
    return list(found.values())


def _seed(arm: Arm) -> int:
    return arm.student.get("seed") or 0


def model(arm: Arm) -> str:
    """What a student began with, before any training here."""
    *_, first = lineage(arm.student)
    return str(first.get("base") or arm.manifest["model"])


def _key(arm: Arm) -> str:
    if not arm.student:
        return f"{arm.manifest['model']} {(arm.manifest.get('inputs') or {}).get('model')}"
    return str(arm.student.get("way") or [model(arm), *(arm.student.get(axis) for axis in AXES[1:])])


def _order(way: Way) -> tuple[Any, ...]:
    axes = way.axes
    ratio = -1.0 if way.ratio is None else way.ratio
    return (way.size or 0, way.model, way.trained, *(str(axes[axis] or "") for axis in AXES[1:-1]), ratio, _key(way.arms[0]))


def _varying(ways: Sequence[Way]) -> set[str]:
    """The axes on which these ways differ."""
    return {axis for axis in AXES if len({str(way.axes[axis]) for way in ways if way.trained or axis == "model"}) > 1}


def _lines(ways: Sequence[Way]) -> list[str]:
    """What tells ways apart, the ratio aside, in as few words as do."""
    varying = _varying(ways)
    data = sorted({str(way.axes["data"]) for way in ways})
    found = []
    for way in ways:
        words = [way.model] if "model" in varying else []
        if not way.trained:
            found.append(f"{way.model} (untrained)")
            continue
        for axis in AXES[1:-1]:
            value = way.axes[axis]
            if axis in varying and value not in (None, USUAL.get(axis)):
                words.append(_word(axis, str(value), way.student, data))
        found.append(" ".join(words))
    return found


def _word(axis: str, value: str, student: Mapping[str, Any], data: Sequence[str]) -> str:
    if axis == "match":
        return f"equal {value}".replace("flops", "FLOPs")
    if axis == "lr_policy":
        return "one rate" if value == "matched" else value
    if axis == "data" and len(value) > LONG:  # the table of ways spells it
        return f"data {data.index(value) + 1}"
    if axis == "reward":
        return f"+ {student['objective']} {value}" + ", rewards shuffled" * bool(student.get("control"))
    return value


def _spelled(ways: Sequence[Way], lines: Sequence[str]) -> list[str]:
    """The lines as a legend names them, where the usual scenario has a name too."""
    scenarios = len({way.axes["scenario"] for way in ways if way.trained}) > 1
    return [
        f"{line} mixed".strip() if way.trained and scenarios and way.axes["scenario"] == "mixed" else line or way.model
        for way, line in zip(ways, lines, strict=True)
    ]


def _labels(ways: Sequence[Way], lines: Sequence[str]) -> list[str]:
    """Line and ratio; where that is not unique, the first fact that tells them apart, or a number."""
    plain = []
    for way, line in zip(ways, lines, strict=True):
        words = [line] if line else []
        words += [] if way.ratio is None else [f"ratio {way.ratio:g}"]
        plain.append(" ".join(words) or way.model)
    found = []
    for way, label in zip(ways, plain, strict=True):
        alike = [other for other, name in zip(ways, plain, strict=True) if name == label]
        if len(alike) > 1:
            told = (fact for fact in FACTS if len({str(other.student.get(fact)) for other in alike}) == len(alike))
            fact = next(told, None)
            label += f" ({alike.index(way) + 1})" if fact is None else f" ({fact} {way.student.get(fact)})"
        found.append(label)
    return found
