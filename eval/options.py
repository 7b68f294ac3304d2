"""Which of several measured arms of training to take: the cheapest that cannot be told from the best. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log10
from statistics import fmean

from eval.report import Arm, counterparts, varying
from ratiocine import cost
from ratiocine.errors import BadInput
from ratiocine.stats import compare_seeds, holm, needed, over_seeds, spread, support

Table = list[list[float]]


@dataclass(frozen=True)
class Option:
    """A arm as measured: its right answers by seed and problem, their mean with its 95 % interval, and what it costs: FLOPs of
    its training and of an answer, seconds of both."""

    arm: Arm
    table: Table
    accuracy: float
    low: float
    high: float
    train_flops: float
    answer_flops: float
    train_seconds: float
    answer_seconds: float

    def total(self, questions: int | None) -> float:
        """FLOPs of its training and of so many answers; of its training alone where that number is not known."""
        return self.train_flops + (questions or 0) * self.answer_flops


@dataclass(frozen=True)
class Against:
    """What the best option is worth more than another: the difference, its 95 % interval, which decides, and its p-value,
    adjusted (Holm) for the number of options that the best is compared with."""

    option: Option
    difference: float
    low: float
    high: float
    p_adjusted: float

    @property
    def decided(self) -> bool:
        return self.low > 0


@dataclass(frozen=True)
class Choice:
    """The best option, the one that is recommended, what the best is worth beside every other, and how often each option is the
    best when problems and seeds are drawn again, in the order of `options`."""

    options: Sequence[Option]
    best: Option
    recommended: Option
    others: Sequence[Against]
    often: Sequence[float]

    @property
    def alike(self) -> list[Against]:
        """Those that cannot be told from the best."""
        return [other for other in self.others if not other.decided]


@dataclass(frozen=True)
class Surer:
    """What it takes to tell the best from `other` if they differ as much as they seem to, four times out of five: a number of
    problems (with the seeds that there are) or of seeds (with the problems that there are), None where no number would do or it
    cannot be known, and what that costs beyond what was spent: (FLOPs, seconds)."""

    other: Option
    problems: int | None
    problems_cost: tuple[float, float] | None
    seeds: int | None
    seeds_cost: tuple[float, float] | None


def measured(arm: Arm, keys: Sequence[str], *, exact: bool) -> Option:
    """A arm as it did on these problems. Raises BadInput where its size, and so its cost, is not known."""
    flops, seconds = [], []
    for evaluation in arm.evaluations:
        if not evaluation.manifest.get("shape"):
            raise BadInput(
                f"{arm.label}: what an answer costs is not known, as its evaluation does not say the model's shape"
            )
        shape = cost.Shape(**evaluation.manifest["shape"])
        rows = [row for key in keys for row in evaluation.answers[key]]
        flops += [
            cost.exact_generation(shape, row["n_prompt"], row["n_completion"]) for row in rows
        ]
        seconds.append(evaluation.manifest["seconds"] / sum(map(len, evaluation.answers.values())))
    table = arm.table(keys)
    trained = arm.train_flops_exact if exact else arm.train_flops
    assert trained is not None
    lasted = fmean(
        float(evaluation.student.get("seconds") or 0.0) for evaluation in arm.evaluations
    )
    return Option(arm, table, *over_seeds(table), trained, fmean(flops), lasted, fmean(seconds))


def worth(option: Option, questions: int | None, weight: float) -> float:
    """Accuracy, less `weight` for every tenfold of cost."""
    return option.accuracy - _charge(option, questions, weight)


def choose(options: Sequence[Option], questions: int | None = None, weight: float = 0.0) -> Choice:
    """The best by what they are `worth`, and the cheapest of those whose difference from it is not decided."""

    def dearness(option: Option) -> tuple[float, float, str]:
        return option.total(questions), option.answer_flops, option.arm.label

    def shifted(option: Option) -> Table:
        charge = _charge(option, questions, weight)
        return (
            [[value - charge for value in row] for row in option.table] if charge else option.table
        )

    best = min(
        options,
        key=lambda option: (-round(worth(option, questions, weight), 12), *dearness(option)),
    )
    rest = [option for option in options if option is not best]
    told = []
    for option in rest:
        first, second, _ = _paired(option, best)
        if more := _charge(best, questions, weight) - _charge(option, questions, weight):
            second = [[value - more for value in row] for row in second]
        told.append(compare_seeds(first, second))
    adjusted = holm([found[-1] for found in told])
    others = [
        Against(option, *found[:3], p)
        for option, found, p in zip(rest, told, adjusted, strict=True)
    ]
    alike = [best, *(other.option for other in others if not other.decided)]
    often = support(
        [0.0] * len(options), [shifted(option) for option in options]
    )  # at one cost the front is the best
    return Choice(options, best, min(alike, key=dearness), others, often)


def surer(choice: Choice, n: int) -> Surer | None:
    """What it takes to decide between the best and the recommended, or the next best where that is the best itself; None where
    all is decided, or the two do not differ at all."""
    pairs = [other for other in choice.alike if other.option is choice.recommended] or sorted(
        choice.alike, key=lambda other: other.difference
    )
    if not pairs:
        return None
    other = pairs[0].option
    first, second, own = _paired(other, choice.best)
    difference, present = fmean(map(fmean, second)) - fmean(map(fmean, first)), len(first)
    found = spread(first, second, own)
    if abs(difference) < 1e-9:
        return None

    def problems(seeds: int) -> int | None:
        return needed(
            difference,
            max(found.discordant, abs(difference)),
            found.seed_sd or 0.0,
            seeds,
            common=0.5 if found.common is None else found.common,
            varying=own,
        )

    both, more, seeds = (choice.best, other), problems(present), None
    if found.seed_sd is not None and any(option.arm.trained for option in both):
        seeds = next((s for s in range(present + 1, 31) if (problems(s) or n + 1) <= n), None)
    answer = (
        sum(option.answer_flops for option in both),
        sum(option.answer_seconds for option in both),
    )
    training = (
        sum(option.train_flops for option in both),
        sum(option.train_seconds for option in both),
    )
    further, added = max(0, (more or 0) - n) * present, (seeds or 0) - present
    return Surer(
        other,
        more,
        None if more is None else (further * answer[0], further * answer[1]),
        seeds,
        None
        if seeds is None
        else (added * (training[0] + n * answer[0]), added * (training[1] + n * answer[1])),
    )


def _charge(option: Option, questions: int | None, weight: float) -> float:
    return weight * log10(option.total(questions)) if weight else 0.0


def _paired(first: Option, second: Option) -> tuple[Table, Table, int]:
    """Their tables, a row a pair of `arms.counterparts`, and how many of the two have seeds of their own there."""
    both = counterparts(first.arm, second.arm)
    one, other = (
        [option.table[option.arm.evaluations.index(pair[side])] for pair in both]
        for side, option in enumerate((first, second))
    )
    return one, other, varying(both)
