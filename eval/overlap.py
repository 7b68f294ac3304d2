"""python -m eval.overlap DIR --pairs DIR [--out FILE]: benchmark problems among training pairs.

Compares the problems of a finished evaluation with a finished set of pairs, and prints each
accuracy with and without the problems found among the pairs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean

from eval.benchmarks import load
from eval.config import Config
from eval.report import write
from ratiocine import cli
from ratiocine.data import Match, by_how, overlaps, without_wording
from ratiocine.prompts import user_text
from ratiocine.runs import check_finished, read_config
from ratiocine.scores import shares
from ratiocine.stats import interval
from ratiocine.stores import read_completions, read_pairs


def main() -> None:
    parser = cli.argument_parser("eval.overlap", __doc__)
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="a finished `python -m eval` folder"
    )
    parser.add_argument(
        "--pairs",
        type=Path,
        required=True,
        metavar="DIR",
        help="a finished `python -m distill` folder",
    )
    parser.add_argument(
        "--out", type=Path, help="a JSON file for the flagged problems and the scores"
    )
    options = parser.parse_args()
    flagged, matches = compare(options.folder, options.pairs)
    head = f"{'':18}{'n':>6}{'flagged':>9}{'exact':>7}{'13-gram':>9}{'fuzzy':>7}{'all':>9}"
    print(f"{head}{'without flagged':>26}")
    for name, row in flagged.items():
        how, rest = row.flagged, row.without
        counts = f"{sum(how.values()):>9}{how['exact']:>7}{how['ngram']:>9}{how['fuzzy']:>7}"
        without = "–"
        if rest is not None:
            without = f"{rest.accuracy:.1%} ({rest.ci95[0]:.1%} – {rest.ci95[1]:.1%})"
        print(f"{name:18}{row.all.n:>6}{counts}{row.all.accuracy:>9.1%}{without:>26}")
    if options.out is not None:
        found = {
            "schema_version": 1,
            "benchmarks": {name: asdict(row) for name, row in flagged.items()},
            "matches": {key: asdict(match) for key, match in matches.items()},
        }
        write(options.out, json.dumps(found, indent=2, ensure_ascii=False) + "\n")


@dataclass(frozen=True)
class Score:
    """Accuracy over n problems with its 95 % interval."""

    n: int
    accuracy: float
    ci95: tuple[float, float]


@dataclass(frozen=True)
class Contamination:
    """What a set of pairs has of a benchmark."""

    flagged: Mapping[str, int]
    """Number of flagged problems, by how they match."""
    all: Score
    without: Score | None
    """Without the flagged problems; None where all are flagged."""


def compare(folder: Path, pairs: Path) -> tuple[dict[str, Contamination], dict[str, Match]]:
    """The contamination of each benchmark, and the matching pair of each flagged problem.

    Raises BadInput where `folder` is no finished evaluation or `pairs` no finished set of pairs.
    """
    check_finished(folder, "eval")
    check_finished(pairs, "distill")
    problems = load(cli.check(Config, read_config(folder))).problems
    taught = read_pairs(pairs / "pairs.parquet")
    prompts = without_wording([pair.prompt for pair in taught])
    train = dict(zip((pair.id for pair in taught), prompts, strict=True))
    scored = shares(row for row in read_completions(folder) if row.key in problems)
    # With the options, as the pairs' prompts have them; without the task's wording.
    test = {key: user_text(replace(problems[key], instruction="")) for key in scored}
    matches = overlaps(train, test)
    found = {}
    for name in sorted({problems[key].source for key in scored}):
        keys = [key for key in scored if problems[key].source == name]
        clean = [scored[key] for key in keys if key not in matches]
        found[name] = Contamination(
            dict(by_how(matches[key] for key in keys if key in matches).items()),
            _score([scored[key] for key in keys]),
            _score(clean) if clean else None,
        )
    return found, matches


def _score(values: Sequence[float]) -> Score:
    low, high = interval(values)
    return Score(len(values), fmean(values), (low, high))


if __name__ == "__main__":
    cli.leave("overlap", main)
