"""Sample sizes: the problems and seeds that a comparison needs to find a difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt

from ratiocine.stats.components import Components, Pool, components, squared_half_width

MAX_PROBLEMS = 10**15  # more change nothing


@dataclass(frozen=True)
class Spread:
    """The sources of uncertainty of the difference of two arms."""

    discordant: float
    """Share of problems on which two students of one seed differ; with several samples, their mean
    squared difference."""
    seed_sd: float | None
    """Standard deviation of an arm's accuracy between seeds; None with one seed."""
    common: float | None
    """Share of the variance between problems that is the same for all seeds, the rest being an
    interaction of problem and seed; None with one seed."""


def spread(
    first: Sequence[Sequence[float]], second: Sequence[Sequence[float]], varying: int = 2
) -> Spread:
    """The `Spread` of two tables of seeds (rows) and problems (columns).

    `varying` is the number of arms with several seeds: 1 where one table repeats one evaluation.
    """
    import numpy as np

    change = np.subtract(second, first)
    discordant = float((change**2).mean())
    if len(change) == 1:
        return Spread(discordant, None, None)
    parts = components(change.tolist())
    if parts is None:
        return Spread(discordant, 0.0, 1.0)
    particular = parts.of_both * parts.seeds
    shared = max(0.0, parts.of_problems - parts.of_both)
    of_seeds = max(0.0, parts.of_seeds - parts.of_both) * parts.seeds / varying
    common = shared / (shared + particular) if particular else 1.0
    return Spread(discordant, sqrt(of_seeds), common)


def problems_needed(
    difference: float,
    discordant: float,
    seed_sd: float,
    seeds: int,
    power: float = 0.8,
    level: float = 0.05,
    common: float = 0.5,
    varying: int = 2,
) -> int | None:
    """Number of problems at which `compare_seeds` rejects (p below `level`) with this power, for a
    true difference and the sources of variance of `Spread`.

    `varying` is the number of arms with several seeds. None where no number of problems suffices,
    as the variance between seeds is too large. For several comparisons under Holm's adjustment,
    `level` divided by their number always suffices. With one seed it is the power of the exact
    McNemar test between these two students, and says nothing about other seeds.

    Simulated (tests/test_simulation.py), the power is 0.78 to 0.85 where 0.8 was asked for. A pilot
    of few seeds estimates their standard deviation badly, and the number with it.
    """
    assert 0 < abs(difference) <= discordant <= 1
    assert 0 < power < 1
    assert seeds > 0
    sought = abs(difference)

    def enough(n: int) -> bool:
        if seeds == 1:
            return _power_of_one(sought, discordant, level, n) >= power
        variance = varying * seed_sd**2
        found = power_over_seeds(sought, discordant, variance, seeds, level, common, n)
        return found >= power

    low, high = 1, 2  # not enough, perhaps enough
    while not enough(high):
        low, high = high, 2 * high
        if high > MAX_PROBLEMS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _power_of_one(difference: float, discordant: float, level: float, n: int) -> float:
    """Of the exact McNemar test, averaged over the number of discordant problems."""
    import numpy as np
    from scipy.stats import binom

    least, most = (int(binom.ppf(tail, n, discordant)) for tail in (1e-9, 1 - 1e-9))
    differ = np.unique(np.linspace(least, most, min(most - least + 1, 2000)).astype(int))
    chance = binom.pmf(differ, n, discordant)
    gained = (discordant + difference) / (2 * discordant)
    at_least = binom.isf(level / 2, differ, 0.5) + 1
    found = binom.sf(at_least - 1, differ, gained) + binom.cdf(differ - at_least, differ, gained)
    return float((chance * found).sum() / chance.sum())


def power_over_seeds(
    difference: float,
    discordant: float,
    variance: float,
    seeds: int,
    level: float,
    common: float,
    n: int,
    freedom: float = 0.0,
) -> float:
    """Power of `compare_seeds` at `level`, averaged over the distribution of the mean square of
    seeds; `variance` is that of the difference between seeds.

    `freedom` are the degrees of freedom that other comparisons add to the variance between seeds
    (`moderation.pool`), which is taken to be theirs too.
    """
    import numpy as np
    from scipy.special import ndtr
    from scipy.stats import chi2

    of_one = max(discordant - difference**2, 1e-12)
    of_both = of_one * (1 - common) / (seeds * n)
    of_problems = of_one * common / n + of_both
    of_seeds = variance / seeds
    true = sqrt(of_problems + of_seeds)
    expected = of_seeds + of_both
    drawn = chi2.ppf((np.arange(200) + 0.5) / 200, seeds - 1) / (seeds - 1) * expected
    own = [Components(seeds, n, of_problems, float(square), of_both) for square in drawn]
    if freedom:
        own = [_moderated(part, expected, freedom) for part in own]
    half = np.sqrt([squared_half_width(part, level) for part in own])
    return float((ndtr((difference - half) / true) + ndtr((-difference - half) / true)).mean())


def _moderated(parts: Components, prior: float, freedom: float) -> Components:
    """With a mean square of seeds that is moderated towards `prior` (Smyth 2004)."""
    import numpy as np

    total = freedom + parts.seeds - 1
    square = (freedom * prior + (parts.seeds - 1) * parts.of_seeds) / total
    pool = Pool(1, freedom, 0.0, np.ones(1), np.array([square]), np.array([total]))
    return replace(parts, pool=pool)
