"""Tables of cost: FLOPs and tokens, Pareto fronts, extra tokens, and accuracy by token budget."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from statistics import fmean
from typing import Literal

from eval.report.arms import Arm, EvaluationPairs, counterparts
from eval.report.csv_table import Table, rounded_table
from eval.report.evaluations import Evaluation
from eval.report.pairings import Comparisons, main_pairs
from eval.report.study import ARM_COLUMNS, Study, described
from ratiocine.stats import macro_average, over_seeds, pareto

FrontKind = Literal["training", "inference"]
LEVELS = 33  # token budgets of a curve
FITTED = (
    "Fits of alpha + beta (1 − exp(−gamma x^delta)) to the points of the front, x being FLOPs in "
    "units of to_flops; error: mean absolute; passes: through the interval of every point (only "
    "then it is drawn)"
)


def costs(study: Study) -> Table:
    """Tokens and FLOPs of training and of an answer; times are in the table of runs."""
    rows = []
    for arm in study.arms:
        students = [one.student for one in arm.evaluations]
        training = fmean(float(one.tokens or 0) if one else 0.0 for one in students)
        tokens = (arm.mean("n_completion", study.keys), arm.mean("n_think", study.keys))
        flops = (arm.inference_flops(study.keys), arm.inference_flops_published(study.keys))
        rows.append((*described(arm), training, arm.train_flops, *tokens, *flops))
    columns = (
        *(*ARM_COLUMNS, "training_tokens", "training_flops", "tokens", "thinking_tokens"),
        *("inference_flops", "inference_flops_published"),
    )
    return rounded_table("costs", "Cost of training and of an answer", columns, rows)


def pareto_front(study: Study, kind: FrontKind, comparisons: Comparisons) -> Table:
    """Accuracy over FLOPs, a row per arm and group: whether the arm is on the Pareto front, and in
    which share of bootstrap resamples. For training, also the comparison with the starting model,
    where it was evaluated."""
    rows: list[tuple[object, ...]] = []
    training = kind == "training"
    for group, keys in study.groups.items():
        flops = {
            arm.label: arm.train_flops if training else arm.inference_flops(keys)
            for arm in study.arms
        }
        arms = [arm for arm in study.arms if flops[arm.label]]
        prices = [flops[arm.label] or 0.0 for arm in arms]
        accuracies = [over_seeds(arm.table(keys)) for arm in arms]
        best = set(pareto.front(prices, [mean for mean, _, _ in accuracies]))
        support = pareto.support(prices, [arm.table(keys) for arm in arms]) if arms else []
        for at, arm in enumerate(arms):
            than_untrained = [_than_untrained(study, arm, group, comparisons)] if training else []
            point = (len(keys), prices[at], *accuracies[at], at in best, support[at])
            rows.append((group, *described(arm), *point, *than_untrained))
    columns = (
        *("group", *ARM_COLUMNS, "n", "flops", "accuracy", "low", "high", "on_front", "support"),
        *(("than_untrained",) if training else ()),
    )
    return rounded_table(f"pareto_{kind}", f"Accuracy against {kind} FLOPs", columns, rows)


def _than_untrained(study: Study, arm: Arm, group: str, comparisons: Comparisons) -> str | None:
    base = study.untrained(arm)
    return None if base is None else comparisons.of((base, arm), group).conclusion


def fits(front: Table, ceiling: float) -> Table:
    """The saturating curve through each front with at least five points."""
    rows = []
    for group in front.values("group"):
        points = front.where(group=group, on_front=True)
        flops = [row["flops"] for row in points]
        fit = pareto.fit_saturating(flops, [row["accuracy"] for row in points], ceiling)
        if fit is not None:
            scaled = fit.gamma * max(flops) ** fit.delta
            parameters = (fit.alpha, fit.beta, scaled, fit.delta, fit.error)
            passes = all(row["low"] <= fit(row["flops"]) <= row["high"] for row in points)
            rows.append((group, len(points), ceiling, min(flops), max(flops), *parameters, passes))
    columns = (
        *("group", "points", "ceiling", "from_flops", "to_flops"),
        *("alpha", "beta", "gamma", "delta", "error", "passes"),
    )
    return rounded_table(f"{front.name}_fits", FITTED, columns, rows)


def extra_tokens(study: Study, comparisons: Comparisons) -> Table:
    """Extra tokens per answer and accuracy gained by the main pairs, by benchmark; the interval of
    the tokens is over problems."""
    rows: list[tuple[object, ...]] = []
    for pair in main_pairs(study):
        both = counterparts(*pair)
        for benchmark, keys in study.benchmarks.items():
            base, arm = _mean_tokens(both, keys)
            if not base:
                continue
            extra = macro_average([[b - a for a, b in zip(base, arm, strict=True)]])
            d = comparisons.of(pair, benchmark)
            category = pair[0].evaluations[0].category(keys[0])
            names = (pair[1].model, benchmark, category, pair[1].label, pair[0].label)
            tokens = (fmean(base), fmean(arm), *extra)
            rows.append((*names, len(base), d.seeds, *tokens, d.difference, d.low, d.high))
    columns = (
        *("model", "benchmark", "category", "arm", "against", "n", "seeds", "tokens_against"),
        *("tokens", "extra", "extra_low", "extra_high", "gain", "gain_low", "gain_high"),
    )
    caption = "Extra tokens per answer and accuracy gained, by benchmark"
    return rounded_table("extra_tokens", caption, columns, rows)


def _mean_tokens(both: EvaluationPairs, keys: Sequence[str]) -> tuple[list[float], list[float]]:
    """Mean tokens of both sides by problem, of problems that every evaluation has answered."""
    means: tuple[list[float], list[float]] = ([], [])
    tables = [[_tokens_by_problem(pair[side], keys) for pair in both] for side in (0, 1)]
    for base, other in zip(*(zip(*table, strict=True) for table in tables), strict=True):
        if not any(map(isnan, (*base, *other))):
            means[0].append(fmean(base))
            means[1].append(fmean(other))
    return means


def _tokens_by_problem(evaluation: Evaluation, keys: Sequence[str]) -> list[float]:
    """Mean tokens of the answers to each problem; NaN without answers."""
    import numpy as np

    columns, at = evaluation.columns, evaluation.at(keys)
    with np.errstate(invalid="ignore"):
        means = columns.sums("answered n_completion")[at] / columns.sums("answered")[at]
    return [float(mean) for mean in means]


def budgets(study: Study) -> Table:
    """Share of problems answered right within a token budget, up to the smallest
    `max_new_tokens`."""
    import numpy as np

    most = min(evaluation.facts.max_new_tokens for evaluation in study.evaluations)
    lengths = [length for one in study.evaluations for length in _shortest(one, study.keys)]
    shortest = min(lengths, default=1)
    least = max(1, min(shortest, most))
    caps = sorted({round(float(cap)) for cap in np.geomspace(least, most, LEVELS)})
    rows = []
    for arm in study.arms:
        within = np.zeros(len(caps))
        for evaluation in arm.evaluations:
            of = evaluation.columns
            chosen = of.rows(evaluation.at(study.keys))
            # Right answers count as much as their share of the answers to a problem.
            weights = (of.right / of.sums("one")[of.by_problem])[chosen]
            enough = np.searchsorted(caps, of.n_completion[chosen])
            within += np.bincount(enough, weights, minlength=len(caps) + 1)[:-1].cumsum()
        shares = within / len(arm.evaluations) / len(study.keys)
        rows += [
            (*described(arm), cap, float(share)) for cap, share in zip(caps, shares, strict=True)
        ]
    columns = (*ARM_COLUMNS, "tokens", "accuracy")
    return rounded_table("budgets", "Answered right within a token budget", columns, rows)


def _shortest(evaluation: Evaluation, keys: Sequence[str]) -> list[int]:
    """Tokens of the shortest answer; none where no request was answered."""
    columns, rows = evaluation.columns, evaluation.columns.rows(evaluation.at(keys))
    tokens = columns.n_completion[rows][columns.answered[rows]]
    return [int(tokens.min())] if len(tokens) else []
