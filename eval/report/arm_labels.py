"""Short, unique labels of arms, and names of lines (arms that differ in the ratio alone)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from eval.report.arms import Arm
from ratiocine.runs import AXES, FACTS

DEFAULTS = {"scenario": "mixed", "equalize": "examples", "lr_policy": "per_format"}  # not named
LONG = 24  # characters of a data name in a label


def named_arms(arms: Sequence[Arm]) -> list[Arm]:
    """The arms with their labels and lines."""
    lines = _line_names(arms)
    named = zip(_labels(arms, lines), _legend_names(arms, lines), arms, strict=True)
    return [Arm(label, line, arm.evaluations, arm.condition) for label, line, arm in named]


def _line_names(arms: Sequence[Arm]) -> list[str]:
    """The axes on which the arms differ, the ratio excluded; then a training setting or number."""
    varying = _varying_axes(arms)
    data = sorted({str(arm.axes.data) for arm in arms})
    found = []
    for arm in arms:
        words = [arm.model] if "model" in varying else []
        for axis in AXES[1:-1] if arm.trained else ():
            value = getattr(arm.axes, axis)
            if axis in varying and value not in (None, DEFAULTS.get(axis)):
                words.append(_axis_word(axis, str(value), arm, data))
        name = " ".join(words) if arm.trained else f"{arm.model} (untrained)"
        found.append(", ".join(filter(None, (name, arm.condition))))
    return _distinguished(arms, found, lambda one, other: one.alike(other, "ratio"))


def _varying_axes(arms: Sequence[Arm]) -> set[str]:
    return {
        axis
        for axis in AXES
        if len({str(getattr(a.axes, axis)) for a in arms if a.trained or axis == "model"}) > 1
    }


def _axis_word(axis: str, value: str, arm: Arm, data: Sequence[str]) -> str:
    if axis == "equalize":
        return f"equal {value}".replace("flops", "FLOPs")
    if axis == "lr_policy":
        return "one rate" if value == "matched" else value
    if axis == "data" and len(value) > LONG:  # the table of arms has it in full
        return f"data {data.index(value) + 1}"
    if axis == "reward":
        student = arm.student
        control = ", rewards shuffled" if student and student.control else ""
        return f"+ {student.objective if student else None} {value}{control}"
    return value


def _distinguished(
    arms: Sequence[Arm], names: Sequence[str], alike: Callable[[Arm, Arm], bool]
) -> list[str]:
    """The names; a name of arms that are not alike is followed by the first training setting that
    distinguishes them, or by a number."""
    found = list(names)
    for name in dict.fromkeys(names):
        kinds: list[list[int]] = []
        for at, arm in enumerate(arms):
            if names[at] == name:
                kind = next((kind for kind in kinds if alike(arms[kind[0]], arm)), None)
                if kind is None:
                    kinds.append(kind := [])
                kind.append(at)
        if len(kinds) < 2:
            continue
        firsts = [arms[kind[0]] for kind in kinds]
        distinct = (
            fact
            for fact in FACTS
            if fact != "settings" and len({arm.fact(fact) for arm in firsts}) == len(firsts)
        )
        fact = next(distinct, None)
        for number, kind in enumerate(kinds):
            word = str(number + 1) if fact is None else f"{fact} {firsts[number].fact(fact)}"
            for at in kind:
                found[at] = f"{name} ({word})".strip()
    return found


def _legend_names(arms: Sequence[Arm], lines: Sequence[str]) -> list[str]:
    """The lines as a legend names them: `mixed` too, where there are several scenarios."""
    scenarios = len({arm.axes.scenario for arm in arms if arm.trained}) > 1
    return [
        f"{line} mixed".strip()
        if arm.trained and scenarios and arm.axes.scenario == "mixed"
        else line or arm.model
        for arm, line in zip(arms, lines, strict=True)
    ]


def _labels(arms: Sequence[Arm], lines: Sequence[str]) -> list[str]:
    """Line and ratio, then the evaluation settings."""
    plain = []
    for arm, line in zip(arms, lines, strict=True):
        without = line.removesuffix(arm.condition).removesuffix(", ") if arm.condition else line
        words = [without] if without else []
        words += [] if arm.ratio is None else [f"ratio {arm.ratio:g}"]
        name = " ".join(words) or arm.model
        plain.append(", ".join(filter(None, (name, arm.condition))))
    return _distinguished(arms, plain, lambda one, other: one is other)
