"""The sentences of `python -m eval.recommend`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from eval.options import Choice, Cost, Option, Other, SampleSize
from eval.report import (
    RAISE,
    Arm,
    count,
    loops_of,
    mostly_loops,
    p_value,
    shares_if_right,
    truncation_sentence,
)


@dataclass(frozen=True)
class Query:
    """What is asked."""

    category: str
    n: int
    """Measured problems of the category."""
    num_queries: int | None
    """Answers that the arm will give."""
    max_flops: float | None
    weight: float
    """Points of accuracy that a tenth of the cost is worth."""


def recommendation(choice: Choice, query: Query) -> list[str]:
    """The recommended arm, what is known of it, and the arms that may be as good."""
    taken, shares = choice.recommended, best_shares(choice)
    often = f", and it is best, alone or tied, in {_percent(shares[taken.arm.label])} of resamples"
    lines = [
        *(
            [
                f"Not decided for {asked(query)}: {_undecided(choice)}",
                f"The best by expectation: {described(taken.arm)}.",
            ]
            if choice.inconclusive
            else [f"For {asked(query)}: take {described(taken.arm)}."]
        ),
        f"Its accuracy is {accuracy_words(taken)}{often if choice.others else ''}.",
        *_expected(choice),
        f"It costs {cost_words(taken, query)}.",
    ]
    if not choice.others:
        limit = " that is within --max-flops" if query.max_flops is not None else ""
        return [*lines, f"No other arm was measured{limit}."]
    return [*lines, *_worse(choice), *_inconclusive(choice, query)]


def asked(query: Query) -> str:
    """Such as: math-oe (40 problems)."""
    where = "all problems" if query.category == "all" else query.category
    return f"{where} ({count(query.n, 'problem')})"


def _expected(choice: Choice) -> list[str]:
    """What the other categories change, if anything that the output shows."""
    shown = list(dict.fromkeys((choice.recommended.arm.label, choice.best.arm.label)))
    options = {option.arm.label: option for option in choice.options}
    if all(abs(options[label].expected - options[label].accuracy) < 0.0005 for label in shown):
        return []
    parts = [f"{100 * options[label].expected:.1f} % of {label}" for label in shown]
    return [f"Given the arms' accuracies in all categories, {' and '.join(parts)} is expected."]


def _undecided(choice: Choice) -> str:
    """The arms that the data do not tell from the best."""
    best, n = choice.best.arm.label, len(choice.inconclusive)
    most = "among the most accurate" if _tied(choice) else "the most accurate"
    if n == len(choice.others):
        return f"no arm is shown to be worse than {best}, {most}."
    one = n == 1
    return f"{n} of {len(choice.others)} other arms {'is' if one else 'are'} not shown to be " + (
        f"worse than {best}, {most}."
    )


def _tied(choice: Choice) -> bool:
    return any(abs(other.best.difference) < 1e-9 for other in choice.inconclusive)


def truncated(choice: Choice, keys: Sequence[str]) -> list[str]:
    """The truncated answers of each arm, and whether they may be why the best arm is the best: an
    arm with all its truncated answers right would be more accurate than it."""
    sentence = truncation_sentence([one.arm for one in choice.options], keys)
    if sentence is None:
        return []
    loops = loops_of([one.arm for one in choice.options], keys)
    advice = "" if mostly_loops(loops) else f"; {RAISE}"
    found, best = [], choice.best
    for option in choice.options:
        tables = [shares_if_right(one, keys) for one in option.arm.evaluations]
        highest = fmean(fmean(row) for row in tables)
        if option is not best and highest > best.accuracy >= option.accuracy:
            found.append(f"{option.arm.label} ({_percent(option.accuracy)} → {_percent(highest)})")
    if not found:
        return [f"{sentence} Were all of them right, {best.arm.label} would still be the best."]
    return [
        f"{sentence} Were all its truncated answers right, more accurate than {best.arm.label} "
        f"would be: {', '.join(found)}. The recommendation may be due to the token limit{advice}."
    ]


def best_shares(choice: Choice) -> dict[str, float]:
    labels = [option.arm.label for option in choice.options]
    return dict(zip(labels, choice.best_shares, strict=True))


def _worse(choice: Choice) -> list[str]:
    """The conclusive comparisons, taken alone and after Holm's adjustment."""
    conclusive = [other for other in choice.others if other.worse]
    if not conclusive:
        return []
    significant = sum(other.best.p_holm < 0.05 for other in conclusive)
    n, many = len(conclusive), len(choice.others)
    be, have = "is" if n == 1 else "are", "have" if significant > 1 else "has"
    return [
        f"{n} of {many} other arm{'s' * (many > 1)} {be} worse (95 % intervals exclude 0); after "
        f"Holm's adjustment for their number, {significant or 'none'} {have} p < 0.05."
    ]


def _inconclusive(choice: Choice, query: Query) -> list[str]:
    """The arms that are not shown to be worse than the best, the best among them."""
    best, others = choice.best, choice.inconclusive
    if not others:
        return []
    lines = [
        f"Among these {len(others) + 1} arms the data are inconclusive; the cheapest of them is "
        f"{choice.cheapest.arm.label}:"
    ]
    described = {other.option.arm.label: _behind(other) for other in others}
    shares = best_shares(choice)
    shown = (best, *(other.option for other in others))
    for option in sorted(shown, key=lambda option: -option.accuracy):
        label = option.arm.label
        often = f"best or tied in {_percent(shares[label])} of resamples"
        relative = described.get(
            label, "among the most accurate" if _tied(choice) else "the most accurate"
        )
        lines.append(
            f"  - {label}: {accuracy_words(option)}, {relative}, {often}, "
            f"{cost_words(option, query)}"
        )
    return lines


def described(arm: Arm) -> str:
    """Model, scenario and ratio of an arm, with its label."""
    size = f" ({arm.size / 1e9:.3g} billion weights)" if arm.size else ""
    if not arm.trained:
        return f"{arm.model}{size}, untrained"
    ratio = "" if arm.ratio is None else f" at ratio {arm.ratio:g}"
    return f"{arm.model}{size}, {arm.axes.scenario}{ratio} (labelled {arm.label})"


def accuracy_words(option: Option) -> str:
    low, high = 100 * option.low, 100 * option.high
    return f"{100 * option.accuracy:.1f} % (95 %: {low:.1f} to {high:.1f})"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _behind(other: Other) -> str:
    """Signed points from the best, so the best option's difference turned around."""
    d = other.best
    points, low, high = (0.0 - round(100 * value, 1) for value in (d.difference, d.high, d.low))
    return f"{points:+.1f} points (95 %: {low:+.1f} to {high:+.1f}; p, Holm: {p_value(d.p_holm)})"


def cost_words(option: Option, query: Query) -> str:
    if option.answer_flops is None:
        training = f"{option.train_flops:.3g} FLOPs to train and " if option.arm.trained else ""
        return f"{training}{option.answer_tokens:.0f} tokens per answer"
    parts = f"{option.train_flops:.3g} FLOPs to train and {option.answer_flops:.3g} per answer"
    if query.num_queries is None:
        return parts
    return f"{option.total(query.num_queries):.3g} FLOPs in all ({parts})"


def to_decide(choice: Choice, size: SampleSize | None) -> list[str]:
    """The sample size that would be conclusive."""
    if size is None:
        return []
    both = f"{choice.best.arm.label} and {size.other.arm.label}"
    lines = [f"If {both} differ by the difference seen, 4 of 5 studies find it with"]
    if size.problems is None or size.problems_cost is None:
        lines.append("  - no number of problems, at the present seeds: seeds vary too much")
    elif size.problems_cost == Cost(0, 0):
        lines.append(
            f"  - {size.problems:,} problems, which were measured: the true difference may be "
            "smaller, or this was chance"
        )
    else:
        spent = _spent(size.problems_cost)
        lines.append(f"  - {size.problems:,} problems and the present seeds: {spent}")
    if size.seeds_cost is not None:
        spent = _spent(size.seeds_cost)
        lines.append(f"  - {size.seeds} seeds per arm and the present problems: {spent}")
    return lines


def _spent(cost: Cost) -> str:
    flops = "" if cost.flops is None else f"{cost.flops:.3g} FLOPs and "
    return f"{flops}about {cost.seconds:,.0f} seconds more, as measured"


def notes(everything: Sequence[Option], query: Query, *, exact: bool) -> list[str]:
    """What these numbers do not cover."""
    found, trained = [], [option for option in everything if option.arm.trained]
    one_seed = [option.arm.label for option in trained if len(option.table) == 1]
    if one_seed and len(one_seed) == len(trained):
        found.append("Every arm has one seed: the intervals do not cover other seeds.")
    elif one_seed:
        found.append(f"With one seed, so that other seeds are not covered: {', '.join(one_seed)}.")
    form = "exact counts" if exact else "exact counts for answers, the published form for training"
    if any(option.answer_flops is None for option in everything):
        found.append(
            "The FLOPs of a served model's answers are unknown; tokens of different models do not "
            "cost the same."
        )
    else:
        found.append(f"FLOPs are {form}; the teacher's answers are not counted.")
    if not trained:
        pass
    elif query.num_queries is None:
        found.append("Without --num-queries the cheapest arm is the cheapest to train.")
    elif query.num_queries > query.n:
        found.append(
            f"{query.num_queries:,} queries are more than the {query.n:,} measured problems, and "
            "are taken to cost as much each."
        )
    if query.weight:
        found.append(
            f"The best is that of accuracy less {query.weight:g} points for every tenfold of cost; "
            "differences are of the same."
        )
    dearest = max(option.total(query.num_queries) for option in everything)
    if query.max_flops is not None and query.max_flops > dearest:
        found.append(
            f"--max-flops is more than any measured arm costs ({dearest:.3g} FLOPs); what more "
            "would buy is unknown."
        )
    return found
