"""python -m eval.compare DIR [DIR …] --against DIR [DIR …]: two arms of training, each with one evaluation a seed.

The first evaluation is compared with the first of the others, the second with the second, on the problems that all of them
answered gradably; a model that was not trained here, or the student that all began with, is the counterpart of all. The
interval is over seeds and problems, and wide where two or three seeds differ. Every benchmark, every category and all
together get a row; p-values are Holm-adjusted over the rows of benchmarks and over those of categories.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from eval.report import (
    Evaluation,
    Pairs,
    arm_label,
    began,
    load_evaluations,
    scored,
    warnings,
    write,
)
from ratiocine import cli
from ratiocine.errors import BadInput
from ratiocine.stats import compare_seeds, holm


@dataclass(frozen=True)
class Change:
    """Accuracy of both sides over `n` problems, their difference with its 95 % interval and p-values, and the difference that
    each seed alone shows."""

    group: str
    n: int
    base: float
    evaluation: float
    difference: float
    low: float
    high: float
    p: float
    p_adjusted: float
    by_seed: tuple[float, ...]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m eval.compare", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "folders",
        nargs="+",
        type=Path,
        metavar="DIR",
        help="a finished `python -m eval` folder, one a seed",
    )
    parser.add_argument(
        "--against",
        nargs="+",
        type=Path,
        metavar="DIR",
        required=True,
        help="the other side, as many or one for all",
    )
    parser.add_argument("--out", type=Path, help="a JSON file for the numbers")
    options = parser.parse_args()
    pairs, told = paired(options.against, options.folders)
    for warning in warnings([evaluation for pair in pairs for evaluation in pair]):
        print(f"compare: warning: {warning}", file=sys.stderr)
    found = changes(pairs)
    if options.out:
        rows = [asdict(change) for change in found]
        write(
            options.out,
            json.dumps({"schema_version": 1, "seeds": told, "changes": rows}, indent=2) + "\n",
        )
    print(table(found))


def paired(against: Sequence[Path], folders: Sequence[Path]) -> tuple[Pairs, list[int | None]]:
    """The evaluations in pairs, and the training seed of each. Raises BadInput where they are no two arms over seeds."""
    alone = len(against) == 1 < len(folders)
    if len(folders) != len(against) and not alone:
        raise BadInput(
            f"{len(folders)} evaluations against {len(against)}: each needs its counterpart"
        )
    evaluations = load_evaluations([*against, *folders])
    bases, others = evaluations[: len(against)], evaluations[len(against) :]
    if alone and bases[0].student and not all(began(bases[0], evaluation) for evaluation in others):
        raise BadInput(
            f"{against[0]} alone is against {len(folders)} evaluations, but was trained, and not all of them began with it: "
            "give one for each seed"
        )
    pairs = list(zip(bases * len(others) if alone else bases, others, strict=True))
    told = seeds(pairs)
    for side in (bases, others):
        check_alike(side)
    return pairs, told


def seeds(pairs: Pairs) -> list[int | None]:
    """The training seed of every pair. Raises BadInput where the two of a pair were trained at different ones, or two pairs at
    the same."""
    found = []
    for base, evaluation in pairs:
        first, second = (side.student.get("seed") for side in (base, evaluation))
        if began(base, evaluation):
            first = None  # what an evaluation began with is its counterpart at any seed
        if None not in (first, second) and first != second:
            raise BadInput(
                f"an evaluation of seed {second} has one of seed {first} as its counterpart; give both in one order"
            )
        found.append(first if second is None else second)
    if repeated := [seed for seed in found if seed is not None and found.count(seed) > 1]:
        raise BadInput(
            f"seed {repeated[0]} occurs twice: copies of a seed are no second source of variance"
        )
    return found


def check_alike(side: Sequence[Evaluation]) -> None:
    """Raises BadInput where the evaluations of one side are not of one arm of training, or one of them is there twice."""
    arms = sorted({arm_label(evaluation.manifest) for evaluation in side})
    if len(arms) > 1:
        raise BadInput(
            f"one side holds {' and '.join(arms)}; its evaluations should differ in their seeds alone"
        )
    if len({evaluation.student.get("arm") for evaluation in side}) > 1:
        raise BadInput(
            f"one side holds runs of rl that differ in more than their seeds, all of them {arms[0]}"
        )
    hashes = [evaluation.manifest["hash"] for evaluation in side]
    if len(set(hashes)) < len(hashes):
        raise BadInput("one evaluation is given twice: copies are no second source of variance")


def changes(pairs: Pairs) -> list[Change]:
    """A row for every benchmark, then every category, then all problems."""
    everyone = [evaluation for pair in pairs for evaluation in pair]
    levels: list[Mapping[str, Sequence[str]]] = [
        scored.groups(everyone, field) for field in ("benchmark", "category")
    ]
    found: list[Change] = []
    for level in (*levels, {"all": scored.shared_keys(everyone)}):
        rows = []
        for group, keys in level.items():
            first, second = (
                np.array([scored.right(pair[side], keys) for pair in pairs]) for side in (0, 1)
            )
            alone = tuple((second - first).mean(axis=1).tolist())
            told = compare_seeds(first.tolist(), second.tolist())
            rows.append((group, len(keys), float(first.mean()), float(second.mean()), *told, alone))
        adjusted = holm([row[-2] for row in rows])
        found += [Change(*row[:-1], p, row[-1]) for row, p in zip(rows, adjusted, strict=True)]
    return found


def table(found: Sequence[Change]) -> str:
    lines = [
        f"{'':20}{'n':>5}{'against':>10}{'these':>9}{'difference, points (95 %)':>32}{'p adj.':>9}   by seed"
    ]
    for c in found:
        difference = f"{100 * c.difference:+.1f} ({100 * c.low:+.1f} to {100 * c.high:+.1f})"
        alone = " ".join(f"{100 * value:+.1f}" for value in c.by_seed)
        p = "< 0.001" if c.p_adjusted < 0.001 else f"{c.p_adjusted:.3f}"
        lines.append(
            f"{c.group:20}{c.n:>5}{100 * c.base:>8.1f} %{100 * c.evaluation:>7.1f} %{difference:>32}{p:>9}   {alone}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    cli.leave("compare", main)
