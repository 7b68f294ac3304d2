"""python -m eval.report DIR [DIR …] --out report.html: finished evaluations as one self-contained page.

A pure function of what the evaluations stored: the same folders give the same page, byte for byte, on any machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from eval.report import page as study_page
from eval.report import scored
from eval.report.arms import several_seeds
from eval.report.evaluations import apart, load_all, warnings
from eval.report.html import render, reward_stories, write
from eval.report.scored import Difference, Evaluation, Expectation
from ratiocine import cli
from ratiocine.errors import BadInput

FEW = 6  # evaluations that a page compares side by side
COMPLETIONS = 5000


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m eval.report", description="Compare finished evaluations in one page."
    )
    parser.add_argument(
        "folders",
        nargs="+",
        type=Path,
        metavar="DIR",
        help="a finished `python -m eval` folder, or a folder of such",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("report.html"), help="the page (default: report.html)"
    )
    parser.add_argument(
        "--completions",
        type=int,
        metavar="N",
        help=f"answers to look into in a study's page (default: {COMPLETIONS})",
    )
    parser.add_argument(
        "--ceiling",
        type=float,
        metavar="SHARE",
        help="accuracy that no student can pass, such as its teacher's (default: 1)",
    )
    parser.add_argument(
        "--overlay", choices=("published",), help="published accuracies beside a study's own"
    )
    options = parser.parse_args()
    if options.completions is not None and options.completions < 0:
        raise BadInput(f"--completions {options.completions} is less than none; give 0 or more")
    if options.ceiling is not None and not 0 < options.ceiling <= 1:
        raise BadInput(f"--ceiling {options.ceiling:g} is no accuracy above 0 and up to 1")
    evaluations = load_all(options.folders, without=("token_ids", "logprobs"))
    if several_seeds(evaluations) or len(evaluations) > FEW:
        completions = COMPLETIONS if options.completions is None else options.completions
        ceiling = 1.0 if options.ceiling is None else options.ceiling
        print(
            study_page.write_all(
                evaluations,
                options.out,
                completions,
                ceiling=ceiling,
                published=options.overlay == "published",
            )
        )
        return
    for name in ("completions", "ceiling", "overlay"):
        if getattr(options, name) is not None:
            raise BadInput(
                f"--{name} is of a study's page: several seeds of a arm, or more than {FEW} evaluations"
            )
    write(options.out, page(evaluations))
    print(terminal_table(evaluations))


def page(evaluations: Sequence[Evaluation]) -> str:
    """The HTML page. Everything that models wrote is escaped."""
    by_family, by_category = (
        scored.groups(evaluations, "benchmark"),
        scored.groups(evaluations, "category"),
    )
    against_first = [(evaluations[0], evaluation) for evaluation in evaluations[1:]]
    tested = scored.expectations(evaluations)
    keys = scored.shared_keys(evaluations)
    return render(
        "report.html.j2",
        evaluations=evaluations,
        families=by_family,
        categories=by_category,
        accuracy=scored.accuracy,
        n=len(keys),
        warnings=[*apart(evaluations), *warnings(evaluations)],
        summary=summary(tested, scored.rewarded(evaluations)),
        by_category_differences=scored.differences(against_first, by_category),
        by_family_differences=scored.differences(against_first, by_family),
        tested=tested,
        overall={evaluation.label: scored.accuracy(evaluation, keys) for evaluation in evaluations},
        examples=scored.examples(evaluations),
        chart=interval_chart(evaluations, by_family),
        cost=cost_chart(evaluations, keys),
        macros=scored.macros(evaluations, by_category),
        thinking=scored.thinking(evaluations),
        costs=scored.costs(evaluations),
        rewarded=reward_stories((evaluation.label, evaluation) for evaluation in evaluations),
        decoding=evaluations[0].manifest["decoding"],
        alike=sum(evaluation.ratio is not None for evaluation in evaluations) > 1
        and not scored.beside_ratio(evaluations),
    )


def summary(tested: Sequence[Expectation], rewarded: Sequence[Difference]) -> list[str]:
    """The finding in sentences, each as strong as its interval."""
    after = [
        f"{d.evaluation}: {_points(d)} against {d.base}, from which it began: {_said(d)}."
        for d in rewarded
    ]
    if not tested:
        return after or [
            "No two reasoning ratios are compared here, so no declared expectation is tested."
        ]
    first = tested[0].difference
    sentences = [
        f"The student at {first.evaluation} is compared with the student at {first.base}, on the same problems."
    ]
    for kind, title in (
        ("gain", "Declared to gain from reasoning traces"),
        ("no_gain", "Declared not to gain"),
    ):
        of_kind = [
            f"{e.family}: {e.verdict} ({_points(e.difference)})"
            for e in tested
            if e.declared == kind
        ]
        if of_kind:
            sentences.append(f"{title}: {'; '.join(of_kind)}.")
    return sentences + after


def _said(d: Difference) -> str:
    return {1: "better", 0: f"not decided by {d.n} problems", -1: "worse"}[d.decided]


def _points(d: Difference) -> str:
    return f"{100 * d.value:+.0f} points, 95 % interval {100 * d.low:+.0f} to {100 * d.high:+.0f}, n = {d.n}"


def interval_chart(
    evaluations: Sequence[Evaluation], grouped: dict[str, list[str]]
) -> dict[str, Any]:
    """Dots and intervals: one band a family, one line an evaluation, x in percent of a 0–100 scale."""
    step, gap = 16, 14
    bands, y = [], 8
    for name, keys in grouped.items():
        lines = []
        for index, evaluation in enumerate(evaluations):
            share = scored.accuracy(evaluation, keys)
            lines.append(
                {"y": y + index * step + 8, "arm": index, "label": evaluation.label, "share": share}
            )
        bands.append(
            {
                "name": name,
                "y": y,
                "height": step * len(evaluations),
                "lines": lines,
                "n": len(keys),
            }
        )
        y += step * len(evaluations) + gap
    return {"bands": bands, "height": y + 12}


def cost_chart(evaluations: Sequence[Evaluation], keys: Sequence[str]) -> dict[str, Any]:
    """Accuracy over all problems against mean completion tokens, a point an evaluation."""
    points: list[dict[str, Any]] = []
    for index, evaluation in enumerate(evaluations):
        tokens = fmean(row["n_completion"] for key in keys for row in evaluation.answers[key])
        points.append(
            {
                "arm": index,
                "label": evaluation.label,
                "tokens": tokens,
                "share": scored.accuracy(evaluation, keys),
            }
        )
    most = max(point["tokens"] for point in points) * 1.15 or 1.0
    top = min(1.0, max(point["share"].high for point in points) * 1.15)
    return {"points": points, "most": most, "top": top}


def terminal_table(evaluations: Sequence[Evaluation]) -> str:
    """Accuracy by family and evaluation with intervals, then what was declared and what was seen."""
    width = max(22, *(len(evaluation.label) + 2 for evaluation in evaluations))
    lines = [
        f"{'accuracy (95 %)':18}"
        + "".join(f"{evaluation.label:>{width}}" for evaluation in evaluations)
    ]
    grouped = {**scored.groups(evaluations, "benchmark"), "all": scored.shared_keys(evaluations)}
    for name, keys in grouped.items():
        shares = [scored.accuracy(evaluation, keys) for evaluation in evaluations]
        cells = [f"{100 * s.value:5.1f} % ({100 * s.low:.0f}–{100 * s.high:.0f})" for s in shares]
        lines.append(f"{name:18}" + "".join(f"{cell:>{width}}" for cell in cells))
    for e in scored.expectations(evaluations):
        d = e.difference
        declared = "should gain" if e.declared == "gain" else "should not gain"
        lines.append(
            f"{e.family:18}{declared:16} {d.evaluation} − {d.base}: {_points(d)}: {e.verdict}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    cli.leave("report", main)
