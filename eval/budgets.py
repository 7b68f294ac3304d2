"""python -m eval.budgets DIR [DIR …] --out budgets.html: accuracy against token budget, from one set of generations each.

A model that may write fewer tokens writes the same ones and is cut earlier, so every smaller budget is scored exactly from the
saved completions: `--tokens` caps the whole completion, `--max-thinking-tokens` its think block only, `--percentiles` caps at
percentiles of the completions' own lengths (arXiv 2509.22193, appendix H). What is cut has no answer but what it had boxed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from eval.benchmarks import load
from eval.config import Config
from eval.report import Evaluation, Row, check_name, load_evaluations, write
from ratiocine import cli, cost, models
from ratiocine.errors import BadInput
from ratiocine.evaluate import shares, verdict_of
from ratiocine.progress import progress
from ratiocine.records import Problem
from ratiocine.stats import interval

TEMPLATE = Path(__file__).parent / "report" / "templates" / "budgets.html.j2"
PERCENTILES = (0, 25, 50, 75, 100)
Point = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m eval.budgets", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="DIR", help="a finished `python -m eval` folder"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--tokens", nargs="+", type=int, metavar="N", help="caps on the whole completion"
    )
    which.add_argument(
        "--max-thinking-tokens", nargs="+", type=int, metavar="N", help="caps on the think block"
    )
    which.add_argument(
        "--percentiles",
        nargs="+",
        type=float,
        metavar="P",
        help=f"of completion length; default {PERCENTILES}",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("budgets.html"),
        help="the page; its numbers go beside it as .json",
    )
    options = parser.parse_args()
    check_name(options.out)
    evaluations = load_evaluations(options.folders)
    curves = {evaluation.label: curve(evaluation, options) for evaluation in evaluations}
    write(
        options.out.with_suffix(".json"),
        json.dumps({"schema_version": 1, "curves": curves}, indent=2) + "\n",
    )
    write(options.out, page(curves, thinking=bool(options.max_thinking_tokens)))
    for label, points in curves.items():
        print(f"{label}\n{'cap':>10}{'tokens':>9}{'cut':>8}{'accuracy':>10}{'95 %':>18}")
        for p in points:
            print(
                f"{p['cap']:>10}{p['tokens']:>9.1f}{p['cut']:>8.0%}{p['accuracy']:>10.1%}{p['low']:>10.1%} – {p['high']:.1%}"
            )


def curve(evaluation: Evaluation, options: argparse.Namespace) -> list[Point]:
    """The evaluation's accuracy and cost at each cap."""
    config = cli.check(Config, dict(evaluation.config))
    problems = load(config).problems
    rows = [row for answers in evaluation.answers.values() for row in answers]
    if options.max_thinking_tokens:
        return [
            _point(evaluation, cap, [_thinking_cut(row, cap) for row in rows])
            for cap in _caps(options.max_thinking_tokens)
        ]
    if any(row["token_ids"] is None for row in rows):
        raise BadInput(
            f"{evaluation.label}: its engine gave no token ids, so completions cannot be cut; --max-thinking-tokens can be"
        )
    lengths = sorted(row["n_completion"] for row in rows)
    percentiles = options.percentiles or PERCENTILES
    if any(not 0 <= p <= 100 for p in percentiles):
        raise BadInput(f"--percentiles {max(percentiles, key=abs):g} is not between 0 and 100")
    caps = options.tokens or [lengths[round(p / 100 * (len(lengths) - 1))] for p in percentiles]
    decode = models.load_tokenizer(config.model).decode
    with progress(len(set(caps)) * len(rows), "budgets", "answers") as bar:
        points = []
        for cap in _caps(caps):
            cut = []
            for row in rows:
                cut.append(_cut(row, cap, problems[row["key"]], decode))
                bar.update()
            points.append(_point(evaluation, cap, cut))
    return points


def _caps(values: Sequence[int]) -> list[int]:
    if low := [value for value in values if value < 1]:
        raise BadInput(f"a cap of {low[0]} tokens is none; caps are 1 or more")
    return sorted(set(values))


def _cut(row: Row, cap: int, problem: Problem, decode: Callable[[list[int]], str]) -> Row:
    """The row as it would be had the completion been cut after `cap` tokens."""
    if row["n_completion"] <= cap:
        return row
    text = decode(row["token_ids"][:cap])
    return {
        **row,
        **verdict_of(problem, text, False, opened=row["opened"]),
        "n_completion": cap,
        "stop": "length",
    }


def _thinking_cut(row: Row, cap: int) -> Row:
    """The same for a cap on the think block: past it there is no answer."""
    if row["n_think"] <= cap:
        return row
    wrong = {"verdict": "wrong"} if row["verdict"] == "right" else {}
    return {**row, **wrong, "n_completion": cap, "stop": "length"}


def _point(evaluation: Evaluation, cap: int, rows: Sequence[Row]) -> Point:
    values = [*shares(rows).values()]
    low, high = interval(values)
    shape = evaluation.manifest.get("shape")
    flops = None
    if shape:
        flops = fmean(
            cost.exact_generation(cost.Shape(**shape), row["n_prompt"], row["n_completion"])
            for row in rows
        )
    return {
        "cap": cap,
        "n": len(values),
        "accuracy": fmean(values),
        "low": low,
        "high": high,
        "flops": flops,
        "tokens": fmean(row["n_completion"] for row in rows),
        "cut": fmean(row["stop"] == "length" for row in rows),
    }


def page(curves: Mapping[str, Sequence[Point]], *, thinking: bool) -> str:
    """The picture and the table, as one self-contained page."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["percent"] = lambda value: f"{100 * value:.1f} %"
    most = max(point["cap"] for points in curves.values() for point in points)
    top = min(1.0, 1.1 * max(point["high"] for points in curves.values() for point in points))
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        curves=curves, most=most, top=top, capped="think block" if thinking else "completion"
    )


if __name__ == "__main__":
    cli.leave("budgets", main)
