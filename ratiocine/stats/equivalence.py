"""Tests of equivalence: whether a difference is within a margin."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ratiocine.stats import intervals
from ratiocine.stats.comparisons import paired_difference
from ratiocine.stats.components import Components, level_reaching
from ratiocine.stats.intervals import all_equal, bounded_interval, is_binary, resampled_means

SMALLEST_Z, LARGEST_Z = 1e-9, 40.0


def equivalence(
    first: Sequence[float],
    second: Sequence[float],
    parts: Components | None,
    margin: float,
    seed: int = 0,
) -> float:
    """P-value of |`second` − `first`| ≥ `margin` in the means over the same problems: the larger of
    two one-sided tests (Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15, 1987).

    Below 0.05 the 90 % interval lies within the margin. `parts` are the variance components of the
    difference over seeds and problems; None where seeds do not vary. As in `compare_seeds`, p is at
    least that of the means over seeds.
    """
    assert margin > 0
    difference = sum(second) / len(second) - sum(first) / len(first)
    if abs(difference) >= margin:
        return 1.0
    below = max(_one_sided(first, second, margin, seed), _over_seeds(parts, margin - difference))
    above = max(_one_sided(second, first, margin, seed), _over_seeds(parts, margin + difference))
    return max(below, above)


def _one_sided(first: Sequence[float], second: Sequence[float], bound: float, seed: int) -> float:
    """P-value of a difference ≥ `bound` over problems: the level at which the interval of
    `comparisons.compare` ends at the bound; with several samples the share of bootstrap resamples
    beyond it."""
    import numpy as np
    from scipy.special import ndtr

    change = np.subtract(second, first).tolist()
    if is_binary(first) and is_binary(second):
        a, b = [value == 1 for value in first], [value == 1 for value in second]
        return float(ndtr(-_quantile(lambda z: paired_difference(a, b, z)[2], bound)))
    if all_equal(change):
        return float(ndtr(-_quantile(lambda z: bounded_interval(change, -1.0, z)[1], bound)))
    beyond = resampled_means(change, np.random.default_rng(seed)) >= bound - 1e-12
    return float((beyond.sum() + 1) / (intervals.RESAMPLES + 1))


def _quantile(upper: Callable[[float], float], bound: float) -> float:
    """The quantile at which an upper end reaches the bound."""
    from scipy.optimize import brentq

    if upper(SMALLEST_Z) >= bound:
        return SMALLEST_Z
    if upper(LARGEST_Z) < bound:
        return LARGEST_Z
    return float(brentq(lambda z: upper(z) - bound, SMALLEST_Z, LARGEST_Z))


def _over_seeds(parts: Components | None, distance: float) -> float:
    """One-sided p-value of a mean over seeds and problems at this distance from the bound."""
    return 0.0 if parts is None else level_reaching(parts, distance**2) / 2
