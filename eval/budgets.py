"""python -m eval.budgets DIR [DIR …] --out PAGE: accuracy by token limit, from saved completions.

A lower limit truncates the same completion earlier, so that every lower limit is scored exactly
from the saved completions: `--tokens` caps the whole completion, `--max-thinking-tokens` its think
block, `--percentiles` caps at percentiles of the completion lengths (arXiv 2509.22193, appendix H).
A truncated completion has no answer except what it had boxed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean

from eval.benchmarks import check_problems, load
from eval.config import Config
from eval.report import (
    Evaluation,
    cap_figure,
    check_name,
    load_evaluations,
    render,
    write,
)
from ratiocine import cli, cost, models
from ratiocine.errors import BadInput
from ratiocine.evaluate import grade_completion
from ratiocine.progress import progress
from ratiocine.records import Problem, ScoredCompletion, is_truncated
from ratiocine.scores import shares
from ratiocine.stats import interval

PERCENTILES = (0, 25, 50, 75, 100)


def main() -> None:
    options = parser().parse_args()
    check_name(options.out)
    if options.out.suffix == ".json":
        raise BadInput(f"--out {options.out}: the numbers go there; give the page another ending")
    evaluations = load_evaluations(options.folders, with_tokens=True)
    curves = {evaluation.label: curve(evaluation, options) for evaluation in evaluations}
    points = {label: [asdict(point) for point in found] for label, found in curves.items()}
    write(
        options.out.with_suffix(".json"),
        json.dumps({"schema_version": 1, "curves": points}, indent=2) + "\n",
    )
    write(options.out, page(curves, thinking=bool(options.max_thinking_tokens)))
    for label, found in curves.items():
        print(f"{label}\n{'cap':>10}{'tokens':>9}{'cut':>8}{'accuracy':>10}{'95 %':>18}")
        for p in found:
            counts = f"{p.cap:>10}{p.tokens:>9.1f}{p.cut:>8.0%}"
            print(f"{counts}{p.accuracy:>10.1%}{p.low:>10.1%} – {p.high:.1%}")
    print(f"page: {options.out}")


def parser() -> argparse.ArgumentParser:
    found = cli.argument_parser("eval.budgets", __doc__)
    found.add_argument(
        "folders", nargs="+", type=Path, metavar="DIR", help="a finished `python -m eval` folder"
    )
    which = found.add_mutually_exclusive_group()
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
    found.add_argument(
        "--out",
        type=Path,
        default=Path("budgets.html"),
        help="the page; its numbers go beside it as .json",
    )
    return found


@dataclass(frozen=True)
class Point:
    """An evaluation under one cap."""

    cap: int
    """Tokens of a completion, or of its think block."""
    n: int
    accuracy: float
    low: float
    high: float
    """95 % interval of the accuracy."""
    flops: float | None
    """Mean inference FLOPs of a completion, exact; None for a served model."""
    tokens: float
    """Mean tokens of a completion."""
    cut: float
    """Share of completions that reach the cap."""


def curve(evaluation: Evaluation, options: argparse.Namespace) -> list[Point]:
    """The evaluation at each cap, in ascending order.

    Raises BadInput for a cap below 1 or above the limit of a truncated completion, a percentile
    outside 0 to 100, and completions that cannot be cut because their engine returned no token ids.
    """
    if evaluation.facts.relay is not None:
        raise BadInput(f"{evaluation.label}: a relay, whose first tokens are another model's")
    if evaluation.config.get("strategy"):
        raise BadInput(f"{evaluation.label}: an evaluation with strategy=, of several completions")
    config = cli.check(Config, dict(evaluation.config))
    problems = load(config).problems
    rows = [row for answers in evaluation.answers.values() for row in answers]
    check_problems(evaluation.label, (row.key for row in rows), problems)
    if options.max_thinking_tokens:
        caps = _caps(options.max_thinking_tokens)
        _check_measured(evaluation.label, caps[-1], [row.n_think for row in rows if _unended(row)])
        return [_point(evaluation, cap, [_cut_thinking(row, cap) for row in rows]) for cap in caps]
    if any(row.token_ids is None for row in rows):
        raise BadInput(
            f"{evaluation.label}: its engine returned no token ids, so completions cannot be cut; "
            "--max-thinking-tokens can be"
        )
    caps = _caps(options.tokens or _at_percentiles(rows, options.percentiles or PERCENTILES))
    if options.tokens:
        lengths = [row.n_completion for row in rows if row.stop == "length"]
        _check_measured(evaluation.label, caps[-1], lengths)
    decode = models.load_tokenizer(config.model).decode
    points = []
    with progress(len(caps) * len(rows), "budgets", "completions") as bar:
        for cap in caps:
            cut = []
            for row in rows:
                cut.append(_cut(row, cap, problems[row.key], decode))
                bar.update()
            points.append(_point(evaluation, cap, cut))
    return points


def _at_percentiles(rows: Sequence[ScoredCompletion], percentiles: Sequence[float]) -> list[int]:
    """Lengths of completions at these percentiles."""
    if wrong := [p for p in percentiles if not 0 <= p <= 100]:
        raise BadInput(f"--percentiles {wrong[0]:g} is not between 0 and 100")
    lengths = sorted(row.n_completion for row in rows if row.answered)
    if not lengths:
        raise BadInput("--percentiles: no completion was answered")
    return [lengths[round(p / 100 * (len(lengths) - 1))] for p in percentiles]


def _caps(values: Sequence[int]) -> list[int]:
    if low := [value for value in values if value < 1]:
        raise BadInput(f"a cap of {low[0]} tokens is none; caps are 1 or more")
    return sorted(set(values))


def _unended(row: ScoredCompletion) -> bool:
    """Whether a completion was truncated within its trace."""
    return row.stop == "length" and not row.n_answer


def _check_measured(label: str, cap: int, truncated: Sequence[int]) -> None:
    """Raise BadInput for a cap at which a truncated completion (`truncated` are their tokens) might
    have gone on."""
    if truncated and cap > min(truncated):
        raise BadInput(
            f"{label}: a cap of {cap} tokens was not measured: {len(truncated)} completions were "
            f"truncated, at {min(truncated)} tokens and more; evaluate with max_new_tokens={cap}"
        )


def _cut(
    row: ScoredCompletion, cap: int, problem: Problem, decode: Callable[[list[int]], str]
) -> ScoredCompletion:
    """The completion cut after `cap` tokens, and graded again."""
    if row.n_completion <= cap:
        return row
    assert row.token_ids is not None
    text = decode(list(row.token_ids[:cap]))
    judgement = grade_completion(problem, text, finished=False, opened=row.opened)
    return replace(row, **vars(judgement), n_completion=cap, stop="length")


def _cut_thinking(row: ScoredCompletion, cap: int) -> ScoredCompletion:
    """The completion cut inside its think block, where that is longer: without an answer."""
    if row.n_think <= cap:
        return row
    verdict = "wrong" if row.verdict == "right" else row.verdict
    return replace(row, verdict=verdict, n_completion=cap, stop="length")


def _point(evaluation: Evaluation, cap: int, rows: Sequence[ScoredCompletion]) -> Point:
    values = [*shares(rows).values()]
    low, high = interval(values)
    answered = [row for row in rows if row.answered]
    shape, flops = evaluation.facts.shape, None
    if shape is not None and answered:
        flops = fmean(cost.exact_generation(shape, r.n_prompt, r.n_completion) for r in answered)
    return Point(
        cap,
        len(values),
        fmean(values),
        low,
        high,
        flops=flops,
        tokens=fmean(row.n_completion for row in answered) if answered else 0.0,
        cut=fmean(is_truncated(row.stop) for row in rows),
    )


def page(curves: Mapping[str, Sequence[Point]], *, thinking: bool) -> str:
    """The chart and the tables as one self-contained page."""
    import markupsafe

    capped = "think block" if thinking else "completion"
    points = {
        label: [(one.cap, one.accuracy, one.low, one.high) for one in found]
        for label, found in curves.items()
    }
    wide, narrow = (
        markupsafe.Markup(cap_figure(points, capped, narrow=narrow)) for narrow in (False, True)
    )
    return render("budgets.html.j2", curves=curves, capped=capped, wide=wide, narrow=narrow)


if __name__ == "__main__":
    cli.leave("budgets", main)
