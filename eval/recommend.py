"""python -m eval.recommend DIR [DIR …]: which of the arms of training that you measured to take.

DIR is a finished evaluation, or a folder of them such as a study's. Of the arms within `--max-flops` the most accurate is the
best; those whose difference from it is not decided (its 95 % interval over seeds and problems holds 0) are as good as far as
these data tell, and the cheapest of them is recommended. A arm costs its training and, with `--num-queries`, so many
answers, in FLOPs. Nothing is said of what was not measured.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from eval.options import Against, Choice, Option, Surer, choose, measured, surer
from eval.report import Arm, gather, load_all, p, scored, write
from ratiocine import cli
from ratiocine.errors import BadInput


@dataclass(frozen=True)
class Asked:
    """What is asked: the kind of problem, of which `n` were measured, how many questions a arm will answer, the most FLOPs that
    it may cost, and the points of accuracy that a tenth of the cost is worth."""

    category: str
    n: int
    questions: int | None
    max_flops: float | None
    weight: float


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m eval.recommend", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "folders",
        nargs="+",
        type=Path,
        metavar="DIR",
        help="a finished `python -m eval` folder, or one of them",
    )
    parser.add_argument(
        "--category",
        default="all",
        help="the kind of problem, such as math-oe (default: all problems)",
    )
    parser.add_argument(
        "--max-flops",
        type=float,
        metavar="FLOPS",
        help="the most that training, and --num-queries, may cost",
    )
    parser.add_argument(
        "--num-queries",
        type=float,
        metavar="N",
        help="how many it will answer (default: training alone counts)",
    )
    parser.add_argument(
        "--weight",
        type=float,
        default=0.0,
        metavar="POINTS",
        help="points of accuracy that a tenth of the cost is worth; needs --num-queries (default: 0, accuracy alone)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="the same as data")
    options = parser.parse_args()
    check(options)
    evaluations = load_all(options.folders)
    grouped = {**scored.groups(evaluations, "category"), "all": scored.shared_keys(evaluations)}
    if options.category not in grouped:
        raise BadInput(
            f"--category {options.category} was not measured; these were: {', '.join(grouped)}"
        )
    keys, arms = grouped[options.category], gather(evaluations)
    questions = None if options.num_queries is None else int(options.num_queries)
    asked = Asked(options.category, len(keys), questions, options.max_flops, options.weight)
    exact = all(arm.train_flops_exact is not None for arm in arms)
    everything = [measured(arm, keys, exact=exact) for arm in arms]
    choice = choose(within(everything, asked), questions, asked.weight / 100)
    more = surer(choice, asked.n)
    said = [
        *recommendation(choice, asked),
        *to_be_surer(choice, more, asked),
        *notes(everything, asked, exact=exact),
    ]
    if options.json:
        told = {
            **data(choice, more, everything, asked),
            "train_flops_form": "exact" if exact else "published",
            "said": said,
        }
        write(options.json, json.dumps(told, indent=2) + "\n")
    print("\n".join(said))


def check(options: argparse.Namespace) -> None:
    """Raises BadInput for what cannot be."""
    if options.max_flops is not None and not (
        isfinite(options.max_flops) and options.max_flops >= 0
    ):
        raise BadInput(f"--max-flops {options.max_flops:g} is no number of FLOPs, such as 1e18")
    if options.num_queries is not None and not (
        options.num_queries >= 1 and options.num_queries % 1 == 0
    ):
        raise BadInput(f"--num-queries {options.num_queries:g} is no whole number from 1 on")
    if not (isfinite(options.weight) and options.weight >= 0):
        raise BadInput(f"--weight {options.weight:g}: it should be 0 or more points")
    if options.weight and options.num_queries is None:
        raise BadInput(
            "--weight needs --num-queries: what a arm costs depends on how many it will answer"
        )


def within(everything: Sequence[Option], asked: Asked) -> list[Option]:
    """The options that may be had. Raises BadInput where there is none."""
    budget, costs = (
        asked.max_flops,
        {option.total(asked.questions): option for option in everything},
    )
    found = [
        option for option in everything if budget is None or option.total(asked.questions) <= budget
    ]
    if not found:
        least = min(costs)
        raise BadInput(
            f"--max-flops {budget:.3g} is below the cheapest arm measured, {costs[least].arm.label}: {least:.3g} FLOPs"
        )
    return found


def recommendation(choice: Choice, asked: Asked) -> list[str]:
    """What to take, what is known of it, and what cannot be told from it."""
    taken, best, alike = choice.recommended, choice.best, choice.alike
    often = {
        option.arm.label: share for option, share in zip(choice.options, choice.often, strict=True)
    }
    where = "all problems" if asked.category == "all" else asked.category
    first = _share(often[taken.arm.label])
    lines = [
        f"For {where} ({asked.n:,} problems): take {named(taken.arm)}.",
        f"Its accuracy is {_accuracy(taken)}"
        + (
            f", and the best in {first} of resamples of seeds and problems."
            if choice.others
            else "."
        ),
        f"It costs {_cost(taken, asked)}.",
    ]
    if not choice.others:
        return [
            *lines,
            "No other arm was measured"
            + (" that is within the budget." if asked.max_flops is not None else "."),
        ]
    lines += _worse(choice)
    if not alike:
        return lines
    if len(alike) == len(choice.others):
        lines.append(
            f"But the data do not decide: no arm can be told from {best.arm.label}, which did best."
        )
    why = (
        "it is the cheapest of them"
        if taken is not best
        else "it did best and none of the others is cheaper"
    )
    lines.append(f"These {len(alike) + 1} arms cannot be told apart; {why}:")
    told = {other.option.arm.label: _behind(other) for other in alike} | {
        best.arm.label: "did best"
    }
    for option in sorted(
        (best, *(other.option for other in alike)), key=lambda option: -option.accuracy
    ):
        label = option.arm.label
        often_best = f"best in {_share(often[label])} of resamples"
        lines.append(
            f"  - {label}: {_accuracy(option)}, {told[label]}, {often_best}, {_cost(option, asked)}"
        )
    return lines


def _worse(choice: Choice) -> list[str]:
    """What is left of the decided comparisons when they are adjusted for being many, as a report says it."""
    decided = [other for other in choice.others if other.decided]
    if not decided:
        return []
    kept = sum(other.p_adjusted < 0.05 for other in decided)
    many = len(choice.others)
    alone = f"{len(decided)} of {many} other arm{'s' * (many > 1)} {'is' if len(decided) == 1 else 'are'} worse"
    adjusted = f"adjusted for their number (Holm), {kept or 'none'} {'have' if kept > 1 else 'has'} p < 0.05"
    return [f"{alone} (95 % intervals leave out 0); {adjusted}."]


def named(arm: Arm) -> str:
    """Model, scenario and ratio of a arm, and what it is called here."""
    size = f" ({arm.size / 1e9:.3g} billion weights)" if arm.size else ""
    if not arm.trained:
        return f"{arm.model}{size} as it is, untrained"
    ratio = "" if arm.ratio is None else f" at ratio {arm.ratio:g}"
    return f"{arm.model}{size}, {arm.axes['scenario']}{ratio} (called {arm.label} here)"


def _accuracy(option: Option) -> str:
    return (
        f"{100 * option.accuracy:.1f} % (95 %: {100 * option.low:.1f} to {100 * option.high:.1f})"
    )


def _share(share: float) -> str:
    return f"{100 * share:.0f} %"


def _behind(other: Against) -> str:
    points, low, high = (
        0.0 - round(100 * value, 1) for value in (other.difference, other.high, other.low)
    )
    return f"{points:+.1f} points (95 %: {low:+.1f} to {high:+.1f}; p, Holm: {p(other.p_adjusted)})"


def _cost(option: Option, asked: Asked) -> str:
    apart = f"{option.train_flops:.3g} FLOPs to train and {option.answer_flops:.3g} an answer"
    return (
        apart
        if asked.questions is None
        else f"{option.total(asked.questions):.3g} FLOPs in all ({apart})"
    )


def to_be_surer(choice: Choice, more: Surer | None, asked: Asked) -> list[str]:
    """What it would take to decide."""
    if more is None:
        return []
    both = f"{choice.best.arm.label} and {more.other.arm.label}"
    lines = [f"If {both} differ as much as they seem to, 4 of 5 studies find it, with"]
    if more.problems_cost is None:
        lines.append(
            "  - no number of problems, with the seeds that there are: seeds vary too much"
        )
    elif more.problems_cost == (0, 0):
        lines.append(
            f"  - {more.problems:,} problems, which are there: it may be less than it seems, or bad luck"
        )
    else:
        lines.append(
            f"  - {more.problems:,} problems and the seeds that there are: {_spent(more.problems_cost)}"
        )
    if more.seeds_cost is not None:
        lines.append(
            f"  - {more.seeds} seeds a arm and the problems that there are: {_spent(more.seeds_cost)}"
        )
    return lines


def _spent(cost: tuple[float, float]) -> str:
    return f"{cost[0]:.3g} FLOPs and some {cost[1]:,.0f} seconds more, at what was measured"


def notes(everything: Sequence[Option], asked: Asked, *, exact: bool) -> list[str]:
    """What these figures do not cover."""
    found, trained = [], [option for option in everything if option.arm.trained]
    alone = [option.arm.label for option in trained if len(option.table) == 1]
    if alone and len(alone) == len(trained):
        found.append(
            "Every arm was trained with one seed: what other seeds would do is not covered by these intervals."
        )
    elif alone:
        found.append(
            f"TrainingConfig with one seed, so that what others would do is not covered: {', '.join(alone)}."
        )
    form = "exact counts" if exact else "exact counts for answers, the published form for training"
    found.append(f"FLOPs are {form}; what a teacher's answers cost is not in them.")
    if asked.questions is None:
        found.append("Without --num-queries the cheapest is the cheapest to train.")
    elif asked.questions > asked.n:
        found.append(
            f"{asked.questions:,} questions are more than the {asked.n:,} measured, and are taken to cost as much each."
        )
    if asked.weight:
        found.append(
            f"Best means accuracy less {asked.weight:g} points for every tenfold of cost; so do the differences."
        )
    dearest = max(option.total(asked.questions) for option in everything)
    if asked.max_flops is not None and asked.max_flops > dearest:
        found.append(
            f"The budget is more than any arm measured costs ({dearest:.3g} FLOPs); what it would buy beyond is not known."
        )
    return found


def data(
    choice: Choice, more: Surer | None, everything: Sequence[Option], asked: Asked
) -> dict[str, Any]:
    """What `--json` writes; accuracies and differences are shares of 1, costs FLOPs and seconds."""
    often = {
        option.arm.label: share for option, share in zip(choice.options, choice.often, strict=True)
    }
    behind = {other.option.arm.label: _fields(other) for other in choice.others}
    rows = [
        {
            "label": (label := option.arm.label),
            **option.arm.axes,
            "size": option.arm.size,
            "seeds": option.arm.seeds,
            **{key: value for key, value in vars(option).items() if isinstance(value, float)},
            "total_flops": option.total(asked.questions),
            "best_share": often.get(label),
            "best_against": behind.get(label),
        }
        for option in everything
    ]
    return {
        "schema_version": 1,
        **asdict(asked),
        "recommended": choice.recommended.arm.label,
        "best": choice.best.arm.label,
        "undecided": [other.option.arm.label for other in choice.alike],
        "arms": rows,
        "surer": None if more is None else {**vars(more), "other": more.other.arm.label},
    }


def _fields(other: Against) -> Mapping[str, Any]:
    return {
        **{key: value for key, value in vars(other).items() if key != "option"},
        "decided": other.decided,
    }


if __name__ == "__main__":
    cli.leave("advise", main)
