"""Summaries of scored completions, from their columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import fsum
from statistics import fmean
from typing import TYPE_CHECKING

from ratiocine import stats
from ratiocine.column_builder import columns_of
from ratiocine.columns import Columns
from ratiocine.cost import Shape
from ratiocine.records import ScoredCompletion
from ratiocine.scores.table import (
    AccuracyEstimate,
    Efficiency,
    ScoreTable,
    Summary,
    ThinkingTokens,
    Tokens,
)

if TYPE_CHECKING:
    import numpy as np

PASS_AT = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


def score_table(
    rows: Columns | Iterable[ScoredCompletion], shape: Shape | None = None
) -> ScoreTable:
    """The score table of an evaluation; FLOPs are counted where the model's `shape` is given."""
    columns = rows if isinstance(rows, Columns) else columns_of(rows)
    benchmarks = _grouped(columns.problems.benchmarks)
    categories = _grouped(columns.problems.categories)
    return ScoreTable(
        {name: summary(columns, shape, at=at) for name, at in benchmarks.items()},
        {name: _with_macro(columns, at, shape) for name, at in categories.items()},
        _with_macro(columns, columns.everything, shape),
    )


def _grouped(names: Sequence[str | None]) -> dict[str, np.ndarray]:
    """Positions by name, in the order of names; those without a name are left out."""
    import numpy as np

    found: dict[str, list[int]] = {}
    for at, name in enumerate(names):
        if name is not None:
            found.setdefault(name, []).append(at)
    return {name: np.array(found[name]) for name in sorted(found)}


def _with_macro(columns: Columns, at: np.ndarray, shape: Shape | None) -> Summary:
    inside = _grouped([columns.problems.benchmarks[number] for number in at])
    shares_by_benchmark = [_shares(columns, at[own]) for own in inside.values()]
    mean, *ends = stats.macro_average([own for own in shares_by_benchmark if own])
    return summary(columns, shape, at=at, macro=AccuracyEstimate(mean, (ends[0], ends[1])))


def _shares(columns: Columns, at: np.ndarray) -> list[float]:
    """Of the problems with a gradable completion."""
    found: list[float] = columns.shares[at].tolist()
    return [share for share in found if share == share]


def shares(rows: Iterable[ScoredCompletion]) -> dict[str, float]:
    """The share of right completions by problem, ungradable completions excluded."""
    columns = columns_of(rows)
    found = zip(columns.problems.keys, columns.shares.tolist(), strict=True)
    return {name: share for name, share in found if share == share}


def summary(
    rows: Columns | Iterable[ScoredCompletion],
    shape: Shape | None = None,
    *,
    at: np.ndarray | None = None,
    macro: AccuracyEstimate | None = None,
) -> Summary:
    """The summary of these completions, or of those of the problems `at` these numbers; FLOPs are
    counted where the model's `shape` is given."""
    columns = rows if isinstance(rows, Columns) else columns_of(rows)
    at = columns.everything if at is None else at
    n_rows, values = columns.total("one", at), _shares(columns, at)
    graded, right = columns.total("graded", at), columns.total("right", at)
    asked_for, answered = columns.total("has_expected", at), columns.total("answered", at)
    lost = n_rows - graded
    low, high = stats.interval(values)
    samples, pass_at = sampled(columns, at)
    thinking, answers = (right_and_wrong(columns, at, name) for name in ("n_think", "n_answer"))
    return Summary(
        n=len(values),
        right=right,
        accuracy=fmean(values) if values else None,
        ci95=(low, high),
        ungradable=lost / n_rows if n_rows else 0.0,
        bounds=(right / n_rows, (right + lost) / n_rows) if n_rows else None,
        samples=samples,
        pass_at=pass_at,
        majority=_majority(columns, at) if samples else None,
        truncated=columns.share("truncated", at),
        thought=columns.share("thought", at),
        mode_flip=columns.total("flipped", at) / asked_for if asked_for else None,
        efficiency=mean_efficiency([columns], [at]),
        not_extracted=columns.share("without_answer", at),
        thinking_tokens=ThinkingTokens(thinking.right, thinking.wrong, _by_level(columns, at)),
        answer_tokens=answers,
        completion_tokens=_mean_tokens(columns, at, "n_completion"),
        prompt_tokens=_mean_tokens(columns, at, "n_prompt"),
        measures=_measures(columns, at, graded),
        reasons=_reasons(columns, at),
        flops=_flops(columns, at, shape, exact=False),
        exact_flops=_flops(columns, at, shape, exact=True),
        macro=macro,
        unanswered=n_rows - answered or None,
        looping=columns.share("loops", at) if columns.total("has_looping", at) == n_rows else None,
    )


def _flops(columns: Columns, at: np.ndarray, shape: Shape | None, *, exact: bool) -> float | None:
    n = columns.total("answered", at)
    return fsum(columns.flops(shape, at, exact=exact)) / n if shape and n else None


def sampled(columns: Columns, at: np.ndarray) -> tuple[int | None, dict[str, float] | None]:
    """`samples` and `pass_at` of a summary."""
    graded, right = columns.sums("graded")[at], columns.sums("right")[at]
    seen = graded > 0
    samples = int(graded[seen].min()) if seen.any() else 0
    if samples < 2:
        return None, None
    tally = list(zip(graded[seen].tolist(), right[seen].tolist(), strict=True))
    pass_at = {}
    for k in PASS_AT:
        if k <= samples:
            known = {one: stats.pass_at_k(*one, k) for one in set(tally)}
            pass_at[str(k)] = fmean(known[one] for one in tally)
    return samples, pass_at


def majorities(columns: Columns, at: np.ndarray) -> list[float]:
    """The majority votes of the problems with a gradable completion."""
    found: list[float] = columns.majorities[at[columns.sums("graded")[at] > 0]].tolist()
    return found


def _majority(columns: Columns, at: np.ndarray) -> AccuracyEstimate:
    votes = majorities(columns, at)
    low, high = stats.interval(votes)
    return AccuracyEstimate(fmean(votes), (low, high))


def mean_efficiency(several: Sequence[Columns], at: Sequence[np.ndarray]) -> Efficiency | None:
    """Over the completions of several evaluations, of these problems of each, that have one."""
    found: list[tuple[float, float]] = []
    for columns, numbers in zip(several, at, strict=True):
        rows, values = columns.efficiency
        found += values[columns.are_of(rows, numbers)].tolist()
    return Efficiency(*(fmean(values) for values in zip(*found, strict=True))) if found else None


def right_and_wrong(columns: Columns, at: np.ndarray, name: str) -> Tokens:
    """Mean tokens, of the column of this name, of right and of wrong completions."""
    right, wrong = (
        _mean_tokens(columns, at, f"{verdict} {name}", verdict) for verdict in ("right", "wrong")
    )
    return Tokens(right, wrong)


def _mean_tokens(columns: Columns, at: np.ndarray, name: str, of: str = "one") -> float | None:
    """The mean over answered requests."""
    n = columns.total(f"answered {of}", at)
    return round(columns.total(f"answered {name}", at) / n, 2) if n else None


def _by_level(columns: Columns, at: np.ndarray) -> dict[str, Tokens]:
    graded = at[columns.sums("graded")[at] > 0]
    levels = _grouped([columns.problems.levels[number] for number in graded])
    return {
        level: right_and_wrong(columns, graded[inside], "n_think")
        for level, inside in levels.items()
    }


def _measures(columns: Columns, at: np.ndarray, n: int) -> dict[str, float]:
    """Means over the `n` gradable completions."""
    found = {}
    for name, (rows, values) in columns.detail.items():
        inside = columns.are_of(rows, at) & columns.graded[rows]
        if inside.any():
            found[name] = round(fsum(values[inside].tolist()) / n, 4)
    return found


def _reasons(columns: Columns, at: np.ndarray) -> dict[str, int]:
    """Most frequent first, of equally many the first one."""
    import numpy as np

    codes, first, counts = np.unique(
        columns.reason[columns.rows(at)], return_index=True, return_counts=True
    )
    order = np.lexsort((first, -counts))
    return {columns.reasons[codes[number]]: int(counts[number]) for number in order}
