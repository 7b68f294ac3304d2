"""The main contrasts: what is decided of each, and what more seeds would decide."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Literal

from eval.report.accuracy_tables import chance_of
from eval.report.arms import counterparts
from eval.report.csv_table import Row, Table, rounded_table
from eval.report.difference_tables import Looks
from eval.report.evaluations import Evaluation
from eval.report.hypotheses import MARGIN, Rounds
from eval.report.pairings import Comparisons, Pair, main_pairs, reward_pairs
from eval.report.study import FEW_PROBLEMS, Study
from eval.report.truncation import truncation
from ratiocine.stats import PairedDifference, holm, over_seeds, sequential_p

NEAR_ZERO = 0.02
Verdict = Literal["gain", "cost", "no gain shown", "inconclusive", "too few problems"]
LEVEL = 0.05
MOST_SEEDS = 12
PROBABLE = 0.8  # power from which a round of seeds is said to decide
CAPTION = "Main contrasts: what is decided, after correction for their number"
POWER = (
    "Chance that a comparison is decided after correction, by seeds per arm: the same problems, "
    "and a true difference as large as the one seen"
)


def lead_pairs(study: Study) -> list[Pair]:
    """The main pairs, then those of rewards."""
    return [*main_pairs(study), *reward_pairs(study)]


def verdicts(study: Study, comparisons: Comparisons, hypotheses: Table) -> Table:
    """Every main contrast in every category and over all problems.

    A gain or cost has p < 0.05, Holm-adjusted over this table. "No gain shown" has p < 0.05 in a
    test of equivalence within 5 points, Holm-adjusted over the tests of equivalence of this table;
    a declared hypothesis that is shown decides by itself. With at most `FEW_PROBLEMS` problems
    nothing is decided. Where seeds come in rounds, p-values are those of all looks.
    """
    compared = [(pair, group) for pair in lead_pairs(study) for group in study.tested_groups]
    looks = Looks(study, comparisons)
    found = [looks.of(*one) for one in compared]
    p_holm = holm([_over_looks([d.p for d in one], one, study.rounds) for one in found])
    p_no_gain = holm([_no_gain(one, study.rounds) for one in found])
    rows = []
    for (pair, group), of_looks, p, p_none in zip(compared, found, p_holm, p_no_gain, strict=True):
        (base, arm), d = pair, of_looks[-1]
        of_pair = hypotheses.where(group=group, arm=arm.label, against=base.label)
        declared = next((row for row in of_pair if row["contrast"] in ("ratio", "rewards")), None)
        seen = (d.n, d.seeds, d.difference, d.low, d.high, d.conclusion, p, p_none)
        cut = truncation(counterparts(base, arm), study.groups[group])
        limited = cut.notable and cut.could_turn(d.difference)
        verdict, margin = _verdict(d, p, p_none, declared), None
        if verdict == "no gain shown":
            stated = declared is not None and declared["margin"] and declared["p_adjusted"] < LEVEL
            margin = declared["margin"] if declared is not None and stated else MARGIN
        decided = (verdict, margin, declared and declared["hypothesis"], limited)
        floor = _floor(pair, study.groups[group], study.evaluations)
        times = _times(pair, study.groups[group])
        rows.append((group, arm.label, base.label, arm.model, *seen, *decided, floor, *times))
    columns = (
        *("group", "arm", "against", "model", "n", "seeds", "difference", "low", "high"),
        *("alone", "p_holm", "p_no_gain", "verdict", "margin", "declared"),
        *("token_limit_may_decide", "floor", "tokens_times", "flops_times", "training_times"),
    )
    return rounded_table("verdicts", CAPTION, columns, rows)


def _floor(pair: Pair, keys: Sequence[str], evaluations: Sequence[Evaluation]) -> str | None:
    """Whether both arms guess, or know nothing: "both at chance" where the 95 % intervals of both
    accuracies hold that of a guess, "both near 0" where both are at most `NEAR_ZERO`."""
    accuracies = [over_seeds(arm.table(keys)) for arm in pair]
    if all(accuracy <= NEAR_ZERO for accuracy, _, _ in accuracies):
        return "both near 0"
    guess = fmean(chance_of(evaluations, key) or 0.0 for key in keys)
    if guess > NEAR_ZERO and all(low <= guess <= high for _, low, high in accuracies):
        return "both at chance"
    return None


def _over_looks(
    p_values: Sequence[float], looks: Sequence[PairedDifference], rounds: Rounds | None
) -> float:
    """P-value of a comparison that was looked at after each round of seeds."""
    if rounds is None:
        return p_values[-1]
    return sequential_p(p_values, [min(1.0, one.seeds / rounds.most) for one in looks])


def _no_gain(looks: Sequence[PairedDifference], rounds: Rounds | None) -> float:
    """P-value of a difference beyond the margin; 1 where it is certainly no less than 0.05."""
    d = looks[-1]
    # The interval of 90 % is at least 1 / 2.02 as wide (t with one degree of freedom).
    least = (d.high - d.low) / 2 / 2.1
    if abs(d.difference) + least >= MARGIN:
        return 1.0
    if rounds is None:
        return d.equivalence(MARGIN)
    two_sided = [min(1.0, 2 * one.equivalence(MARGIN)) for one in looks]
    return _over_looks(two_sided, looks, rounds) / 2


def _verdict(d: PairedDifference, p: float, p_none: float, declared: Row | None) -> Verdict:
    if d.n <= FEW_PROBLEMS:
        return "too few problems"
    if declared is not None and declared["p_adjusted"] < LEVEL:
        return "gain" if declared["hypothesis"] == "gain" else "no gain shown"
    if p < LEVEL:
        return "gain" if d.difference > 0 else "cost"
    return "no gain shown" if p_none < LEVEL else "inconclusive"


def _times(pair: Pair, keys: Sequence[str]) -> tuple[float | None, ...]:
    """Tokens and executed FLOPs of an answer, and FLOPs of training, of the arm over its base."""
    both = counterparts(*pair)
    tokens = [_mean(one[side].mean_tokens(keys) for one in both) for side in (0, 1)]
    flops = [side.inference_flops(keys) for side in pair]
    training = [side.train_flops for side in pair]
    return _over(tokens), _over(flops), _over(training)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _over(both: list[float | None] | list[float]) -> float | None:
    base, other = both
    return other / base if base and other else None


def more_seeds(study: Study, comparisons: Comparisons, decided: Table) -> Table:
    """The power of the inconclusive contrasts of `verdicts` by seeds, at 0.05 divided by the number
    of contrasts without a gain or cost, as Holm's adjustment demands of the first of them; none of
    contrasts with one seed, which does not show how much seeds differ."""
    open_rows = decided.where(verdict="inconclusive")
    remaining = sum(row["verdict"] not in ("gain", "cost") for row in decided)
    pairs = {(arm.label, base.label): (base, arm) for base, arm in lead_pairs(study)}
    rows = []
    for row in open_rows:
        d = comparisons.of(pairs[row["arm"], row["against"]], row["group"])
        for seeds in range(2, max(MOST_SEEDS, next_round(study, d.seeds)) + 1):
            power = d.power(seeds, LEVEL / remaining)
            if power is not None:
                names = (row["group"], row["arm"], row["against"], row["model"])
                rows.append((*names, d.n, d.seeds, d.difference, seeds, power))
    columns = ("group", "arm", "against", "model", "n", "seeds", "difference", "with_seeds")
    return rounded_table("more_seeds", POWER, (*columns, "power"), rows)


def next_round(study: Study, seeds: int) -> int:
    """Seeds per arm after another round: as many again, or the most that a plan allows."""
    planned = study.rounds.most if study.rounds else 0
    return planned if planned > seeds else 2 * seeds
