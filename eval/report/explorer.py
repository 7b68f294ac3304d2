"""Which completions a study's page holds to be looked into, and how they travel in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from eval.report.html import visible
from eval.report.scored import Row
from eval.report.study import Study

VERDICTS = ("right", "wrong", "ungradable")


def chosen(study: Study, most: int) -> list[str]:
    """Problems with all their answers, at most `most` of these: of each benchmark in turn the problem on which arms differ
    most."""
    turns: list[tuple[int, str, str]] = []
    for benchmark, keys in study.benchmarks.items():
        shares = [
            [fmean(column) for column in zip(*arm.table(keys), strict=True)] for arm in study.arms
        ]
        spread = {
            key: max(column) - min(column)
            for key, column in zip(keys, zip(*shares, strict=True), strict=True)
        }
        turns += [
            (turn, benchmark, key)
            for turn, key in enumerate(sorted(keys, key=lambda key: (-spread[key], key)))
        ]
    found, held = [], 0
    for _, _, key in sorted(turns):
        held += sum(len(evaluation.answers[key]) for evaluation in study.evaluations)
        if held > most:
            break
        found.append(key)
    return found


def completions(study: Study, most: int) -> dict[str, Any]:
    """The answers to the chosen problems, in short: each problem's text once, names by their place in a list."""
    keys = chosen(study, most)
    benchmarks = list(study.benchmarks)
    first = study.evaluations[0]
    reasons: dict[str, int] = {}
    problems, answers = [], []
    for at, key in enumerate(keys):
        asked = first.first(key)
        texts = (_text(asked[name]) for name in ("prompt", "reference", "level"))
        problems.append([benchmarks.index(asked["benchmark"]), *texts])
        for number, arm in enumerate(study.arms):
            for evaluation in arm.evaluations:
                seed = evaluation.student.get("seed") if arm.trained else None
                answers += [
                    [at, number, seed, *_answer(row, reasons)] for row in evaluation.answers[key]
                ]
    categories = [first.first(keys[0])["category"] for keys in study.benchmarks.values()]
    return {
        "arms": [arm.label for arm in study.arms],
        "benchmarks": benchmarks,
        "categories": categories,
        "verdicts": VERDICTS,
        "reasons": [reason.replace("_", " ") for reason in reasons],
        "problems": problems,
        "answers": answers,
    }


def _answer(row: Row, reasons: dict[str, int]) -> Sequence[Any]:
    reason = reasons.setdefault(row["reason"], len(reasons))
    return (
        VERDICTS.index(row["verdict"]),
        int(row["thought"]),
        int(row["stop"] == "length"),
        row["n_completion"],
        reason,
        visible(row["completion"]),
    )


def _text(value: Any) -> str | None:
    return None if value is None else visible(str(value))


def as_script(value: Any) -> str:
    """JSON that may stand in a <script>: no text in it can end that, or begin another."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
