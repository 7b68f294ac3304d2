"""Intervals, paired tests and repeated sampling for scored problems. Pure functions; scipy does the distributions.

A problem's value is 1 or 0 where it was answered once, and its share of right answers where it was sampled. The first kind
gets exact and score-based intervals, the second a seeded bootstrap over problems: samples of one problem are not independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb, sqrt

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
    """95 % interval of a mean over problems: Wilson's where every value is 0 or 1, else by bootstrap; `bounded` where all are
    alike."""
    if is_binary(values):
        return wilson(round(sum(values)), len(values))
    return bounded(values, 0.0) if _alike(values) else macro_average([values], seed)[1:]


def bounded(values: Sequence[float], least: float) -> tuple[float, float]:
    """95 % interval of a mean of values from `least` to 1 that are all alike, which a bootstrap would call certain: as Agresti
    and Coull's (American Statistician 52, 1998), with z² / 2 more values at either bound. It holds the mean."""
    n, pseudo, mean = len(values), Z95**2, min(1.0, max(least, sum(values) / len(values)))
    middle = (n * mean + pseudo * (least + 1) / 2) / (n + pseudo)
    square = (n * mean**2 + pseudo * (least**2 + 1) / 2) / (n + pseudo)
    half = Z95 * sqrt((square - middle**2) / (n + pseudo))
    return max(least, min(mean, middle - half)), min(1.0, max(mean, middle + half))


def _alike(values: Sequence[float]) -> bool:
    return max(values) - min(values) < 1e-12


def is_binary(values: Sequence[float]) -> bool:
    return all(value in (0, 1) for value in values)


def macro_average(groups: Sequence[Sequence[float]], seed: int = 0) -> tuple[float, float, float]:
    """The mean of the groups' means, each group (a benchmark) counted alike: (mean, low, high).

    The 95 % interval is the percentile bootstrap, problems drawn again within each group (Efron and Tibshirani 1993, ch. 13).
    A group that holds one value alone contributes no width; the interval is then too narrow, as for any bootstrap.
    """
    import numpy as np

    if not groups or not all(map(len, groups)):
        return 0.0, 0.0, 1.0
    random = np.random.default_rng(seed)
    total = np.zeros(RESAMPLES)
    for group in groups:
        values, counts = np.unique(np.asarray(group, dtype=float), return_counts=True)
        drawn = random.multinomial(len(group), counts / len(group), size=RESAMPLES)
        total += drawn @ values / len(group) / len(groups)
    low, high = np.quantile(total, [0.025, 0.975])
    return float(np.mean([np.mean(group) for group in groups])), float(low), float(high)


def pass_at_k(n: int, right: int, k: int) -> float:
    """Unbiased estimate, from n samples of which `right` are right, of the chance that at least one of k is right (Chen et
    al. 2021, arXiv 2107.03374, eq. 1)."""
    assert 0 <= right <= n
    assert 1 <= k <= n
    return 1.0 - comb(n - right, k) / comb(n, k)


def majority(votes: Sequence[tuple[str, bool]]) -> float:
    """maj@k: whether the most frequent of the answers is right, each vote an answer and whether it is right. Answers that tie
    for the first place are drawn from by lot: the value is the share of right ones among them."""
    counts: dict[str, list[bool]] = {}
    for answer, right in votes:
        counts.setdefault(answer, []).append(right)
    most = max(map(len, counts.values()), default=0)
    first = [sum(rights) / len(rights) for rights in counts.values() if len(rights) == most]
    return sum(first) / len(first) if first else 0.0
