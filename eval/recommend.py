"""python -m eval.recommend [DIR …]: which of the measured arms to take.

DIR is a finished evaluation, or a folder of such. Of the arms within `--max-flops`, that with the
highest expected accuracy is recommended: the accuracy observed in the category, shrunk towards what
the arm shows in all categories. Arms whose difference from the most accurate is inconclusive (its
95 % interval over seeds and problems includes 0) are listed, the cheapest of them named. An arm
costs its training and, with `--num-queries`, that number of answers, in FLOPs. Nothing is
extrapolated to arms that were not measured. Where none was (no DIR, or none of the `--category` or
`--model-size`), the published rule of thumb of arXiv 2509.22193 is printed instead.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from pathlib import Path

from eval import rule_of_thumb
from eval.options import (
    Choice,
    Option,
    Other,
    SampleSize,
    choose,
    compared_costs,
    informed,
    measured,
    sample_size,
)
from eval.recommendation import Query, best_shares, notes, recommendation, to_decide, truncated
from eval.report import Arm, gather, load_all, problem_groups, shared_keys, warnings, write
from eval.useless_arms import all_useless, chance, refusal
from ratiocine import cli
from ratiocine.errors import BadInput
from ratiocine.records import CATEGORIES, JsonObject

RENAMED = {"--budget": "--max-flops", "--questions": "--num-queries"}
SIZE_TOLERANCE = 0.25
SCORES = (
    "accuracy",
    "expected",
    "low",
    "high",
    "train_flops",
    "answer_flops",
    "answer_tokens",
    "train_seconds",
)


def main() -> None:
    options = cli.parse_args(parser(), RENAMED)
    check(options)
    if not options.folders:
        _unmeasured(options, "No evaluation was given.")
        return
    evaluations = load_all(options.folders)
    categories = problem_groups(evaluations, "category")
    benchmarks = problem_groups(evaluations, "benchmark")
    groups = {**categories, "all": shared_keys(evaluations), **benchmarks}
    arms = gather(evaluations)
    if missing := _missing(options, groups, arms):
        _unmeasured(options, missing)
        return
    for warning in warnings(evaluations):
        print(f"recommend: warning: {warning}", file=sys.stderr)
    asked_in = categories if options.category in (*categories, "all") else benchmarks
    _recommend(options, arms, asked_in, groups[options.category])


def _recommend(
    options: argparse.Namespace,
    arms: Sequence[Arm],
    groups: Mapping[str, Sequence[str]],
    keys: Sequence[str],
) -> None:
    """Print and write the recommendation for these problems, one of the groups or all."""
    num_queries = None if options.num_queries is None else int(options.num_queries)
    query = Query(options.category, len(keys), num_queries, options.max_flops, options.weight)
    exact = all(arm.train_flops_exact is not None for arm in arms)
    options_of_all = compared_costs([measured(arm, keys, exact=exact) for arm in arms])
    if num_queries is not None and any(one.answer_flops is None for one in options_of_all):
        raise BadInput(
            f"--num-queries {num_queries}: the FLOPs of a served model's answers are unknown; "
            "without it accuracy and the cost of training decide"
        )
    everything = [
        option
        for option in informed(options_of_all, groups, options.category)
        if _of_size(option.arm, options.model_size)
    ]
    choice = choose(within(everything, query), num_queries, query.weight / 100)
    size = sample_size(choice, query.n)
    guessed = chance(choice.options, keys)
    useless = all_useless(choice.options, guessed)
    lines = (
        refusal(choice, query, keys, guessed)
        if useless
        else _lines(choice, size, query, keys) + notes(everything, query, exact=exact)
    )
    if options.json:
        content = to_json(choice, size, everything, query)
        if useless:
            content |= {"recommended": None, "best": None, "cheapest": None}
        content |= {"train_flops_form": "exact" if exact else "published", "text": lines}
        write(options.json, json.dumps(content, indent=2) + "\n")
    print("\n".join(lines))
    if useless:
        cli.print_next("eval.browse", *map(str, options.folders[:1]))


def _missing(
    options: argparse.Namespace, groups: Mapping[str, Sequence[str]], arms: Sequence[Arm]
) -> str | None:
    """What of the category and size was not measured. Raises BadInput for a category that the rule
    of thumb does not know either."""
    if options.category not in groups:
        found = f"{options.category} was not measured; measured: {', '.join(groups)}"
        if options.category not in CATEGORIES:
            raise BadInput(f"--category {found}")
        return f"{found}."
    if not any(_of_size(arm, options.model_size) for arm in arms):
        sizes = sorted({arm.size for arm in arms if arm.size})
        named = ", ".join(f"{size / 1e9:.3g}" for size in sizes) or "unknown"
        return (
            f"No model of about {options.model_size / 1e9:.3g} billion weights was measured; "
            f"measured: {named} billion."
        )
    return None


def _of_size(arm: Arm, size: float | None) -> bool:
    return size is None or (arm.size is not None and abs(arm.size - size) <= SIZE_TOLERANCE * size)


def _unmeasured(options: argparse.Namespace, why: str) -> None:
    """Print the rule of thumb, and why it is that. Raises BadInput for what it says nothing of."""
    category = None if options.category == "all" else options.category
    if category not in (None, *CATEGORIES):
        raise BadInput(
            f"--category {category}: the rule of thumb for what was not measured knows only "
            f"{', '.join(CATEGORIES)}"
        )
    for name in ("max_flops", "num_queries", "weight"):
        if getattr(options, name):
            raise BadInput(
                f"--{name.replace('_', '-')}: {why.removesuffix('.')}, and the rule of thumb knows "
                "no costs"
            )
    lines = [why, *rule_of_thumb.lines(category, options.model_size)]
    if options.json:
        content = rule_of_thumb.to_json(category, options.model_size, lines)
        write(options.json, json.dumps(content, indent=2) + "\n")
    print("\n".join(lines))


def _lines(choice: Choice, size: SampleSize | None, query: Query, keys: Sequence[str]) -> list[str]:
    verdict, *details = recommendation(choice, query)
    return [verdict, *truncated(choice, keys), *details, *to_decide(choice, size)]


def parser() -> argparse.ArgumentParser:
    found = cli.argument_parser("eval.recommend", __doc__)
    add = found.add_argument
    add(
        "folders",
        nargs="*",
        type=Path,
        metavar="DIR",
        help="a finished `python -m eval` folder, or a folder of such (without: a rule of thumb)",
    )
    add("--category", default="all", help="such as math-oe, or a benchmark (default: all problems)")
    add(
        "--model-size",
        type=cli.quantity,
        metavar="N",
        help=f"weights of the model, such as 7B, ± {100 * SIZE_TOLERANCE:g} %% (default: all)",
    )
    add(
        "--max-flops",
        type=cli.quantity,
        metavar="FLOPS",
        help="upper limit of the cost of training and of --num-queries answers",
    )
    add(
        "--num-queries",
        type=cli.quantity,
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
    size = options.model_size
    if size is not None and not (isfinite(size) and size > 0):
        raise BadInput(f"--model-size {size:g} is no number of weights, such as 7e9")
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


def to_json(
    choice: Choice, size: SampleSize | None, everything: Sequence[Option], query: Query
) -> JsonObject:
    """What `--json` writes; accuracies and differences are shares, costs FLOPs and seconds."""
    shares = best_shares(choice)
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
        "measured": True,
        **asdict(query),
        "recommended": choice.recommended.arm.label,
        "best": choice.best.arm.label,
        "cheapest": choice.cheapest.arm.label,
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
