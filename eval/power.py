"""python -m eval.power --difference 0.05: problems and seeds that a comparison needs; or
--problems 300: the smallest difference that these find.

They depend on the difference between two arms, on the share of problems on which their students
differ, and on the standard deviation of accuracy between seeds. These are given, assumed, or
estimated from a pilot: `--pilot DIR … --against DIR …`, finished evaluations as
`python -m eval.compare` takes them. The test is that of `eval.compare`.
"""

from __future__ import annotations

import argparse
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import sqrt
from pathlib import Path

from eval.compare import paired
from eval.report import right_shares, shared_keys, varying
from ratiocine import cli
from ratiocine.errors import BadInput
from ratiocine.stats import Spread, problems_needed, spread

SEEDS = (1, 2, 3, 5, 10)
MIN_DIFFERENCE = 1e-6
MOST_PROBLEMS = 10_000_000
STEPS = 1000  # of accuracy, in which the smallest difference is told
CORRELATION, SEED_SD, COMMON = 0.3, 0.02, 0.5  # assumed by default
FEW_PROBLEMS = 100  # of a pilot, below which its measurements are called rough
TOO_MUCH = "no number: {seeds} seeds estimate their variance with {freedom}; pooled, fewer suffice"
TWO_STUDENTS = "   (compares two students, not two arms: other seeds are not covered)"
RENAMED = {"--agreement": "--correlation"}


@dataclass(frozen=True)
class Setting:
    """The sources of variance of a comparison (`stats.Spread`)."""

    discordant: float
    seed_sd: float
    common: float
    described: tuple[str, ...]
    """Each of them in words, with its source."""
    varying: int = 2
    """Number of arms with several seeds."""


Settings = Callable[[float], Setting]  # of the true difference


def main() -> None:
    options = cli.parse_args(parser(), RENAMED)
    check(options)
    settings = piloted(options) if options.pilot else partial(assumed, options)
    if options.problems is None:
        print(table(options, settings(options.difference)))
    else:
        print(smallest(options, settings))


def parser() -> argparse.ArgumentParser:
    found = cli.argument_parser("eval.power", __doc__)
    add = found.add_argument
    wanted = found.add_mutually_exclusive_group(required=True)
    wanted.add_argument(
        "--difference", type=float, help="the smallest difference of interest; 0.05 is 5 points"
    )
    wanted.add_argument("--problems", type=int, metavar="N", help="of the benchmark or category")
    add("--accuracy", type=float, help="of the base (default: 0.5)")
    add(
        "--correlation",
        type=float,
        metavar="R",
        help=f"across problems, of being right on the two sides (default: {CORRELATION})",
    )
    add("--seeds", type=int, default=3, help="seeds per arm (default: 3)")
    add(
        "--seed-sd",
        type=float,
        help=f"standard deviation of accuracy between seeds (default: {SEED_SD})",
    )
    add("--power", type=float, default=0.8, help="(default: 0.8)")
    add("--comparisons", type=int, default=1, help="in one table (default: 1)")
    add("--pilot", nargs="+", type=Path, metavar="DIR", help="finished evaluations, one per seed")
    add("--against", nargs="+", type=Path, metavar="DIR", help="the base of the pilot")
    return found


def check(options: argparse.Namespace) -> None:
    """Raise BadInput for values out of range."""
    if options.problems is not None and not 1 <= options.problems <= MOST_PROBLEMS:
        raise BadInput(f"--problems {options.problems}: it should be from 1 to {MOST_PROBLEMS:,}")
    if options.problems is None and not MIN_DIFFERENCE <= abs(options.difference) < 1:
        raise BadInput(
            f"--difference {options.difference:g}: it should be between -1 and 1 and not 0 "
            f"(nor below {MIN_DIFFERENCE:g}), such as 0.05 for 5 points"
        )
    if options.accuracy is not None and not 0 < options.accuracy < 1:
        raise BadInput(f"--accuracy {options.accuracy:g} is not between 0 and 1")
    if options.correlation is not None and not -1 <= options.correlation <= 1:
        raise BadInput(f"--correlation {options.correlation:g} is not between -1 and 1")
    if options.seed_sd is not None and not 0 <= options.seed_sd <= 0.5:
        raise BadInput(f"--seed-sd {options.seed_sd:g} is not between 0 and 0.5; 0.02 is 2 points")
    if not 0 < options.power < 1:
        raise BadInput(f"--power {options.power:g} is not between 0 and 1")
    for name, most in (("seeds", 1000), ("comparisons", 1_000_000)):
        if not 1 <= getattr(options, name) <= most:
            raise BadInput(f"--{name} {getattr(options, name)}: it should be from 1 to {most:,}")
    if bool(options.pilot) != bool(options.against):
        raise BadInput(
            "a pilot has two sides: give --pilot DIR … and --against DIR …, one evaluation per seed"
        )
    if options.pilot and (options.accuracy is not None or options.correlation is not None):
        raise BadInput("--accuracy and --correlation are measured by the pilot; leave them out")


def assumed(options: argparse.Namespace, difference: float) -> Setting:
    """From accuracy and correlation. Raises BadInput where they contradict each other."""
    first = 0.5 if options.accuracy is None else options.accuracy
    second = first + difference
    if not 0 <= second <= 1:
        raise BadInput(
            f"--accuracy {first:g} with --difference {difference:g} is an accuracy of {second:g}"
        )
    scale = sqrt(first * (1 - first) * second * (1 - second))
    least, most = (
        ((both - first * second) / scale if scale else 0.0)
        for both in (max(0.0, first + second - 1), min(first, second))
    )
    given = options.correlation
    correlation = min(CORRELATION, most) if given is None else given
    if not least - 1e-9 <= correlation <= most + 1e-9:
        raise BadInput(
            f"--correlation {correlation:g}: accuracies of {first:g} and {second:g} allow "
            f"{least:.2f} to {most:.2f}"
        )
    both = first * second + correlation * scale
    discordant = max(first + second - 2 * both, abs(difference))
    described = (
        f"the accuracies are {first:.3g} and {second:.3g}{_default(options.accuracy)}",
        f"answers correlate by {correlation:.2g}{_default(given)}, so they differ on "
        f"{discordant:.0%} of problems",
        _seed_sd(options.seed_sd),
        _common(),
    )
    seed_sd = SEED_SD if options.seed_sd is None else options.seed_sd
    return Setting(discordant, seed_sd, COMMON, described)


def piloted(options: argparse.Namespace) -> Settings:
    """From finished evaluations, over their shared problems."""
    pairs, _ = paired(options.against, options.pilot)
    keys = shared_keys([evaluation for pair in pairs for evaluation in pair])
    first, second = ([right_shares(pair[side], keys) for pair in pairs] for side in (0, 1))
    sides = varying(pairs)
    return partial(_measured, options, spread(first, second, sides), len(pairs), len(keys), sides)


def _measured(
    options: argparse.Namespace,
    found: Spread,
    n_pairs: int,
    n: int,
    sides: int,
    difference: float,
) -> Setting:
    discordant = min(1.0, max(found.discordant, abs(difference)))
    rough = ", a rough estimate" if n < FEW_PROBLEMS else ""
    measured = f"the two differ on {found.discordant:.0%} of {n} problems (measured{rough})"
    if found.discordant < discordant:
        measured += f", and on at least {discordant:.0%} where accuracies differ as much as asked"
    described = [measured]
    if options.seed_sd is not None or found.seed_sd is None:
        seed_sd = SEED_SD if options.seed_sd is None else options.seed_sd
        described.append(_seed_sd(options.seed_sd))
    else:
        seed_sd = found.seed_sd
        described.append(
            f"accuracies of one arm differ by {100 * seed_sd:.1f} points from seed to seed "
            f"(measured from {n_pairs} seeds, a rough estimate)"
        )
    if found.common is None:
        described.append(_common())
    else:
        described.append(
            f"{found.common:.0%} of a problem's variance is the same at every seed (measured)"
        )
    common = COMMON if found.common is None else found.common
    return Setting(discordant, seed_sd, common, tuple(described), sides)


def _default(given: object) -> str:
    return " (assumed by default)" if given is None else ""


def _seed_sd(given: float | None) -> str:
    seed_sd = SEED_SD if given is None else given
    return (
        f"accuracies of one arm differ by {100 * seed_sd:.1f} points from seed to seed "
        f"(standard deviation){_default(given)}"
    )


def _common() -> str:
    return f"{COMMON:.0%} of a problem's variance is the same at every seed{_default(None)}"


def _needed(
    options: argparse.Namespace, setting: Setting, difference: float, seeds: int
) -> int | None:
    """Problems that find the difference; None where no number does."""
    return problems_needed(
        difference,
        setting.discordant,
        setting.seed_sd,
        seeds,
        options.power,
        0.05 / options.comparisons,
        setting.common,
        setting.varying,
    )


def table(options: argparse.Namespace, setting: Setting) -> str:
    """Problems by number of seeds, after the assumptions and before the conclusion."""
    points = f"{100 * options.difference:+g} points"
    many = f", one of {options.comparisons} comparisons" if options.comparisons > 1 else ""
    lines = [
        f"To find a true difference of {points} with a power of {options.power:.0%} "
        f"(p < 0.05{many}), if",
        *(f"  - {words}" for words in setting.described),
        "",
        f"{'seeds':>5}   problems needed",
    ]
    found = {
        seeds: _needed(options, setting, options.difference, seeds)
        for seeds in sorted({*SEEDS, options.seeds})
    }
    for seeds, problems in found.items():
        freedom = f"{seeds - 1} degree{'s' * (seeds > 2)} of freedom"
        number = (
            TOO_MUCH.format(seeds=seeds, freedom=freedom) if problems is None else f"{problems:,}"
        )
        lines.append(f"{seeds:>5}   {number}{TWO_STUDENTS if seeds == 1 else ''}")
    return "\n".join([*lines, "", conclusion(options, points, found[options.seeds])])


def smallest(options: argparse.Namespace, settings: Settings) -> str:
    """The smallest difference that the problems find, by number of seeds."""
    most = STEPS - 1 if options.pilot else round(STEPS * (1 - (options.accuracy or 0.5)))

    def enough(step: int, seeds: int) -> bool:
        needed = _needed(options, settings(step / STEPS), step / STEPS, seeds)
        return needed is not None and needed <= options.problems

    found: dict[int, int | None] = {}
    for seeds in sorted({*SEEDS, options.seeds}):
        step = bisect_left(range(1, most + 1), True, key=partial(enough, seeds=seeds)) + 1
        found[seeds] = step if step <= most else None
    described = settings((found[options.seeds] or most) / STEPS).described
    if not options.pilot:  # the other accuracy depends on the difference
        first = 0.5 if options.accuracy is None else options.accuracy
        correlation = CORRELATION if options.correlation is None else options.correlation
        described = (
            f"the accuracy of the base is {first:.3g}{_default(options.accuracy)}",
            f"answers correlate by {correlation:.2g}, or as much as the accuracies allow"
            f"{_default(options.correlation)}",
            *described[2:],
        )
    many = f", one of {options.comparisons} comparisons" if options.comparisons > 1 else ""
    lines = [
        f"{options.problems:,} problems, a power of {options.power:.0%} (p < 0.05{many}), if",
        *(f"  - {words}" for words in described),
        "",
        f"{'seeds':>5}   smallest difference that is found, points",
    ]
    for seeds, least in found.items():
        points = "none" if least is None else f"{100 * least / STEPS:.1f}"
        lines.append(f"{seeds:>5}   {points}{TWO_STUDENTS if seeds == 1 else ''}")
    return "\n".join(lines)


def conclusion(options: argparse.Namespace, points: str, problems: int | None) -> str:
    seeds = "one seed" if options.seeds == 1 else f"{options.seeds} seeds per arm"
    if problems is None:
        return (
            f"In words: with {seeds} no number of problems is enough: the variance between seeds "
            f"too often hides a true difference of {points}. Use more seeds, or look for a larger "
            "difference."
        )
    return (
        f"In words: if the true difference is {points}, {problems:,} problems with {seeds} find it "
        f"in {100 * options.power:g} of 100 studies; with fewer problems it is inconclusive more "
        "often."
    )


if __name__ == "__main__":
    cli.leave("power", main)
