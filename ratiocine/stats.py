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


def interval(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """95 % interval of a mean over problems: Wilson's where every value is 0 or 1, else by bootstrap."""
    return wilson(round(sum(values)), len(values)) if is_binary(values) else macro_average([values], seed)[1:]


def compare(first: Sequence[float], second: Sequence[float], seed: int = 0) -> tuple[float, float, float, float]:
    """Mean of `second` − `first` over the same problems: (difference, low, high, two-sided p).

    Newcombe's interval and the exact McNemar test where every value is 0 or 1; else the bootstrap interval of the mean
    difference, and the p-value of a sign-flip test: where neither arm is better, a problem's difference could as well have
    had the other sign.
    """
    import numpy as np

    if is_binary(first) and is_binary(second):
        a, b = [value == 1 for value in first], [value == 1 for value in second]
        return (*paired_difference(a, b), mcnemar(a, b))
    change = np.subtract(second, first)
    difference, low, high = macro_average([change.tolist()], seed)
    signs = np.random.default_rng([seed, 1]).choice(np.array([-1.0, 1.0]), size=(RESAMPLES, len(change)))
    extreme = np.abs(signs @ change) >= abs(change.sum()) - 1e-9
    return difference, low, high, float((extreme.sum() + 1) / (RESAMPLES + 1))


def compare_seeds(
    first: Sequence[Sequence[float]], second: Sequence[Sequence[float]], seed: int = 0
) -> tuple[float, float, float, float]:
    """Mean of `second` − `first` over training seeds and problems: (difference, low, high, two-sided p). A row is a seed, a
    column a problem, the same in every row.

    Seeds and problems are two crossed factors, both drawn from more. The mean's variance is that of the problems' means over
    seeds and that of the seeds' means, with Satterthwaite's degrees of freedom (Biometrics Bulletin 2, 1946, 110–114): where
    seeds differ, two of them have a wide interval, as they should. (Simulated, it covers 87 to 98 % for two seeds and 93 to
    98 for three to five; a bootstrap over seeds and problems 69 % at two seeds that differ much.) What is particular to a seed
    *and* a problem counts in both, so the interval is a little too wide where seeds do not differ. It is never narrower than,
    and the p-value never below, that of `compare` over the problems' means, which is all that one seed can tell.
    """
    import numpy as np
    from scipy.stats import t

    before, after = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    assert before.shape == after.shape
    assert before.size
    difference, low, high, p = compare(before.mean(axis=0).tolist(), after.mean(axis=0).tolist(), seed)
    table = after - before
    n_seeds, n = table.shape
    if n_seeds == 1 or n == 1:
        return difference, low, high, p
    of_problems, of_seeds = table.mean(axis=0).var(ddof=1) / n, table.mean(axis=1).var(ddof=1) / n_seeds
    if of_seeds < 1e-15:  # but for rounding, the seeds say the same
        return difference, low, high, p
    variance = of_problems + of_seeds
    freedom = variance**2 / (of_problems**2 / (n - 1) + of_seeds**2 / (n_seeds - 1))
    reach = float(t.ppf(0.975, freedom) * np.sqrt(variance))
    chance = float(2 * t.sf(abs(difference) / np.sqrt(variance), freedom))
    return difference, max(-1.0, min(low, difference - reach)), min(1.0, max(high, difference + reach)), max(p, chance)


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
