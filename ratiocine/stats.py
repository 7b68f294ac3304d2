"""Intervals and paired tests for scored problems. Pure functions over right/wrong lists; scipy does the distributions."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

Z95 = 1.959963984540054


def wilson(right: int, n: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval for a share (JASA 22, 1927); (0, 1) at n = 0."""
    if n == 0:
        return 0.0, 1.0
    share, shrink = right / n, 1 + z * z / n
    middle = (share + z * z / (2 * n)) / shrink
    half = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / shrink
    # Exact at the ends, where rounding would leave the share a hair outside its own interval.
    return (0.0 if right == 0 else middle - half), (1.0 if right == n else middle + half)


def paired_difference(first: Sequence[bool], second: Sequence[bool]) -> tuple[float, float, float]:
    """`second` − `first` accuracy over the same problems, with its 95 % interval: (difference, low, high).

    Newcombe's square-and-add interval for paired shares with the continuity-corrected correlation (Statistics in
    Medicine 17, 1998, 2635–2650, method 10). It stays inside [−1, 1] and is never empty, even at shares of 0 and 1.
    """
    assert len(first) == len(second)
    n = len(first)
    if n == 0:
        return 0.0, -1.0, 1.0
    both = sum(a and b for a, b in zip(first, second, strict=True))
    only_second = sum(b and not a for a, b in zip(first, second, strict=True))
    only_first = sum(a and not b for a, b in zip(first, second, strict=True))
    neither = n - both - only_second - only_first
    p_second, p_first = (both + only_second) / n, (both + only_first) / n
    (low_2, high_2), (low_1, high_1) = wilson(both + only_second, n), wilson(both + only_first, n)
    margins = (both + only_second) * (only_first + neither) * (both + only_first) * (only_second + neither)
    association = float(both * neither - only_second * only_first)
    if association > 0:
        association = max(association - n / 2, 0.0)
    phi = association / sqrt(margins) if margins else 0.0
    difference = p_second - p_first

    def reach(a: float, b: float) -> float:
        return sqrt(max(0.0, a * a - 2 * phi * a * b + b * b))

    low = difference - reach(p_second - low_2, high_1 - p_first)
    high = difference + reach(high_2 - p_second, p_first - low_1)
    return difference, max(-1.0, low), min(1.0, high)


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> float:
    """Two-sided exact McNemar test: the chance of discordant pairs at least this uneven where neither arm is better."""
    from scipy.stats import binomtest

    gained = sum(b and not a for a, b in zip(first, second, strict=True))
    lost = sum(a and not b for a, b in zip(first, second, strict=True))
    return float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (Scandinavian Journal of Statistics 6, 1979): adjusted p-values, in the given order."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, worst = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = worst
    return adjusted
