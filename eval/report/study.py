"""A study: the arms of some evaluations and the problems that all of them answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from eval.report.arms import Arm
from eval.report.csv_table import Cell
from eval.report.evaluations import Evaluation, problem_groups
from eval.report.gathering import gather
from eval.report.hypotheses import Declared, Hypothesis, Rounds, of_families
from ratiocine.runs import differing

FEW = 6  # arms that are compared benchmark by benchmark in the terminal and in a figure
FEW_PROBLEMS = 5  # up to so many problems decide nothing
FEW_PAIRS = 3  # pairs with a sentence each in the findings
# Columns that describe an arm.
ARM_COLUMNS = ("arm", "line", "model", "scenario", "equalize", "ratio", "seeds")


@dataclass(frozen=True)
class Study:
    """Arms and shared problems; two evaluations are a study as two hundred are."""

    arms: tuple[Arm, ...]
    benchmarks: Mapping[str, Sequence[str]]
    """Shared problems by benchmark."""
    groups: Mapping[str, Sequence[str]]
    """Shared problems by category, then `all`."""
    hypotheses: Sequence[Hypothesis] = ()
    """Declared before training: of the study, then of its families."""
    rounds: Rounds | None = None
    """Of a study whose seeds are added in rounds."""

    @staticmethod
    def of(evaluations: Sequence[Evaluation], plan: Declared | None = None) -> Study:
        """Of evaluations, and what the plan of a study states. Raises BadInput as `gather`."""
        plan = plan or Declared()
        arms = gather(evaluations)
        everyone = [evaluation for arm in arms for evaluation in arm.evaluations]
        benchmarks = {
            name: sorted(keys) for name, keys in problem_groups(everyone, "benchmark").items()
        }
        categories = {
            name: sorted(keys) for name, keys in problem_groups(everyone, "category").items()
        }
        everything = [key for keys in benchmarks.values() for key in keys]
        every = of_families(everyone[0].facts.hypotheses, plan.hypotheses)
        groups = {**categories, "all": everything}
        return Study(tuple(arms), benchmarks, groups, every, plan.rounds)

    @property
    def limit_reached(self) -> bool:
        """Whether training and evaluation have cost as much as the rounds of seeds may."""
        rounds = self.rounds
        if rounds is None:
            return False
        students = [one.student for one in self.evaluations if one.student is not None]
        flops = sum(student.train_flops or 0.0 for student in students)
        seconds = sum(student.seconds or 0.0 for student in students)
        seconds += sum(evaluation.facts.seconds for evaluation in self.evaluations)
        return flops >= (rounds.max_flops or inf) or seconds / 3600 >= (rounds.max_hours or inf)

    def with_seeds(self, n: int) -> Study:
        """With the first `n` seeds of each arm."""
        arms = (replace(arm, evaluations=arm.evaluations[:n]) for arm in self.arms)
        return replace(self, arms=tuple(arms))

    @property
    def keys(self) -> Sequence[str]:
        return self.groups["all"]

    @property
    def tested_groups(self) -> list[str]:
        """The groups without `all` where one category holds all problems: a test that is made twice
        counts once."""
        return [group for group in self.groups if group != "all" or len(self.groups) > 2]

    @property
    def evaluations(self) -> list[Evaluation]:
        return [evaluation for arm in self.arms for evaluation in arm.evaluations]

    @property
    def trained(self) -> list[Arm]:
        return [arm for arm in self.arms if arm.trained]

    @property
    def plain(self) -> list[Arm]:
        """The trained arms that answer without a strategy; all where every one has one."""
        return [arm for arm in self.trained if not arm.has_strategy] or self.trained

    @property
    def models(self) -> list[str]:
        return list(dict.fromkeys(arm.model for arm in self.arms))

    @property
    def max_seeds(self) -> int:
        return max((len(arm.evaluations) for arm in self.trained), default=1)

    @property
    def small(self) -> bool:
        """Whether there are few arms, with one seed each."""
        return len(self.arms) <= FEW and self.max_seeds == 1

    def untrained(self, arm: Arm) -> Arm | None:
        """The starting model of an arm, where it was evaluated with the same settings; of an arm
        with a strategy also where it was asked once."""
        same = [one for one in self.arms if not one.trained and one.model == arm.model]
        alike = [one for one in same if one.condition == arm.condition]
        return only(alike or (same if arm.has_strategy else []))

    def with_axes(self, arm: Arm, **axes: Any) -> Arm | None:
        """The one arm that differs from `arm` only in these axes and in settings that follow from
        them, such as the learning rate; None without one, or with several."""
        wanted = replace(arm.axes, **axes)
        return only(
            other for other in self.trained if other.axes == wanted and other.alike(arm, *axes)
        )

    @property
    def ratio_alone(self) -> bool:
        """Whether nothing but the reasoning ratio differs between the trained arms."""
        arms = [arm for arm in self.trained if not arm.rewarded]
        ratios = {arm.ratio for arm in arms}
        return len(ratios) > 1 and not self.differences_beside_ratio()

    def differences_beside_ratio(self, *apart: str) -> dict[str, list[str]]:
        """What arms without rewards differ in, the ratio and the axes `apart` excluded: values by
        name. With the model apart, arms of one model are compared: each has a best learning rate of
        its own."""
        arms = [arm for arm in self.trained if not arm.rewarded and arm.student is not None]
        firsts: dict[str | None, Arm] = {}
        values: dict[str, set[str]] = {}
        for arm in arms:
            first = firsts.setdefault(arm.model if "model" in apart else None, arm)
            assert first.student is not None
            assert arm.student is not None
            names = list(differing(first.student, arm.student, "ratio", *apart))
            if not set(arm.seeds) & set(first.seeds):
                names.append("seed")
            for name in names:
                values.setdefault(name, set()).update((_value(first, name), _value(arm, name)))
        return {name: sorted(found) for name, found in values.items()}


def _value(arm: Arm, name: str) -> str:
    if name == "seed":
        return " ".join(map(str, arm.seeds))
    return str(getattr(arm.axes, name)) if hasattr(arm.axes, name) else str(arm.fact(name))


def only(found: Iterable[Arm]) -> Arm | None:
    """The single arm among `found`, else None: none of several is preferred to another."""
    arms = list(found)
    return arms[0] if len(arms) == 1 else None


def described(arm: Arm) -> tuple[Cell, ...]:
    """The cells of `ARM_COLUMNS`."""
    if not arm.trained:
        return arm.label, arm.line, arm.model, None, None, None, len(arm.evaluations)
    equalize = arm.axes.equalize or "examples"
    axes = (arm.axes.scenario, equalize, arm.ratio)
    return (arm.label, arm.line, arm.model, *axes, len(arm.evaluations))
