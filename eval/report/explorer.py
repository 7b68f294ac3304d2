"""The completions in a page: which ones, and their JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean

from eval.report.html import visible
from eval.report.study import Study
from ratiocine.records import ScoredCompletion, is_truncated

VERDICTS = ("right", "wrong", "ungradable")
Problem = tuple[int, str | None, str | None, str | None]
"""Index of the benchmark, prompt, reference, level."""
Answer = tuple[int, int, int | None, int, int, int, int, int, str]
"""Index of the problem, index of the arm, seed, index of the verdict, thought, truncated, tokens,
index of the reason, text."""


@dataclass(frozen=True)
class Completions:
    """What the page's script reads; names are replaced by their index to save space."""

    arms: Sequence[str]
    benchmarks: Sequence[str]
    categories: Sequence[str]
    """Of the benchmarks."""
    verdicts: Sequence[str]
    reasons: Sequence[str]
    problems: Sequence[Problem]
    answers: Sequence[Answer]

    @property
    def seeds(self) -> list[int]:
        return sorted({answer[2] for answer in self.answers if answer[2] is not None})

    def json(self) -> str:
        return as_script(asdict(self))


def chosen_keys(study: Study, limit: int) -> list[str]:
    """Problems with at most `limit` completions in all: of each benchmark in turn, the problem on
    which the arms differ most."""
    turns: list[tuple[int, str, str]] = []
    for benchmark, keys in study.benchmarks.items():
        means = [
            [fmean(column) for column in zip(*arm.table(keys), strict=True)] for arm in study.arms
        ]
        spread = {
            key: max(of_arms) - min(of_arms)
            for key, of_arms in zip(keys, zip(*means, strict=True), strict=True)
        }
        ordered = sorted(keys, key=lambda key: (-spread[key], key))
        turns += [(turn, benchmark, key) for turn, key in enumerate(ordered)]
    found, n = [], 0
    for _, _, key in sorted(turns):
        n += sum(one.columns.total("one", one.at([key])) for one in study.evaluations)
        if n > limit:
            break
        found.append(key)
    return found


def completions(study: Study, limit: int) -> Completions:
    """All completions of the chosen problems."""
    keys = chosen_keys(study, limit)
    benchmarks, first = list(study.benchmarks), study.evaluations[0]
    reasons: dict[str, int] = {}
    problems: list[Problem] = []
    answers: list[Answer] = []
    for at, key in enumerate(keys):
        row = first.answers[key][0]
        texts = (_visible(row.prompt), _visible(row.reference), _visible(row.level))
        problems.append((benchmarks.index(row.benchmark), *texts))
        for number, arm in enumerate(study.arms):
            for evaluation in arm.evaluations:
                answers += [
                    (at, number, evaluation.seed, *_answer(row, reasons))
                    for row in evaluation.answers[key]
                ]
    return Completions(
        arms=[arm.label for arm in study.arms],
        benchmarks=benchmarks,
        categories=[first.category(keys[0]) for keys in study.benchmarks.values()],
        verdicts=VERDICTS,
        reasons=[reason.replace("_", " ") for reason in reasons],
        problems=problems,
        answers=answers,
    )


def _answer(row: ScoredCompletion, reasons: dict[str, int]) -> tuple[int, int, int, int, int, str]:
    reason = reasons.setdefault(row.reason, len(reasons))
    verdict, truncated = VERDICTS.index(row.verdict), int(is_truncated(row.stop))
    text = visible(row.completion)
    return verdict, int(row.thought), truncated, row.n_completion, reason, text


def _visible(value: str | None) -> str | None:
    return None if value is None else visible(value)


def as_script(value: object) -> str:
    """JSON for a <script> element: no text in it can end that, or begin another."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
