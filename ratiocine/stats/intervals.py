"""Intervals and repeated sampling for scored problems.

A problem's value is 1 or 0 where it was answered once, and its share of right answers where it was
sampled. Binary values get Wilson's score interval, other values a seeded bootstrap over problems:
samples of one problem are not independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb, sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

Z95 = 1.959963984540054
RESAMPLES = 10_000


def wilson(right: int, n: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval for a share (JASA 22, 1927); (0, 1) at n = 0."""
    if n == 0:
        return 0.0, 1.0
    share, shrink = right / n, 1 + z * z / n
    middle = (share + z * z / (2 * n)) / shrink
    half = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / shrink
    # Exact at the ends, where rounding would leave the share a hair outside its own interval.
    return (0.0 if right == 0 else middle - half), (1.0 if right == n else middle + half)


def interval(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """95 % interval of a mean over problems.

    Wilson's where every value is 0 or 1, `bounded_interval` where all values are equal, else the
    bootstrap of `macro_average`.
    """
    if is_binary(values):
        return wilson(round(sum(values)), len(values))
    if all_equal(values):
        return bounded_interval(values, 0.0)
    return macro_average([values], seed)[1:]


def bounded_interval(values: Sequence[float], lower: float, z: float = Z95) -> tuple[float, float]:
    """Interval (95 % at the default quantile `z`) of a mean of equal values from `lower` to 1; a
    bootstrap would have no width.

    After Agresti and Coull (American Statistician 52, 1998): z² / 2 pseudo-values at either bound.
    It holds the mean.
    """
    n, pseudo, mean = len(values), z**2, min(1.0, max(lower, sum(values) / len(values)))
    middle = (n * mean + pseudo * (lower + 1) / 2) / (n + pseudo)
    square = (n * mean**2 + pseudo * (lower**2 + 1) / 2) / (n + pseudo)
    half = z * sqrt((square - middle**2) / (n + pseudo))
    return max(lower, min(mean, middle - half)), min(1.0, max(mean, middle + half))


def all_equal(values: Sequence[float]) -> bool:
    return max(values) - min(values) < 1e-12


def is_binary(values: Sequence[float]) -> bool:
    return all(value in (0, 1) for value in values)


def macro_average(groups: Sequence[Sequence[float]], seed: int = 0) -> tuple[float, float, float]:
    """Mean of the groups' means, each group (a benchmark) with equal weight: (mean, low, high).

    The 95 % interval is the percentile bootstrap with problems resampled within each group (Efron
    and Tibshirani 1993, ch. 13). A group of equal values contributes no width; the interval is then
    too narrow, as for any bootstrap.
    """
    import numpy as np

    if not groups or not all(map(len, groups)):
        return 0.0, 0.0, 1.0
    random = np.random.default_rng(seed)
    total = np.zeros(RESAMPLES)
    for group in groups:
        total += resampled_means(group, random) / len(groups)
    low, high = np.quantile(total, [0.025, 0.975])
    return float(np.mean([np.mean(group) for group in groups])), float(low), float(high)


def resampled_means(values: Sequence[float], random: np.random.Generator) -> np.ndarray:
    """Means of bootstrap resamples."""
    import numpy as np

    distinct, counts = np.unique(np.asarray(values, dtype=float), return_counts=True)
    drawn = random.multinomial(len(values), counts / len(values), size=RESAMPLES)
    return drawn @ distinct / len(values)


def pass_at_k(n: int, right: int, k: int) -> float:
    """Unbiased estimate, from n samples of which `right` are right, of the chance that at least one
    of k samples is right (Chen et al. 2021, arXiv 2107.03374, eq. 1)."""
    assert 0 <= right <= n
    assert 1 <= k <= n
    return 1.0 - comb(n - right, k) / comb(n, k)


def majority(votes: Sequence[tuple[str, bool]]) -> float:
    """maj@k: whether the most frequent answer is right.

    A vote is an answer and whether it is right. Ties are broken at random, so the value is the
    share of right answers among the tied.
    """
    by_answer: dict[str, list[bool]] = {}
    for answer, right in votes:
        by_answer.setdefault(answer, []).append(right)
    most = max(map(len, by_answer.values()), default=0)
    tied = [sum(rights) / len(rights) for rights in by_answer.values() if len(rights) == most]
    return sum(tied) / len(tied) if tied else 0.0
