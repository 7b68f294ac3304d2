"""python -m bench.advice [DIR …]: the regret of `eval.recommend` on data it has not seen.

Regret is the accuracy of the truly best arm minus that of the chosen one, in points, averaged over
categories: of all arms, and of those within a random cost limit. Beside the advice stand simple
rules and the published rule of thumb, each choosing for the same goal. Without DIR, on simulated
studies whose true accuracies are known: each has another number of problems (25 to 200 per
category) and seeds (1 to 3), and another variance between seeds. With DIR, folders of finished
evaluations such as a study's, on random splits: half of the seeds and problems advise, the other
half is the truth (all seeds do both where there is one). The regret of a split is that of a noisy
truth: also the truly best arm has some. Peer is the rule with the least regret on average, `spread`
the standard deviations of both over studies or splits.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import fmean, stdev

from bench.advice.grids import GOALS, Grid, Regrets, of_split, of_world
from bench.advice.policies import OURS, RULES
from bench.advice.scenarios import NAMES
from bench.harness import print_result
from ratiocine import cli
from ratiocine.errors import BadInput
from ratiocine.progress import progress


def summary(found: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """By rule, mean and standard deviation over studies or splits."""
    columns = {rule: [one[rule] for one in found] for rule in found[0]}
    return {
        rule: [round(fmean(of), 2), round(stdev(of) if len(of) > 1 else 0.0, 2)]
        for rule, of in columns.items()
    }


def main() -> None:
    parser = cli.argument_parser("bench.advice", __doc__)
    add = parser.add_argument
    add("folders", nargs="*", type=Path, metavar="DIR", help="folders of finished evaluations")
    add("-n", type=int, default=20, help="studies per scenario, or splits per DIR (default: 20)")
    add("--seed", type=int, default=0)
    add("--num-queries", type=int, default=1_000_000, help="answers that an arm's cost includes")
    add("--jobs", type=int, default=2, help="processes (default: 2)")
    options = parser.parse_args()
    if min(options.n, options.num_queries, options.jobs) < 1:
        raise BadInput("-n, --num-queries and --jobs are whole numbers of at least 1")
    for folder in options.folders:
        Grid.of(folder)
    found = measured_regrets(options)
    for goal in GOALS:
        print_goal(goal, found)


def measured_regrets(options: argparse.Namespace) -> dict[str, list[Regrets]]:
    """By scenario or folder, those of every study or split."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes: their matrices are small
    words = options.seed, options.num_queries
    worlds: Sequence[str | Path] = options.folders or NAMES
    found: dict[str, list[Regrets]] = {str(one): [] for one in worlds}
    pool = ProcessPoolExecutor(options.jobs, mp_context=multiprocessing.get_context("spawn"))
    try:
        tasks = [
            (one, pool.submit(of_split, one, number, *words))
            if isinstance(one, Path)
            else (one, pool.submit(of_world, one, number, *words))
            for one in worlds
            for number in range(options.n)
        ]
        with progress(len(tasks), "advice", "studies") as bar:
            for one, task in tasks:
                found[str(one)].append(task.result())
                bar.update(1)
    finally:
        pool.shutdown(cancel_futures=True)
    return found


def print_goal(goal: str, found: Mapping[str, Sequence[Regrets]]) -> None:
    """A line per scenario or folder, then that of all, each with equal weight."""
    totals: list[Mapping[str, float]] = []
    for name, of in found.items():
        rows = [one[goal] for one in of]
        totals += rows
        print_result({"what": f"regret in points, {goal}: {name}", "n": len(rows), **summary(rows)})
    means = summary(totals)
    peer = min(RULES, key=lambda rule: means[rule][0])
    ours, theirs = means[OURS][0], means[peer][0]
    print_result(
        {
            "what": f"regret in points, {goal}: all; peer is {peer}",
            "ours": ours,
            "peer": theirs,
            "ratio": round(ours / theirs, 3) if theirs else None,
            "spread": [means[OURS][1], means[peer][1]],
            "n": len(totals),
            "rules": means,
        }
    )


if __name__ == "__main__":
    cli.leave("advice", main)
