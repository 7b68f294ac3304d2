"""python -m eval.overlap DIR --pairs DIR [--out FILE]: is a benchmark in the training set, and does its score need that?

Compares the problems of a finished evaluation with a finished set of pairs, and gives every accuracy with and without the
problems that the pairs hold.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from eval.benchmarks import load
from eval.config import Config
from eval.report import write
from ratiocine import cli
from ratiocine.data import by_how, overlaps, without_wording
from ratiocine.errors import BadInput
from ratiocine.evaluate import shares
from ratiocine.runs import check_finished
from ratiocine.stats import interval
from ratiocine.stores import read_completions, read_pairs


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m eval.overlap", description=(__doc__ or "").splitlines()[0]
    )
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
    found = compare(options.folder, options.pairs)
    print(
        f"{'':18}{'n':>6}{'flagged':>9}{'exact':>7}{'13-gram':>9}{'fuzzy':>7}{'all':>9}{'without flagged':>26}"
    )
    for name, row in found["benchmarks"].items():
        how, rest = row["flagged"], row["without"]
        without = (
            "–"
            if rest is None
            else f"{rest['accuracy']:.1%} ({rest['ci95'][0]:.1%} – {rest['ci95'][1]:.1%})"
        )
        counts = f"{sum(how.values()):>9}{how['exact']:>7}{how['ngram']:>9}{how['fuzzy']:>7}"
        print(f"{name:18}{row['all']['n']:>6}{counts}{row['all']['accuracy']:>9.1%}{without:>26}")
    if options.out is not None:
        write(options.out, json.dumps(found, indent=2, ensure_ascii=False) + "\n")


def compare(folder: Path, pairs: Path) -> dict[str, Any]:
    """Flagged problems, and each benchmark's accuracy with and without them."""
    for run, verb in ((folder, "eval"), (pairs, "distill")):
        if check_finished(run)["verb"] != verb:
            raise BadInput(f"{run} holds no `{verb}` run")
    config = cli.check(Config, yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")))
    problems = load(config).problems
    kept = read_pairs(pairs / "pairs.parquet")
    train = dict(
        zip(
            (pair.id for pair in kept), without_wording([pair.prompt for pair in kept]), strict=True
        )
    )
    scored = shares(
        row for row in read_completions(folder / "completions.jsonl") if row["key"] in problems
    )
    test = {key: f"{problems[key].context} {problems[key].question}".strip() for key in scored}
    matches = overlaps(train, test)
    benchmarks = {}
    for name in sorted({problems[key].source for key in scored}):
        own = [key for key in scored if problems[key].source == name]
        clean = [key for key in own if key not in matches]
        benchmarks[name] = {
            "flagged": by_how(matches[key] for key in own if key in matches),
            "all": _score([scored[key] for key in own]),
            "without": _score([scored[key] for key in clean]) if clean else None,
        }
    return {
        "schema_version": 1,
        "benchmarks": benchmarks,
        "matches": {key: asdict(match) for key, match in matches.items()},
    }


def _score(values: list[float]) -> dict[str, Any]:
    return {"n": len(values), "accuracy": fmean(values), "ci95": list(interval(values))}


if __name__ == "__main__":
    cli.leave("overlap", main)
