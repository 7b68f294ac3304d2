"""Arms: evaluations that differ in the training seed alone.

An arm is what a study compares: a model and how it was trained (scenario, ratio, what was held
equal, rewards). Its accuracy is a mean over seeds and problems, with the uncertainty of both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import fsum
from statistics import fmean
from typing import Literal

from eval.report.evaluations import Evaluation, right_shares
from ratiocine.runs import Axes, StudentInfo, axes, differing

EvaluationPairs = Sequence[tuple[Evaluation, Evaluation]]
# Training settings of students of `rl` alone; a default elsewhere.
OF_REWARDS = ("objective", "control", "changed")


@dataclass(frozen=True)
class Arm:
    """One arm, and its evaluations by training seed.

    A starting model (not fine-tuned by this tool; labelled "untrained") is an arm of one
    evaluation."""

    label: str
    """Unique among the arms of its study."""
    line: str
    """Equal for the arms that differ in the ratio alone."""
    evaluations: tuple[Evaluation, ...]
    condition: str = ""
    """Evaluation settings, where one student was evaluated with several."""

    @property
    def student(self) -> StudentInfo | None:
        """How it was trained (with its first seed); None for a starting model."""
        return self.evaluations[0].student

    @property
    def trained(self) -> bool:
        return self.student is not None

    @property
    def rewarded(self) -> bool:
        """Whether it was trained with rewards (`rl`)."""
        return self.student is not None and self.student.rewarded

    @property
    def has_strategy(self) -> bool:
        """Whether a test-time strategy answered."""
        return self.evaluations[0].manifest.identity.get("strategy") is not None

    @cached_property
    def axes(self) -> Axes:
        """Its value on every axis of a study (`runs.AXES`); None where it has none."""
        first = self.evaluations[0]
        return replace(axes(self.student or StudentInfo()), model=start_model(first))

    @property
    def model(self) -> str:
        return str(self.axes.model)

    @property
    def ratio(self) -> float | None:
        """The reasoning ratio; None where that is not one number, and for a starting model."""
        return self.axes.ratio

    @property
    def seeds(self) -> list[int | None]:
        return [evaluation.seed for evaluation in self.evaluations]

    @property
    def size(self) -> int | None:
        """Number of weights, where it is known."""
        return self.evaluations[0].facts.size

    def fact(self, name: str) -> str | None:
        """A training setting of its student, as text; None where it does not apply."""
        if self.student is None or (name in OF_REWARDS and not self.student.rewarded):
            return None
        value = getattr(self.student, name)
        return None if value is None else str(value)

    def alike(self, other: Arm, *apart: str) -> bool:
        """Whether two trained arms differ at most in the axes `apart` and what they determine, such
        as the learning rate (`runs.differing`), and have the same evaluation settings."""
        if self.condition != other.condition or self.student is None or other.student is None:
            return False
        return not differing(self.student, other.student, *apart)

    def table(self, keys: Sequence[str]) -> list[list[float]]:
        """Shares of right answers: a row per seed, a column per problem; `keys` are problem ids."""
        return [right_shares(evaluation, keys) for evaluation in self.evaluations]

    def total(self, name: str, keys: Sequence[str]) -> int:
        """The sum of a column, or of a product of columns (`Columns.sums`), over all completions of
        these problems."""
        return sum(one.columns.total(name, one.at(keys)) for one in self.evaluations)

    def share(self, name: str, keys: Sequence[str]) -> float:
        """The share of all completions of these problems for which a column is true."""
        return self.total(name, keys) / self.total("one", keys)

    def mean(self, name: str, keys: Sequence[str], of: str = "one") -> float | None:
        """The mean of a column over completions that are the model's, of those for which the column
        `of` is true; None where there are none."""
        n = self.total(f"answered {of}", keys)
        return self.total(f"answered {of} {name}", keys) / n if n else None

    @property
    def train_flops(self) -> float:
        """FLOPs of its training and of the students it was trained from, pretraining excluded, by
        the FLOPs formula of arXiv 2509.22193: the mean over seeds; 0 for a starting model."""
        return fmean(_total(one.student, "train_flops") or 0.0 for one in self.evaluations)

    @property
    def train_flops_exact(self) -> float | None:
        """Executed FLOPs (`cost.exact_training`); None where they are unknown."""
        found = [_total(one.student, "train_flops_exact") for one in self.evaluations]
        return None if None in found else fmean(value or 0.0 for value in found)

    def inference_flops(self, keys: Sequence[str]) -> float | None:
        """Mean exact FLOPs of an answer to these problems; None where the shape is unknown or no
        request was answered."""
        return self._inference_flops(keys, exact=True)

    def inference_flops_published(self, keys: Sequence[str]) -> float | None:
        """The same by the formula of arXiv 2509.22193."""
        return self._inference_flops(keys, exact=False)

    def _inference_flops(self, keys: Sequence[str], *, exact: bool) -> float | None:
        shape, n = self.evaluations[0].facts.shape, self.total("answered", keys)
        if shape is None or not n:
            return None
        of_all = [one.columns.flops(shape, one.at(keys), exact=exact) for one in self.evaluations]
        return fsum(flops for of_one in of_all for flops in of_one) / n


def _total(
    student: StudentInfo | None, field: Literal["train_flops", "train_flops_exact"]
) -> float | None:
    """A cost of training a student and the students it was trained from; None where one of them is
    unknown."""
    if student is None:
        return 0.0
    flops = student.train_flops if field == "train_flops" else student.train_flops_exact
    before = _total(student.parent, field)
    return None if flops is None or before is None else float(flops) + before


def start_model(evaluation: Evaluation) -> str:
    """The starting model: the evaluated model itself, or that of the first student."""
    if evaluation.student is None:
        return evaluation.facts.model
    *_, first = evaluation.student.ancestors()
    return str(first.base or evaluation.facts.model)


def counterparts(first: Arm, second: Arm) -> EvaluationPairs:
    """The evaluations of two arms in pairs.

    A student of `rl` is paired with the student it started from, else equal seeds are paired. A
    starting model is paired with all seeds. Arms without a common seed are paired in order.
    """
    both = [(one, other) for one in first.evaluations for other in second.evaluations]
    rules: tuple[Callable[[Evaluation, Evaluation], bool], ...] = (
        _with_starting_model,
        is_parent,
        lambda one, other: one.seed == other.seed,
    )
    for belong in rules:
        if found := [pair for pair in both if belong(*pair)]:
            return found
    return list(zip(first.evaluations, second.evaluations, strict=False))


def varying(pairs: EvaluationPairs) -> int:
    """Number of arms (1 or 2) with several seeds in these pairs: 1 where one evaluation, or a
    starting model, is paired with all of the other arm."""
    alone = len(pairs) > 1 and any(len({id(pair[side]) for pair in pairs}) == 1 for side in (0, 1))
    return 1 if alone or any(_with_starting_model(*pair) for pair in pairs) else 2


def _with_starting_model(one: Evaluation, other: Evaluation) -> bool:
    return one.student is None or other.student is None


def is_parent(one: Evaluation, other: Evaluation) -> bool:
    """Whether the student of one is what the `rl` training of the other started from."""
    if one.student is None or other.student is None:
        return False
    return any(
        before.hash is not None and after.parent is not None and before.hash == after.parent.hash
        for before, after in ((one.student, other.student), (other.student, one.student))
    )
