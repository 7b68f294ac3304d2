"""Tables of paired differences, of declared hypotheses, and of the problems that would decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eval.report.csv_table import Table, rounded_table
from eval.report.hypotheses import Hypothesis, Outcome, adjusted
from eval.report.pairings import CONTRASTS, Comparisons, Pair, is_tested, main_pairs
from eval.report.study import Study
from ratiocine.stats import PairedDifference, holm_adjusted, problems_needed

Groups = Mapping[str, Sequence[str]]
DIFFERENCE_COLUMNS = (
    *("n", "seeds", "discordant", "seed_sd", "difference", "low", "high"),
    *("p", "p_holm", "conclusion", "low_alone", "high_alone", "p_alone", "pooled", "d0"),
)
MIN_DIFFERENCE = 0.005  # differences below are not worth the problems that would decide them
MORE_SEEDS = (5, 10)
FUTILE = 0.1  # conditional power below which no further seed is trained
DECLARED = "Hypotheses declared before training, and the differences seen"
DECISIVE = (
    "Problems for a power of 80 % at the difference seen: with these seeds, with 5 and with 10"
)


def differences(
    name: str, caption: str, pairs: Sequence[Pair], groups: Groups, comparisons: Comparisons
) -> Table:
    """Every pair in every group, Holm-adjusted over the table; groups of the same problems are one
    comparison."""
    compared = [(group, pair) for group in groups for pair in pairs]
    keys = [(frozenset(groups[group]), *(arm.label for arm in pair)) for group, pair in compared]
    distinct = dict(zip(keys, compared, strict=True))
    adjusted = holm_adjusted([comparisons.of(pair, group) for group, pair in distinct.values()])
    by_problems = dict(zip(distinct, adjusted, strict=True))
    found = [by_problems[key] for key in keys]
    rows = [
        (group, arm.label, base.label, arm.model, arm.ratio, *_cells(one))
        for (group, (base, arm)), one in zip(compared, found, strict=True)
    ]
    columns = ("group", "arm", "against", "model", "ratio", *DIFFERENCE_COLUMNS)
    return rounded_table(name, caption, columns, rows)


def _cells(d: PairedDifference) -> tuple[object, ...]:
    """The cells of `DIFFERENCE_COLUMNS`."""
    uncertainty = (d.spread.discordant, d.spread.seed_sd)
    interval = (d.difference, d.low, d.high)
    own = (*d.alone, d.pool.size if d.pool else None, d.pool.freedom if d.pool else None)
    return (d.n, d.seeds, *uncertainty, *interval, d.p, d.p_holm, d.conclusion, *own)


def needed(study: Study, comparisons: Comparisons) -> Table:
    """For the main pairs whose difference is inconclusive and at least 0.5 points: the problems at
    which a true difference of this size is found with a power of 80 %, with the present seeds, with
    5 and with 10.

    None where seeds vary too much for any number of problems; for 5 and 10 also where the pair has
    one seed, which does not show how much seeds vary.
    """
    rows = []
    for base, arm in main_pairs(study):
        for group in study.groups:
            d = comparisons.of((base, arm), group)
            if not d.conclusive and abs(d.difference) >= MIN_DIFFERENCE:
                problems = [_problems(d, seeds) for seeds in (d.seeds, *MORE_SEEDS)]
                cells = (d.n, d.seeds, d.difference, d.low, d.high, *problems)
                rows.append((group, arm.label, base.label, arm.model, *cells))
    columns = (
        *("group", "arm", "against", "model", "n", "seeds", "difference", "low", "high"),
        *("problems", *(f"problems_at_{seeds}_seeds" for seeds in MORE_SEEDS)),
    )
    return rounded_table("needed", DECISIVE, columns, rows)


def _problems(d: PairedDifference, seeds: int) -> int | None:
    if seeds > 1 and d.spread.seed_sd is None:
        return None  # one seed does not show how much seeds differ
    discordant = max(d.spread.discordant, abs(d.difference))
    common = {} if d.spread.common is None else {"common": d.spread.common}
    return problems_needed(
        d.difference,
        min(1.0, discordant),
        d.spread.seed_sd or 0.0,
        seeds,
        varying=d.varying,
        **common,
    )


def hypotheses(study: Study, comparisons: Comparisons) -> Table:
    """The hypotheses declared before training, on every pair of arms of their contrast."""
    rows = []
    for (base, arm), one in outcomes(study, comparisons):
        declared, d = one.hypothesis, one.found
        kind = (declared.hypothesis, declared.primary, declared.group, declared.contrast)
        margin = declared.margin if declared.hypothesis == "no_gain" else None
        seen = (d.n, d.seeds, d.difference, d.low, d.high)
        tests = (margin, one.p, one.p_adjusted, one.power, d.conclusion, one.verdict)
        rows.append((*kind, arm.label, base.label, arm.model, *seen, *tests))
    columns = (
        *("hypothesis", "primary", "group", "contrast", "arm", "against", "model"),
        *("n", "seeds", "difference", "low", "high"),
        *("margin", "p", "p_adjusted", "conditional_power", "conclusion", "verdict"),
    )
    return rounded_table("hypotheses", DECLARED, columns, rows)


def outcomes(study: Study, comparisons: Comparisons) -> list[tuple[Pair, Outcome]]:
    """The declared hypotheses that can be tested, with adjusted p-values."""
    found = [
        (pair, one)
        for one in study.hypotheses
        for pair in CONTRASTS[one.contrast](study)
        if is_tested(one, study, pair)
    ]
    looks = Looks(study, comparisons)
    tested = adjusted([_outcome(looks, pair, one) for pair, one in found])
    return [(pair, one) for (pair, _), one in zip(found, tested, strict=True)]


def undecided(study: Study) -> list[tuple[Pair, Outcome]]:
    """The primary hypotheses that a further round of seeds may decide: not shown so far, with a
    conditional power of at least `FUTILE`. In an order, none after one without this power, as they
    are tested only once it is shown."""
    found = []
    for pair, one in outcomes(study, Comparisons(study)):
        if not one.hypothesis.primary or one.p_adjusted < 0.05:
            continue
        if (one.power or 0.0) >= FUTILE:
            found.append((pair, one))
        elif one.hypothesis.weight is None:
            break
    return found


class Looks:
    """The comparisons that were looked at: the present one, or, where seeds come in rounds, those
    after each round."""

    def __init__(self, study: Study, comparisons: Comparisons) -> None:
        self.study, self.comparisons = study, comparisons
        self._earlier: dict[int, Comparisons] = {}

    def of(self, pair: Pair, group: str) -> list[PairedDifference]:
        now, rounds = self.comparisons.of(pair, group), self.study.rounds
        if rounds is None:
            return [now]
        return [*(self._after(n).of(pair, group) for n in rounds.looks(now.seeds)[:-1]), now]

    def _after(self, n: int) -> Comparisons:
        if n not in self._earlier:
            self._earlier[n] = Comparisons(self.study.with_seeds(n))
        return self._earlier[n]


def _outcome(looks: Looks, pair: Pair, hypothesis: Hypothesis) -> Outcome:
    found, rounds = looks.of(pair, hypothesis.group), looks.study.rounds
    if rounds is None:
        return Outcome.of(hypothesis, found[-1])
    return Outcome.of_rounds(hypothesis, found, rounds)
