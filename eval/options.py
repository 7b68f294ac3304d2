"""The choice among measured arms: the one with the highest expected accuracy, less what its cost is
worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, log10
from statistics import fmean

from eval.report import Arm, counterparts, varying
from ratiocine.errors import BadInput
from ratiocine.stats import (
    PairedDifference,
    expected_accuracies,
    holm_adjusted,
    over_seeds,
    pooled,
    problems_needed,
    support,
)

Shares = list[list[float]]  # of right answers: a row per seed, a column per problem
MAX_SEEDS = 30
RATIO_SCALE = 0.5  # difference of ratios at which their similarity is 1 / e


@dataclass(frozen=True)
class Cost:
    """Of training, of answers, or of both."""

    flops: float | None
    """None where those of answers are unknown."""
    seconds: float

    def __add__(self, other: Cost) -> Cost:
        unknown = self.flops is None or other.flops is None
        flops = None if unknown else (self.flops or 0.0) + (other.flops or 0.0)
        return Cost(flops, self.seconds + other.seconds)

    def times(self, n: int) -> Cost:
        return Cost(None if self.flops is None else n * self.flops, n * self.seconds)


@dataclass(frozen=True)
class Option:
    """An arm as measured."""

    arm: Arm
    table: Shares
    accuracy: float
    low: float
    """Lower end of the 95 % interval."""
    high: float
    train_flops: float
    answer_flops: float | None
    """Of one answer, the mean; None where they are unknown for any of the options compared."""
    answer_tokens: float
    """Of one answer, the mean."""
    train_seconds: float
    answer_seconds: float
    expected: float
    """Accuracy, given those of all arms in all categories (`informed`)."""

    def total(self, num_queries: int | None) -> float:
        """FLOPs of training and of this number of answers; of training alone where it is None."""
        if not num_queries:
            return self.train_flops
        assert self.answer_flops is not None
        return self.train_flops + num_queries * self.answer_flops

    @property
    def training(self) -> Cost:
        return Cost(self.train_flops, self.train_seconds)

    @property
    def answer(self) -> Cost:
        return Cost(self.answer_flops, self.answer_seconds)


@dataclass(frozen=True)
class Other:
    """An option that is not the best, and the best option's difference from it, Holm-adjusted over
    these comparisons."""

    option: Option
    best: PairedDifference

    @property
    def worse(self) -> bool:
        """Whether it is shown to be worse than the best."""
        return self.best.conclusion == "better"


@dataclass(frozen=True)
class Choice:
    """The options, the recommended one and what the data tell of the others."""

    options: Sequence[Option]
    best: Option
    """As observed."""
    recommended: Option
    """By expectation, of those that are not shown to be worse than the best."""
    cheapest: Option
    """Of the same."""
    others: Sequence[Other]
    best_shares: Sequence[float]
    """Share of bootstrap resamples, of seeds and problems, in which each of `options` is best."""

    @property
    def inconclusive(self) -> list[Other]:
        """Those that are not shown to be worse than the best."""
        return [other for other in self.others if not other.worse]


@dataclass(frozen=True)
class SampleSize:
    """What it takes to decide between the best option and `other` with a power of 80 %, if they
    differ by the difference seen."""

    other: Option
    problems: int | None
    """With the present seeds; None where no number suffices."""
    problems_cost: Cost | None
    """Beyond what was spent."""
    seeds: int | None
    """With the present problems; None where no number suffices or it is unknown."""
    seeds_cost: Cost | None


def measured(arm: Arm, keys: Sequence[str], *, exact: bool) -> Option:
    """An arm over these problems; training FLOPs are exact counts if `exact`.

    Raises BadInput where none of its requests was answered.
    """
    seconds = []
    for evaluation in arm.evaluations:
        if not evaluation.columns.total("answered", evaluation.at(keys)):
            raise BadInput(f"{arm.label}: no request of {evaluation.label} was answered")
        seconds.append(evaluation.facts.seconds / len(evaluation.columns))
    table = arm.table(keys)
    train_flops = arm.train_flops_exact if exact else arm.train_flops
    assert train_flops is not None
    students = [evaluation.student for evaluation in arm.evaluations]
    train_seconds = fmean(float(student.seconds or 0.0) if student else 0.0 for student in students)
    tokens = arm.mean("n_completion", keys)
    assert tokens is not None
    times = (train_flops, arm.inference_flops(keys), tokens, train_seconds, fmean(seconds))
    accuracy, low, high = over_seeds(table)
    return Option(arm, table, accuracy, low, high, *times, expected=accuracy)


def compared_costs(options: Sequence[Option]) -> list[Option]:
    """The same options; without the FLOPs of answers where those of one, such as a served model,
    are unknown."""
    if all(option.answer_flops is not None for option in options):
        return list(options)
    return [replace(option, answer_flops=None) for option in options]


def informed(
    options: Sequence[Option], groups: Mapping[str, Sequence[str]], category: str
) -> list[Option]:
    """The same options of a category, or of "all", with what all trained arms show in all
    categories: `groups` are the problems of each."""
    trained = [option for option in options if option.arm.trained]
    if not trained:
        return list(options)
    arms = [option.arm for option in trained]
    tables = [[arm.table(keys) for arm in arms] for keys in groups.values()]
    expected = expected_accuracies(tables, similarities(arms))
    names = groups if category == "all" else [category]
    weights = [len(keys) if name in names else 0 for name, keys in groups.items()]
    means = [
        sum(w * value for w, value in zip(weights, of_arm, strict=True)) / sum(weights)
        for of_arm in zip(*expected, strict=True)
    ]
    by_arm = {id(arm): mean for arm, mean in zip(arms, means, strict=True)}
    return [replace(one, expected=by_arm.get(id(one.arm), one.accuracy)) for one in options]


def similarities(arms: Sequence[Arm]) -> list[list[list[float]]]:
    """Of each arm to each, from 0 to 1: of one model, of near ratios, and of both."""
    of_model = [[float(one.model == other.model) for other in arms] for one in arms]
    near = [[_near(one.ratio, other.ratio) for other in arms] for one in arms]
    both = [
        [a * b for a, b in zip(*rows, strict=True)] for rows in zip(of_model, near, strict=True)
    ]
    return [of_model, near, both]


def _near(first: float | None, second: float | None) -> float:
    if first is None or second is None:
        return float(first is second)
    return exp(-abs(first - second) / RATIO_SCALE)


def worth(option: Option, accuracy: float, num_queries: int | None, weight: float) -> float:
    """Accuracy − `weight` · log10(FLOPs of training and of `num_queries` answers)."""
    return accuracy - _penalty(option, num_queries, weight)


def choose(
    options: Sequence[Option], num_queries: int | None = None, weight: float = 0.0
) -> Choice:
    """The option of the highest `worth` as observed, and of those not shown to be worse than it the
    one of the highest by expectation; at equal worth the cheapest. `weight` is the accuracy that a
    tenth of the cost is worth."""

    def price(option: Option) -> tuple[float, float, str]:
        per_answer = option.answer_flops
        per_answer = option.answer_tokens if per_answer is None else per_answer
        return option.total(num_queries), per_answer, option.arm.label

    def order(option: Option, accuracy: float) -> tuple[float, float, float, str]:
        return -round(worth(option, accuracy, num_queries, weight), 12), *price(option)

    best = min(options, key=lambda option: order(option, option.accuracy))
    rest = [option for option in options if option is not best]
    differences = []
    for option in rest:
        first, second, sides = _paired(option, best)
        more = _penalty(best, num_queries, weight) - _penalty(option, num_queries, weight)
        differences.append(PairedDifference.of(first, _lowered(second, more), sides))
    others = [Other(*found) for found in zip(rest, holm_adjusted(pooled(differences)), strict=True)]
    alike = [best, *(other.option for other in others if not other.best.conclusive)]
    # At equal costs the Pareto front is the best option.
    tables = [_lowered(option.table, _penalty(option, num_queries, weight)) for option in options]
    best_shares = support([0.0] * len(options), tables)
    recommended = min(alike, key=lambda option: order(option, option.expected))
    return Choice(options, best, recommended, min(alike, key=price), others, best_shares)


def _penalty(option: Option, num_queries: int | None, weight: float) -> float:
    return weight * log10(option.total(num_queries)) if weight else 0.0


def _lowered(table: Shares, penalty: float) -> Shares:
    return [[value - penalty for value in row] for row in table] if penalty else table


def _paired(first: Option, second: Option) -> tuple[Shares, Shares, int]:
    """Their tables with a row per pair of counterparts, and the number of arms with several
    seeds."""
    both = counterparts(first.arm, second.arm)
    one, other = (
        [option.table[option.arm.evaluations.index(pair[side])] for pair in both]
        for side, option in enumerate((first, second))
    )
    return one, other, varying(both)


def sample_size(choice: Choice, n: int) -> SampleSize | None:
    """What it takes to decide between the best option and the cheapest inconclusive one (where the
    best is cheaper, the closest one), measured on `n` problems; None where no comparison is
    inconclusive, or the two have equal accuracy."""
    candidates = choice.inconclusive
    found = [other for other in candidates if other.option is choice.cheapest]
    found = found or sorted(candidates, key=lambda other: other.best.difference)
    if not found:
        return None
    other = found[0].option
    first, second, sides = _paired(other, choice.best)
    seen = PairedDifference.of(first, second, sides)
    difference = fmean(map(fmean, second)) - fmean(map(fmean, first))
    if abs(difference) < 1e-9:
        return None

    def problems(seeds: int) -> int | None:
        return problems_needed(
            difference,
            max(seen.spread.discordant, abs(difference)),
            seen.spread.seed_sd or 0.0,
            seeds,
            common=0.5 if seen.spread.common is None else seen.spread.common,
            varying=sides,
        )

    more, seeds = problems(seen.seeds), None
    trained = choice.best.arm.trained or other.arm.trained
    if seen.spread.seed_sd is not None and trained:
        possible = range(seen.seeds + 1, MAX_SEEDS + 1)
        seeds = next((s for s in possible if (problems(s) or n + 1) <= n), None)
    answer, training = choice.best.answer + other.answer, choice.best.training + other.training
    added_answers, added_seeds = max(0, (more or 0) - n) * seen.seeds, (seeds or 0) - seen.seeds
    return SampleSize(
        other=other,
        problems=more,
        problems_cost=None if more is None else answer.times(added_answers),
        seeds=seeds,
        seeds_cost=None if seeds is None else (training + answer.times(n)).times(added_seeds),
    )
