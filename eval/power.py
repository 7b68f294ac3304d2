"""python -m eval.power --difference 0.05: how many problems and seeds a comparison needs, before anything is spent on it.

That depends on how far apart two arms of training are, on how many problems their students differ, and on how much students of
one arm differ by their seeds. Say so, or let a pilot say it: `--pilot DIR … --against DIR …`, finished evaluations as
`python -m eval.compare` takes them. The test is the one of that command, over seeds and problems.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

from eval.compare import paired
from eval.report import scored, varying
from ratiocine import cli
from ratiocine.errors import BadInput
from ratiocine.stats import needed, spread

SEEDS = (1, 2, 3, 5, 10)
LEAST = 1e-6  # a difference that anyone would look for
AGREEMENT, SEED_SD, COMMON = 0.3, 0.02, 0.5  # where nothing is known
TOO_MUCH = "no number of problems: seeds vary too much"


@dataclass(frozen=True)
class Setting:
    """What a comparison is expected to meet (`power.Spread`), in words where each of it is from, and how many of the two arms
    have seeds of their own."""

    discordant: float
    seed_sd: float
    common: float
    told: tuple[str, ...]
    varying: int = 2


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m eval.power", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--difference",
        type=float,
        required=True,
        help="the smallest difference worth finding; 0.05 is 5 points",
    )
    parser.add_argument(
        "--accuracy", type=float, help="of the arm that is compared against (default: 0.5)"
    )
    parser.add_argument(
        "--correlation",
        type=float,
        metavar="R",
        help=f"correlation of the two's answers (default: {AGREEMENT})",
    )
    parser.add_argument(
        "--seeds", type=int, default=3, help="seeds a arm that you think of (default: 3)"
    )
    parser.add_argument(
        "--seed-sd",
        type=float,
        help=f"how accuracies of one arm differ by seed (default: {SEED_SD})",
    )
    parser.add_argument(
        "--power", type=float, default=0.8, help="the chance of finding it (default: 0.8)"
    )
    parser.add_argument(
        "--comparisons", type=int, default=1, help="how many are made in one table (default: 1)"
    )
    parser.add_argument(
        "--pilot", nargs="+", type=Path, metavar="DIR", help="finished evaluations, one a seed"
    )
    parser.add_argument(
        "--against",
        nargs="+",
        type=Path,
        metavar="DIR",
        help="those that the pilot is compared with",
    )
    options = parser.parse_args()
    check(options)
    setting = piloted(options) if options.pilot else assumed(options)
    print(told(options, setting))


def check(options: argparse.Namespace) -> None:
    """Raises BadInput for what cannot be."""
    if not LEAST <= abs(options.difference) < 1:
        raise BadInput(
            f"--difference {options.difference:g}: it should be between -1 and 1 and not 0 (nor below {LEAST:g}), such as 0.05 "
            "for 5 points"
        )
    if options.accuracy is not None and not 0 < options.accuracy < 1:
        raise BadInput(f"--accuracy {options.accuracy:g} is not between 0 and 1")
    if options.agreement is not None and not -1 <= options.agreement <= 1:
        raise BadInput(
            f"--correlation {options.agreement:g} is no correlation; those are between -1 and 1"
        )
    if options.seed_sd is not None and not 0 <= options.seed_sd <= 0.5:
        raise BadInput(f"--seed-sd {options.seed_sd:g} is not between 0 and 0.5; 0.02 is 2 points")
    if not 0 < options.power < 1:
        raise BadInput(f"--power {options.power:g} is not between 0 and 1")
    for name, most in (("seeds", 1000), ("comparisons", 1_000_000)):
        if not 1 <= getattr(options, name) <= most:
            raise BadInput(f"--{name} {getattr(options, name)}: it should be from 1 to {most:,}")
    if bool(options.pilot) != bool(options.against):
        raise BadInput(
            "a pilot has two sides: give --pilot DIR … and --against DIR …, one evaluation a seed each"
        )
    if options.pilot and (options.accuracy is not None or options.agreement is not None):
        raise BadInput("--accuracy and --correlation are measured by the pilot; leave them out")


def assumed(options: argparse.Namespace) -> Setting:
    """From accuracy and agreement. Raises BadInput where two such sides cannot be."""
    first = 0.5 if options.accuracy is None else options.accuracy
    second = first + options.difference
    if not 0 <= second <= 1:
        raise BadInput(
            f"--accuracy {first:g} with --difference {options.difference:g} is an accuracy of {second:g}"
        )
    scale = sqrt(first * (1 - first) * second * (1 - second))
    least, most = (
        ((both - first * second) / scale if scale else 0.0)
        for both in (max(0.0, first + second - 1), min(first, second))
    )
    agreement = min(AGREEMENT, most) if options.agreement is None else options.agreement
    if not least - 1e-9 <= agreement <= most + 1e-9:
        raise BadInput(
            f"--correlation {agreement:g}: accuracies of {first:g} and {second:g} allow {least:.2f} to {most:.2f}"
        )
    discordant = max(
        first + second - 2 * (first * second + agreement * scale), abs(options.difference)
    )
    return Setting(
        discordant,
        SEED_SD if options.seed_sd is None else options.seed_sd,
        COMMON,
        (
            f"the accuracies are {first:.3g} and {second:.3g}{_default(options.accuracy)}",
            f"answers correlate by {agreement:.2g}{_default(options.agreement)}, so they differ on {discordant:.0%} of problems",
            _seed_sd(options.seed_sd),
            _half(),
        ),
    )


def piloted(options: argparse.Namespace) -> Setting:
    """From finished evaluations, on the problems that all of them answered."""
    pairs, _ = paired(options.against, options.pilot)
    keys = scored.shared_keys([evaluation for pair in pairs for evaluation in pair])
    first, second = ([scored.right(pair[side], keys) for pair in pairs] for side in (0, 1))
    own = varying(pairs)
    found = spread(first, second, own)
    discordant = min(1.0, max(found.discordant, abs(options.difference)))
    words = [f"the two differ on {discordant:.0%} of {len(keys)} problems (measured)"]
    measured = found.seed_sd if options.seed_sd is None else None
    if measured is None:
        words.append(_seed_sd(options.seed_sd))
    else:
        words.append(
            f"accuracies of one arm differ by {100 * measured:.1f} points from seed to seed "
            f"(measured from {len(pairs)} seeds, which is a rough guide)"
        )
    words.append(
        _half()
        if found.common is None
        else f"{found.common:.0%} of a problem's variance is the same at every seed (measured)"
    )
    sd = (
        measured
        if measured is not None
        else SEED_SD
        if options.seed_sd is None
        else options.seed_sd
    )
    return Setting(
        discordant, sd, COMMON if found.common is None else found.common, tuple(words), own
    )


def _default(given: object) -> str:
    return " (assumed: nothing was said)" if given is None else ""


def _seed_sd(given: float | None) -> str:
    sd = SEED_SD if given is None else given
    return f"accuracies of one arm differ by {100 * sd:.1f} points from seed to seed (standard deviation){_default(given)}"


def _half() -> str:
    return f"{COMMON:.0%} of a problem's variance is the same at every seed{_default(None)}"


def told(options: argparse.Namespace, setting: Setting) -> str:
    """The table, what it rests on and what it means."""
    level = 0.05 / options.comparisons
    points = f"{100 * options.difference:+g} points"
    many = f", one of {options.comparisons} comparisons" if options.comparisons > 1 else ""
    lines = [
        f"To find a true difference of {points} with a chance of {options.power:.0%} (p < 0.05{many}), if",
        *(f"  - {word}" for word in setting.told),
    ]
    lines += ["", f"{'seeds':>5}   problems needed"]
    found = {
        n: needed(
            options.difference,
            setting.discordant,
            setting.seed_sd,
            n,
            options.power,
            level,
            setting.common,
            setting.varying,
        )
        for n in sorted({*SEEDS, options.seeds})
    }
    for n, problems in found.items():
        mark = (
            "   (tells two students apart, not two arms: what other seeds would do is not covered)"
            if n == 1
            else ""
        )
        lines.append(f"{n:>5}   {TOO_MUCH if problems is None else f'{problems:,}'}{mark}")
    return "\n".join(
        [*lines, "", meaning(options.seeds, found[options.seeds], points, options.power)]
    )


def meaning(n_seeds: int, problems: int | None, points: str, power: float) -> str:
    seeds_said = "one seed" if n_seeds == 1 else f"{n_seeds} seeds a arm"
    if problems is None:
        return (
            f"In words: with {seeds_said} no test is long enough: a true difference of {points} too often stays undecided, "
            "since it could be the luck of the seeds. Train more of them, or look for a larger difference."
        )
    return (
        f"In words: if the true difference is {points}, a test of {problems:,} problems with {seeds_said} finds it in "
        f"{100 * power:g} of 100 such studies; the fewer problems, the more often it stays undecided although it is there."
    )


if __name__ == "__main__":
    cli.leave("power", main)
