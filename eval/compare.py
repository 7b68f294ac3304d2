"""python -m eval.compare DIR [DIR …] --against DIR [DIR …]: two arms, an evaluation per seed each.

Evaluations are compared in order, the first with the first, over the problems with a gradable
answer in all of them. A starting model, or the student that all started from, may stand alone
after --against and is compared with all. The interval is over seeds and problems. There is a row
per benchmark, per category and for all problems; the variance between seeds is pooled over four or
more benchmarks (or categories) of one answer format, and p-values are Holm-adjusted over the
benchmarks, and over the categories with all problems.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.report import (
    Evaluation,
    EvaluationPairs,
    Truncation,
    answer_formats,
    arm_label,
    compared_sentence,
    count,
    gather,
    is_parent,
    load_evaluations,
    p_value,
    problem_groups,
    right_shares,
    shared_keys,
    truncation,
    warnings,
    write,
)
from ratiocine import cli
from ratiocine.errors import BadInput
from ratiocine.records import JsonObject
from ratiocine.stats import PairedDifference, holm_adjusted, pooled

HEAD = (
    f"{'':20}{'n':>5}{'against':>10}{'these':>9}{'truncated':>13}"
    f"{'difference, points (95 %)':>28}{'p adj.':>9}   by seed"
)


@dataclass(frozen=True)
class GroupDifference:
    """A paired difference over a group of problems, and the truncated answers in it."""

    paired: PairedDifference
    truncated: Truncation


def main() -> None:
    parser = cli.argument_parser("eval.compare", __doc__)
    parser.add_argument(
        "folders",
        nargs="+",
        type=Path,
        metavar="DIR",
        help="a finished `python -m eval` folder, one per seed",
    )
    parser.add_argument(
        "--against",
        nargs="+",
        type=Path,
        metavar="DIR",
        required=True,
        help="the base, one per seed or one for all",
    )
    parser.add_argument("--out", type=Path, help="a JSON file for the numbers")
    options = parser.parse_args()
    pairs, seeds = paired(options.against, options.folders)
    for warning in warnings([evaluation for pair in pairs for evaluation in pair]):
        print(f"compare: warning: {warning}", file=sys.stderr)
    found = differences(pairs)
    if options.out:
        rows = [to_json(group, one) for group, one in found.items()]
        content = {"schema_version": 2, "seeds": seeds, "differences": rows}
        write(options.out, json.dumps(content, indent=2) + "\n")
    for name, side in zip(("against", "these"), pairs[0], strict=True):
        print(f"{name}: {_described(side, pairs[0])}")
    print(table(found))
    print(adjustment(pairs))
    base, other = (arm_label(side.facts) for side in pairs[0])
    if base == other:
        base, other = "against", "these"
    total = found["all"]
    if sentence := compared_sentence(total.truncated, total.paired.difference, base, other):
        print(sentence)


def _described(side: Evaluation, both: Sequence[Evaluation]) -> str:
    """Model and arm of one side, with the settings in which the sides differ."""
    arm = next(arm for arm in gather(both) if side in arm.evaluations)
    return f"{arm.model}, {arm.label}" if arm.trained else arm.label


def to_json(group: str, found: GroupDifference) -> JsonObject:
    names = ("n", "base", "accuracy", "difference", "low", "high", "p", "p_holm", "by_seed")
    cut = found.truncated
    return {
        "group": group,
        **{name: getattr(found.paired, name) for name in names},
        "truncated": {"base": cut.base, "other": cut.other, "difference": [cut.low, cut.high]},
    }


def paired(
    against: Sequence[Path], folders: Sequence[Path]
) -> tuple[EvaluationPairs, list[int | None]]:
    """The evaluations in pairs (base, other), and the training seed of each pair.

    Raises BadInput where these are not two arms over seeds.
    """
    one_for_all = len(against) == 1 < len(folders)
    if len(folders) != len(against) and not one_for_all:
        raise BadInput(
            f"{count(len(folders), 'evaluation')} against {len(against)}: give one counterpart for "
            "each"
        )
    resolved = [folder.resolve() for folder in (*against, *folders)]
    if shared := [folder for folder in folders if folder.resolve() in resolved[: len(against)]]:
        raise BadInput(f"{shared[0]} is on both sides; --against names the other arm")
    evaluations = load_evaluations([*against, *folders])
    bases, others = evaluations[: len(against)], evaluations[len(against) :]
    if one_for_all and bases[0].student and not all(is_parent(bases[0], one) for one in others):
        raise BadInput(
            f"{against[0]} alone is against {len(folders)} evaluations, but was trained, and not "
            "all of them started from it: give one per seed"
        )
    for evaluation in evaluations:
        if not evaluation.columns.answered.any():
            raise BadInput(f"{evaluation.folder}: no request was answered")
    pairs = list(zip(bases * len(others) if one_for_all else bases, others, strict=True))
    seeds = training_seeds(pairs)
    for side in (bases, others):
        check_one_arm(side)
    return pairs, seeds


def training_seeds(pairs: EvaluationPairs) -> list[int | None]:
    """The training seed of every pair. Raises BadInput where the seeds within a pair differ, or a
    seed occurs in two pairs."""
    found = []
    for base, other in pairs:
        # A parent is the counterpart at any seed.
        first = None if is_parent(base, other) else base.seed
        second = other.seed
        if None not in (first, second) and first != second:
            raise BadInput(
                f"an evaluation of seed {second} has one of seed {first} as its counterpart; give "
                "both sides in the same order"
            )
        found.append(first if second is None else second)
    if repeated := [seed for seed in found if seed is not None and found.count(seed) > 1]:
        raise BadInput(f"seed {repeated[0]} occurs twice; a copy is no further seed")
    return found


def check_one_arm(side: Sequence[Evaluation]) -> None:
    """Raise BadInput where the evaluations are not of one arm, or one of them occurs twice."""
    labels = sorted({arm_label(evaluation.facts) for evaluation in side})
    if len(labels) > 1:
        raise BadInput(
            f"one side holds {' and '.join(labels)}; its evaluations should differ in the seed "
            "alone"
        )
    if len({evaluation.student.arm if evaluation.student else None for evaluation in side}) > 1:
        raise BadInput(
            f"one side holds {labels[0]} of several runs that differ in more than the seed"
        )
    hashes = [evaluation.manifest.hash for evaluation in side]
    if len(set(hashes)) < len(hashes):
        raise BadInput("one evaluation is given twice; a copy is no further seed")


def differences(pairs: EvaluationPairs) -> dict[str, GroupDifference]:
    """By benchmark, then category, then of all problems."""
    everyone = [evaluation for pair in pairs for evaluation in pair]
    found: dict[str, GroupDifference] = {}
    levels: tuple[Mapping[str, Sequence[str]], ...] = (
        problem_groups(everyone, "benchmark"),
        _categories_and_all(everyone),
    )
    for groups in levels:
        compared = []
        for keys in groups.values():
            base, other = ([right_shares(pair[side], keys) for pair in pairs] for side in (0, 1))
            compared.append(PairedDifference.of(base, other))
        cut = [truncation(pairs, keys) for keys in groups.values()]
        formats = [answer_formats(everyone[0], keys) for keys in groups.values()]
        both = map(GroupDifference, holm_adjusted(pooled(compared, formats)), cut)
        found |= zip(groups, both, strict=True)
    return found


def _categories_and_all(evaluations: Sequence[Evaluation]) -> dict[str, Sequence[str]]:
    """A single category is all problems, and one comparison."""
    categories = problem_groups(evaluations, "category")
    return {**(categories if len(categories) > 1 else {}), "all": shared_keys(evaluations)}


def table(found: Mapping[str, GroupDifference]) -> str:
    lines = [HEAD]
    for group, in_group in found.items():
        one, cut = in_group.paired, in_group.truncated
        difference, low, high = (f"{100 * v:+.1f}" for v in (one.difference, one.low, one.high))
        by_seed = " ".join(f"{100 * value:+.1f}" for value in one.by_seed)
        accuracies = f"{100 * one.base:>8.1f} %{100 * one.accuracy:>7.1f} %"
        truncated = f"{f'{100 * cut.base:.0f} / {100 * cut.other:.0f} %':>13}"
        cells = f"{f'{difference} ({low} to {high})':>28}{p_value(one.p_holm):>9}"
        lines.append(f"{group:20}{one.n:>5}{accuracies}{truncated}{cells}   {by_seed}")
    return "\n".join(lines)


def adjustment(pairs: EvaluationPairs) -> str:
    """What the adjusted p-values are adjusted over."""
    everyone = [evaluation for pair in pairs for evaluation in pair]
    n, more = (len(problem_groups(everyone, by)) for by in ("benchmark", "category"))
    both = count(n, "benchmark")
    if more > 1:
        both += f", and over {count(more, 'category')} and all problems"
    return f"p adj.: Holm's adjustment over {both}."


if __name__ == "__main__":
    cli.leave("compare", main)
