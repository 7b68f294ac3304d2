"""Variance components of a mean over training seeds and problems, and its uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from ratiocine.stats.intervals import Z95

if TYPE_CHECKING:
    import numpy as np

SMALLEST_P = 1e-12  # resolution of p-values over seeds


@dataclass(frozen=True, eq=False)
class Pool:
    """The variance between seeds of one comparison, given all comparisons of its pool: a mixture of
    scaled inverse χ² distributions."""

    size: int
    """Comparisons."""
    freedom: float
    """Posterior median of d0."""
    outlier: float
    """Probability that the comparison is an outlier."""
    weights: np.ndarray
    variances: np.ndarray
    """Of the mean over seeds."""
    freedoms: np.ndarray

    def tail(self, squared: float) -> float:
        """Probability that the mean over seeds is off by more than the root of this square."""
        import numpy as np
        from scipy.special import stdtr

        return float(2 * self.weights @ stdtr(self.freedoms, -np.sqrt(squared / self.variances)))

    def squared_quantile(self, level: float) -> float:
        """The square beyond which the mean over seeds is off with this probability."""
        from scipy.optimize import brentq
        from scipy.special import stdtrit

        if len(self.weights) == 1:
            quantile = float(stdtrit(self.freedoms[0], level / 2)) ** 2
            return quantile * float(self.variances[0])
        if level >= self.tail(0.0):
            return 0.0
        high = self.variance
        while self.tail(high) > level:
            high *= 4
        return float(brentq(lambda squared: self.tail(squared) - level, 0.0, high, rtol=1e-9))

    @cached_property
    def variance(self) -> float:
        """Of the mean over seeds, on average."""
        return float(self.weights @ self.variances)


@dataclass(frozen=True)
class Components:
    """Variance components of the mean of a table: its mean squares, each divided by the number of
    cells."""

    seeds: int
    problems: int
    of_problems: float
    of_seeds: float
    of_both: float
    """Of the interaction of seeds and problems."""
    pool: Pool | None = None
    """What comparisons of like kind say of the variance between seeds (`moderation.pool`)."""

    @property
    def seeds_floor(self) -> float:
        """`of_seeds`, at least that of rounding: a seed's accuracy is a multiple of 1 / n for n
        problems, which has a variance of 1 / (12 n²)."""
        return max(self.of_seeds, 1 / (12 * self.problems**2 * self.seeds))


def components(table: Sequence[Sequence[float]]) -> Components | None:
    """Components of a table of seeds × problems; None with one seed or one problem, or if all seeds
    give the same values."""
    import numpy as np

    values = np.asarray(table, dtype=float)
    n_seeds, n = values.shape
    if n_seeds == 1 or n == 1:
        return None
    rows, columns = values.mean(axis=1), values.mean(axis=0)
    rest = values - rows[:, None] - columns + values.mean()
    of_seeds = float(rows.var(ddof=1)) / n_seeds
    of_both = float((rest**2).sum()) / ((n_seeds - 1) * (n - 1)) / values.size
    if max(of_seeds, of_both) < 1e-15:
        return None
    return Components(n_seeds, n, float(columns.var(ddof=1)) / n, of_seeds, of_both)


def squared_half_width(parts: Components, level: float) -> float:
    """Square of the half-width of the interval of a mean over seeds and problems at this level.

    Each mean square has its own quantile of Student's t, which keeps the level for any components
    (Banerjee, Sankhyā 22, 1960). The interaction is in both mean squares, so (S − 2) / (S − 1) of
    it is subtracted, for S seeds: all of it would be too much where few seeds happen to agree.
    Below a level of 5 % no more is subtracted than at 5 %, so that p-values hold under multiplicity
    adjustment; with a `Pool`, whose quantiles are smaller, no more than the normal quantile says.
    (Satterthwaite's degrees of freedom suffice at 5 %. At 0.125 %, the first step of Holm over 40
    comparisons, they reject up to 13 times too often with three seeds and 44 with two.)
    """
    problems = _squared_t(parts.problems - 1, level) * parts.of_problems
    if parts.pool is None:
        seeds = _squared_t(parts.seeds - 1, level) * parts.seeds_floor
    else:
        seeds = parts.pool.squared_quantile(level)
    return problems + max(0.0, seeds - _counted_twice(parts, level))


@lru_cache(maxsize=4096)  # a power averages over hundreds of intervals at one level
def _squared_t(freedom: float, level: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, level / 2)) ** 2


def _counted_twice(parts: Components, level: float) -> float:
    """What the interaction adds to both mean squares."""
    usual = Z95**2 if parts.pool else _squared_t(parts.seeds - 1, max(level, 0.05))
    return usual * parts.of_both * (parts.seeds - 2) / (parts.seeds - 1)


def level_reaching(parts: Components, squared: float) -> float:
    """The level at which `squared_half_width` is this square: the two-sided p-value of a mean over
    seeds and problems whose square it is, at least `SMALLEST_P`."""
    from scipy.optimize import brentq

    if squared == 0:
        return 1.0
    if parts.pool is None:

        def beyond(level: float) -> float:
            return squared_half_width(parts, level) - squared

        if beyond(SMALLEST_P) < 0:
            return SMALLEST_P
        return float(brentq(beyond, SMALLEST_P, 1.0, xtol=1e-12))

    # The level follows from the quantile of the seeds, which needs no inversion of its own then.
    pool, twice = parts.pool, _counted_twice(parts, SMALLEST_P)

    def level_of(seeds: float) -> float:
        return max(pool.tail(seeds), SMALLEST_P)

    def above(seeds: float) -> float:
        problems = _squared_t(parts.problems - 1, level_of(seeds)) * parts.of_problems
        return problems + max(0.0, seeds - twice) - squared

    if above(0.0) >= 0:  # 0 but for rounding
        return 1.0
    high = 2 * (squared + twice)
    return level_of(float(brentq(above, 0.0, high, xtol=1e-12 * high)))
