"""python -m eval.recommend DIR [DIR …]: which of the measured arms to take.

DIR is a finished evaluation, or a folder of such. Of the arms within `--max-flops` the most
accurate is the best. Arms whose difference from it is inconclusive (its 95 % interval over seeds
and problems includes 0) are as good as far as the data tell, and the cheapest of them is
recommended. An arm costs its training and, with `--num-queries`, that number of answers, in FLOPs.
Nothing is extrapolated to arms that were not measured.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path

from eval.options import Choice, Cost, Option, Other, SampleSize, choose, measured, sample_size
from eval.report import Arm, gather, load_all, p_value, problem_groups, shared_keys, write
from ratiocine import cli
from ratiocine.errors import BadInput
from ratiocine.records import JsonObject

RENAMED = {"--budget": "--max-flops", "--questions": "--num-queries"}
SCORES = ("accuracy", "low", "high", "train_flops", "answer_flops", "train_seconds")


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


def main() -> None:
    options = cli.parse_args(parser(), RENAMED)
    check(options)
    evaluations = load_all(options.folders)
    groups = {**problem_groups(evaluations, "category"), "all": shared_keys(evaluations)}
    if options.category not in groups:
        raise BadInput(
            f"--category {options.category} was not measured; measured: {', '.join(groups)}"
        )
    keys, arms = groups[options.category], gather(evaluations)
    num_queries = None if options.num_queries is None else int(options.num_queries)
    query = Query(options.category, len(keys), num_queries, options.max_flops, options.weight)
    exact = all(arm.train_flops_exact is not None for arm in arms)
    everything = [measured(arm, keys, exact=exact) for arm in arms]
    choice = choose(within(everything, query), num_queries, query.weight / 100)
    size = sample_size(choice, query.n)
    lines = [
        *recommendation(choice, query),
        *to_decide(choice, size),
        *notes(everything, query, exact=exact),
    ]
    if options.json:
        form = {"train_flops_form": "exact" if exact else "published", "text": lines}
        content = {**to_json(choice, size, everything, query), **form}
        write(options.json, json.dumps(content, indent=2) + "\n")
    print("\n".join(lines))


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="python -m eval.recommend", description=(__doc__ or "").splitlines()[0]
    )
    add = found.add_argument
    add(
        "folders",
        nargs="+",
        type=Path,
        metavar="DIR",
        help="a finished `python -m eval` folder, or a folder of such",
    )
    add("--category", default="all", help="such as math-oe (default: all problems)")
    add(
        "--max-flops",
        type=float,
        metavar="FLOPS",
        help="upper limit of the cost of training and of --num-queries answers",
    )
    add(
        "--num-queries",
        type=float,
        metavar="N",
        help="answers that the arm will give (default: training alone counts)",
    )
    add(
        "--weight",
        type=float,
        default=0.0,
        metavar="POINTS",
        help="points of accuracy that a tenth of the cost is worth; needs --num-queries "
        "(default: 0, accuracy alone)",
    )
    add("--json", type=Path, metavar="FILE", help="the same as data")
    return found


def check(options: argparse.Namespace) -> None:
    """Raise BadInput for values out of range."""
    max_flops, num_queries, weight = options.max_flops, options.num_queries, options.weight
    if max_flops is not None and not (isfinite(max_flops) and max_flops >= 0):
        raise BadInput(f"--max-flops {max_flops:g} is no number of FLOPs, such as 1e18")
    if num_queries is not None and not (num_queries >= 1 and num_queries % 1 == 0):
        raise BadInput(f"--num-queries {num_queries:g} is no whole number of at least 1")
    if not (isfinite(weight) and weight >= 0):
        raise BadInput(f"--weight {weight:g}: it should be 0 or more points")
    if weight and num_queries is None:
        raise BadInput("--weight needs --num-queries: the cost depends on the number of answers")


def within(everything: Sequence[Option], query: Query) -> list[Option]:
    """The options within `max_flops`. Raises BadInput where there is none."""
    limit = query.max_flops
    found = [
        option for option in everything if limit is None or option.total(query.num_queries) <= limit
    ]
    if not found:
        cheapest = min(everything, key=lambda option: option.total(query.num_queries))
        raise BadInput(
            f"--max-flops {limit:.3g} is below the cheapest arm measured, {cheapest.arm.label}: "
            f"{cheapest.total(query.num_queries):.3g} FLOPs"
        )
    return found


def recommendation(choice: Choice, query: Query) -> list[str]:
    """The recommended arm, what is known of it, and the arms that may be as good."""
    taken, shares = choice.recommended, _best_shares(choice)
    where = "all problems" if query.category == "all" else query.category
    often = f", and it is the best in {_percent(shares[taken.arm.label])} of bootstrap resamples"
    lines = [
        f"For {where} ({query.n:,} problems): take {described(taken.arm)}.",
        f"Its accuracy is {_accuracy(taken)}{often if choice.others else ''}.",
        f"It costs {_cost(taken, query)}.",
    ]
    if not choice.others:
        limit = " that is within --max-flops" if query.max_flops is not None else ""
        return [*lines, f"No other arm was measured{limit}."]
    return [*lines, *_worse(choice), *_inconclusive(choice, query)]


def _best_shares(choice: Choice) -> dict[str, float]:
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
    lines = []
    if len(others) == len(choice.others):
        lines.append(
            f"But the data are inconclusive: no arm is shown to be worse than {best.arm.label}, "
            "the best."
        )
    cheapest = "the recommended one is the cheapest of them"
    why = cheapest if choice.recommended is not best else "the best is also the cheapest of them"
    lines.append(f"Among these {len(others) + 1} arms the data are inconclusive; {why}:")
    described = {other.option.arm.label: _behind(other) for other in others}
    shares = _best_shares(choice)
    shown = (best, *(other.option for other in others))
    for option in sorted(shown, key=lambda option: -option.accuracy):
        label = option.arm.label
        often = f"best in {_percent(shares[label])} of resamples"
        relative = described.get(label, "the best")
        lines.append(
            f"  - {label}: {_accuracy(option)}, {relative}, {often}, {_cost(option, query)}"
        )
    return lines


def described(arm: Arm) -> str:
    """Model, scenario and ratio of an arm, with its label."""
    size = f" ({arm.size / 1e9:.3g} billion weights)" if arm.size else ""
    if not arm.trained:
        return f"{arm.model}{size}, untrained"
    ratio = "" if arm.ratio is None else f" at ratio {arm.ratio:g}"
    return f"{arm.model}{size}, {arm.axes.scenario}{ratio} (labelled {arm.label})"


def _accuracy(option: Option) -> str:
    low, high = 100 * option.low, 100 * option.high
    return f"{100 * option.accuracy:.1f} % (95 %: {low:.1f} to {high:.1f})"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _behind(other: Other) -> str:
    """Signed points from the best, so the best option's difference turned around."""
    d = other.best
    points, low, high = (0.0 - round(100 * value, 1) for value in (d.difference, d.high, d.low))
    return f"{points:+.1f} points (95 %: {low:+.1f} to {high:+.1f}; p, Holm: {p_value(d.p_holm)})"


def _cost(option: Option, query: Query) -> str:
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
    return f"{cost.flops:.3g} FLOPs and about {cost.seconds:,.0f} seconds more, as measured"


def notes(everything: Sequence[Option], query: Query, *, exact: bool) -> list[str]:
    """What these numbers do not cover."""
    found, trained = [], [option for option in everything if option.arm.trained]
    one_seed = [option.arm.label for option in trained if len(option.table) == 1]
    if one_seed and len(one_seed) == len(trained):
        found.append("Every arm has one seed: the intervals do not cover other seeds.")
    elif one_seed:
        found.append(f"With one seed, so that other seeds are not covered: {', '.join(one_seed)}.")
    form = "exact counts" if exact else "exact counts for answers, the published form for training"
    found.append(f"FLOPs are {form}; the teacher's answers are not counted.")
    if query.num_queries is None:
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


def to_json(
    choice: Choice, size: SampleSize | None, everything: Sequence[Option], query: Query
) -> JsonObject:
    """What `--json` writes; accuracies and differences are shares, costs FLOPs and seconds."""
    shares = _best_shares(choice)
    others = {other.option.arm.label: other for other in choice.others}
    rows = [
        {
            "label": (label := option.arm.label),
            **asdict(option.arm.axes),
            "size": option.arm.size,
            "seeds": option.arm.seeds,
            **{name: getattr(option, name) for name in (*SCORES, "answer_seconds")},
            "total_flops": option.total(query.num_queries),
            "best_share": shares.get(label),
            "best_against": _difference(others.get(label)),
        }
        for option in everything
    ]
    return {
        "schema_version": 2,
        **asdict(query),
        "recommended": choice.recommended.arm.label,
        "best": choice.best.arm.label,
        "inconclusive": [other.option.arm.label for other in choice.inconclusive],
        "arms": rows,
        "sample_size": _sample_size(size),
    }


def _difference(other: Other | None) -> JsonObject | None:
    if other is None:
        return None
    names = ("difference", "low", "high", "p_holm", "conclusion")
    return {name: getattr(other.best, name) for name in names}


def _sample_size(size: SampleSize | None) -> JsonObject | None:
    if size is None:
        return None
    costs = {
        name: None if cost is None else asdict(cost)
        for name, cost in (
            ("problems_cost", size.problems_cost),
            ("seeds_cost", size.seeds_cost),
        )
    }
    return {
        "other": size.other.arm.label,
        "problems": size.problems,
        "seeds": size.seeds,
        **costs,
    }


if __name__ == "__main__":
    cli.leave("recommend", main)
