"""Evaluations gathered into arms of training: evaluations that differ in the seed of their training alone.

A arm is what a study compares: a model, how it was taught (scenario, ratio, what was held equal) and by which rewards. Its
accuracy is a mean over seeds and problems, with the uncertainty of both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from statistics import fmean
from typing import Any

from eval.report import scored
from eval.report.scored import Evaluation
from ratiocine.errors import BadInput
from ratiocine.runs import AXES, FACTS, ancestors, axes, differing

Pairs = Sequence[tuple[Evaluation, Evaluation]]
USUAL = {"scenario": "mixed", "equalize": "examples", "lr_policy": "per_format"}  # not worth a word
LONG = 24  # characters of a name of data that a label repeats


@dataclass(frozen=True)
class Arm:
    """One arm of training, and its evaluations by the seed of the training; a model that was not trained here has a single
    one. Among the arms that it was gathered with `label` names it, and `line` those that differ from it in the ratio alone."""

    label: str
    line: str
    evaluations: tuple[Evaluation, ...]

    @property
    def student(self) -> Mapping[str, Any]:
        """How it was trained, its seed apart; empty for a model that was not trained here."""
        return self.evaluations[0].student

    @property
    def trained(self) -> bool:
        return bool(self.student)

    @cached_property
    def axes(self) -> dict[str, Any]:
        """Its value on every axis of a study; None where it has none."""
        return {**axes(self.student), "model": model(self.evaluations[0])}

    @property
    def model(self) -> str:
        return str(self.axes["model"])

    @property
    def ratio(self) -> float | None:
        """The share of reasoning that it was taught; None where that is not one number, or nothing was taught here."""
        return self.axes["ratio"]

    @property
    def seeds(self) -> list[int]:
        return [evaluation.student.get("seed", 0) for evaluation in self.evaluations]

    @property
    def size(self) -> int | None:
        """Number of weights, where that is known."""
        return self.evaluations[0].manifest.get("size")

    def alike(self, other: Arm, *apart: str) -> bool:
        """Whether two trained arms differ in these axes at most, and in what follows from them (`students.differing`)."""
        return not differing(self.student, other.student, *apart)

    def table(self, keys: Sequence[str]) -> list[list[float]]:
        """The share of right answers, a row a seed and a column a problem."""
        return [scored.right(evaluation, keys) for evaluation in self.evaluations]

    def mean(self, field: str, keys: Sequence[str]) -> float:
        """The mean of a number of every answer to these problems, such as `n_completion` (tokens), over seeds."""
        return fmean(
            row[field]
            for evaluation in self.evaluations
            for key in keys
            for row in evaluation.answers[key]
        )

    @property
    def train_flops(self) -> float:
        """What its training cost, the mean over seeds, with that of what it began with (the published form); 0 untrained."""
        return fmean(
            _summed(evaluation.student, "train_flops") or 0.0 for evaluation in self.evaluations
        )

    @property
    def train_flops_exact(self) -> float | None:
        """The same with exact counts (`cost.exact_training`); None where an evaluation does not hold them."""
        found = [
            _summed(evaluation.student, "train_flops_exact") for evaluation in self.evaluations
        ]
        return None if None in found else fmean(value or 0.0 for value in found)


def _summed(student: Mapping[str, Any], field: str) -> float | None:
    """A cost of a training and of those that it went on from; None where one of them does not say, 0 without training."""
    if not student:
        return 0.0
    own, before = student.get(field), _summed(student.get("parent") or {}, field)
    return None if own is None or before is None else float(own) + before


def gather(evaluations: Sequence[Evaluation]) -> list[Arm]:
    """The arms of these evaluations: models untrained first, then by axis and ratio. Raises BadInput where one seed of a arm is
    there twice."""
    sides = [tuple(sorted(side, key=_seed)) for side in _sides(evaluations)]
    for side in sides:
        for one, other in pairwise(side):
            if _seed(one) == _seed(other):
                what = f"seed {_seed(one)}" if one.student else "a model"
                raise BadInput(
                    f"{one.label}: {what} occurs twice, in {one.folder} and {other.folder}; of two evaluations give one, as "
                    "copies of a seed are no second source of variance"
                )
    arms = sorted((Arm("", "", side) for side in sides), key=_order)
    lines = _lines(arms)
    named = zip(_labels(arms, lines), _spelled(arms, lines), arms, strict=True)
    return [Arm(label, line, arm.evaluations) for label, line, arm in named]


def counterparts(first: Arm, second: Arm) -> Pairs:
    """The evaluations of two arms in pairs: what rewards began with and what came of it, or the same seed. A model that was not
    trained here goes with all seeds; arms that share no seed are paired in order, as none is nearer to one than another."""
    both = [(one, other) for one in first.evaluations for other in second.evaluations]
    for belong in (_untrained, began, _same_seed):
        if found := [pair for pair in both if belong(*pair)]:
            return found
    return list(zip(first.evaluations, second.evaluations, strict=False))


def varying(pairs: Pairs) -> int:
    """How many of the two arms have seeds of their own in these pairs: one where an evaluation goes with all of the other, and
    where it is of a model that was not trained."""
    alone = len(pairs) > 1 and any(len({id(pair[side]) for pair in pairs}) == 1 for side in (0, 1))
    return 1 if alone or any(_untrained(*pair) for pair in pairs) else 2


def _untrained(one: Evaluation, other: Evaluation) -> bool:
    return not (one.student and other.student)


def began(one: Evaluation, other: Evaluation) -> bool:
    """Whether one of the two is what the other's rewards began with."""
    return any(
        "hash" in before.student
        and before.student["hash"] == (after.student.get("parent") or {}).get("hash")
        for before, after in ((one, other), (other, one))
    )


def _same_seed(one: Evaluation, other: Evaluation) -> bool:
    return _seed(one) == _seed(other)


def several_seeds(evaluations: Sequence[Evaluation]) -> bool:
    """Whether a arm is there with more than one seed."""
    return any(len({_seed(evaluation) for evaluation in side}) > 1 for side in _sides(evaluations))


def _sides(evaluations: Sequence[Evaluation]) -> list[list[Evaluation]]:
    found: dict[str, list[Evaluation]] = {}
    for evaluation in evaluations:
        found.setdefault(_key(evaluation), []).append(evaluation)
    return list(found.values())


def _seed(evaluation: Evaluation) -> int:
    return evaluation.student.get("seed") or 0


def model(evaluation: Evaluation) -> str:
    """What a student began with, before any training here."""
    *_, first = ancestors(evaluation.student)
    return str(first.get("base") or evaluation.manifest["model"])


def _key(evaluation: Evaluation) -> str:
    if not evaluation.student:
        return f"{evaluation.manifest['model']} {(evaluation.manifest.get('inputs') or {}).get('model')}"
    return str(
        evaluation.student.get("arm")
        or [model(evaluation), *(evaluation.student.get(axis) for axis in AXES[1:])]
    )


def _order(arm: Arm) -> tuple[Any, ...]:
    axes = arm.axes
    ratio = -1.0 if arm.ratio is None else arm.ratio
    return (
        arm.size or 0,
        arm.model,
        arm.trained,
        *(str(axes[axis] or "") for axis in AXES[1:-1]),
        ratio,
        _key(arm.evaluations[0]),
    )


def _varying(arms: Sequence[Arm]) -> set[str]:
    """The axes on which these arms differ."""
    return {
        axis
        for axis in AXES
        if len({str(arm.axes[axis]) for arm in arms if arm.trained or axis == "model"}) > 1
    }


def _lines(arms: Sequence[Arm]) -> list[str]:
    """What tells arms apart, the ratio aside, in as few words as do; where axes do not, by a fact or a number."""
    varying = _varying(arms)
    data = sorted({str(arm.axes["data"]) for arm in arms})
    found = []
    for arm in arms:
        words = [arm.model] if "model" in varying else []
        if not arm.trained:
            found.append(f"{arm.model} (untrained)")
            continue
        for axis in AXES[1:-1]:
            value = arm.axes[axis]
            if axis in varying and value not in (None, USUAL.get(axis)):
                words.append(_word(axis, str(value), arm.student, data))
        found.append(" ".join(words))
    return _told_apart(arms, found, lambda one, other: one.alike(other, "ratio"))


def _told_apart(
    arms: Sequence[Arm], names: Sequence[str], alike: Callable[[Arm, Arm], bool]
) -> list[str]:
    """The names, those of arms that are not alike followed by the first fact that tells them apart, or by a number."""
    found = list(names)
    for name in dict.fromkeys(names):
        kinds: list[list[int]] = []
        for at, arm in enumerate(arms):
            if names[at] == name:
                kind = next((kind for kind in kinds if alike(arms[kind[0]], arm)), None)
                if kind is None:
                    kinds.append(kind := [])
                kind.append(at)
        firsts = [arms[kind[0]].student for kind in kinds]
        told = (
            fact
            for fact in FACTS
            if fact != "settings" and len({str(one.get(fact)) for one in firsts}) == len(firsts)
        )
        fact = next(told, None)
        for number, kind in enumerate(kinds if len(kinds) > 1 else []):
            word = str(number + 1) if fact is None else f"{fact} {firsts[number].get(fact)}"
            for at in kind:
                found[at] = f"{name} ({word})".strip()
    return found


def _word(axis: str, value: str, student: Mapping[str, Any], data: Sequence[str]) -> str:
    if axis == "equalize":
        return f"equal {value}".replace("flops", "FLOPs")
    if axis == "lr_policy":
        return "one rate" if value == "matched" else value
    if axis == "data" and len(value) > LONG:  # the table of arms spells it
        return f"data {data.index(value) + 1}"
    if axis == "reward":
        return f"+ {student['objective']} {value}" + ", rewards shuffled" * bool(
            student.get("control")
        )
    return value


def _spelled(arms: Sequence[Arm], lines: Sequence[str]) -> list[str]:
    """The lines as a legend names them, where the usual scenario has a name too."""
    scenarios = len({arm.axes["scenario"] for arm in arms if arm.trained}) > 1
    return [
        f"{line} mixed".strip()
        if arm.trained and scenarios and arm.axes["scenario"] == "mixed"
        else line or arm.model
        for arm, line in zip(arms, lines, strict=True)
    ]


def _labels(arms: Sequence[Arm], lines: Sequence[str]) -> list[str]:
    """Line and ratio."""
    plain = []
    for arm, line in zip(arms, lines, strict=True):
        words = [line] if line else []
        words += [] if arm.ratio is None else [f"ratio {arm.ratio:g}"]
        plain.append(" ".join(words) or arm.model)
    return _told_apart(arms, plain, lambda one, other: one is other)
