"""Tests repeated as seeds are added: error spending and conditional power.

A look is a test after so many seeds. The estimates of looks have the joint distribution of group
sequential designs (Jennison and Turnbull 2000, chapter 3): problems are the same at every look, so
that information grows at most as fast as the number of seeds, and boundaries for information in
proportion to seeds are conservative.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

STEPS = 200  # of the numerical integration over a look's statistic
LARGEST_Z = 9.0


def spent(level: float, fraction: float) -> float:
    """What is spent of a two-sided level up to this fraction of the information: O'Brien and
    Fleming's type, half of it on either side (Lan and DeMets, Biometrika 70, 1983)."""
    from scipy.special import ndtr, ndtri

    return float(4 - 4 * ndtr(ndtri(1 - level / 4) / sqrt(fraction)))


@lru_cache(maxsize=4096)
def nominal_levels(level: float, fractions: tuple[float, ...]) -> tuple[float, ...]:
    """Two-sided levels of the tests at looks after these fractions of the information (increasing,
    at most 1), so that any of them rejects a true hypothesis with probability `level`, spent by
    `spent`.

    The statistic of a look is compared by its p-value, as for Student's t (Jennison and Turnbull
    2000, section 3.8).
    """
    import numpy as np
    from scipy.special import ndtr

    assert 0 < level < 1
    assert list(fractions) == sorted(set(fractions))
    assert 0 < fractions[0] <= fractions[-1] <= 1
    grid, density, before, used = np.array([0.0]), np.array([1.0]), 0.0, 0.0
    found = []
    for fraction in fractions:
        step, target = sqrt(fraction - before), spent(level, fraction) - used
        z = _boundary(grid, density, step, sqrt(fraction), target)
        found.append(float(2 * ndtr(-z)))
        bound = z * sqrt(fraction)
        grid, density = _continued(grid, density, step, (-bound, bound))
        before, used = fraction, used + target
    return tuple(found)


def _boundary(
    grid: np.ndarray, density: np.ndarray, step: float, root: float, target: float
) -> float:
    """The quantile that is crossed at a look, and none before, with probability `target`."""
    from scipy.optimize import brentq
    from scipy.special import ndtr

    def excess(z: float) -> float:
        crossed = ndtr((grid - z * root) / step) + ndtr((-grid - z * root) / step)
        return float(density @ crossed) - target

    return LARGEST_Z if excess(LARGEST_Z) >= 0 else float(brentq(excess, 0.0, LARGEST_Z))


def _continued(
    grid: np.ndarray,
    density: np.ndarray,
    step: float,
    bounds: tuple[float, float],
    drift: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Points of the score that have crossed no boundary, with their probabilities, after a further
    step of Brownian motion (Armitage, McPherson and Rowe 1969)."""
    import numpy as np

    low, high = bounds
    width = max(0.0, high - low) / STEPS
    points = low + (np.arange(STEPS) + 0.5) * width
    kernel = np.exp(-(((points[:, None] - grid[None] - drift) / step) ** 2) / 2)
    return points, kernel @ density * (width / step / sqrt(2 * np.pi))


def sequential_p(p_values: Sequence[float], fractions: Sequence[float]) -> float:
    """P-value of a hypothesis tested at several looks: the smallest level at which one of them
    rejects (Liu and Anderson, Journal of Biopharmaceutical Statistics 18, 2008).

    `p_values` are two-sided, of the looks so far. A family of hypotheses with such p-values is
    adjusted as usual (`multiplicity`).
    """
    from scipy.optimize import brentq

    assert len(p_values) == len(fractions) > 0
    looks = tuple(fractions)

    def rejected(level: float) -> float:
        nominal = nominal_levels(level, looks)
        return max(at - p for at, p in zip(nominal, p_values, strict=True))

    low, high = 1e-10, 1 - 1e-9
    if rejected(low) >= 0:
        return low
    if rejected(high) < 0:
        return 1.0
    return float(brentq(rejected, low, high, xtol=1e-10))


def conditional_power(p: float, fraction: float, level: float = 0.05) -> float:
    """Chance that a two-sided test at this level rejects at the end, if the present estimate is the
    truth: from its p-value after a fraction of the information (Jennison and Turnbull 2000, section
    10.2)."""
    from scipy.special import ndtr, ndtri

    assert 0 < fraction <= 1
    z = -float(ndtri(max(p, 1e-300) / 2))
    if fraction == 1:
        return float(p <= level)
    needed = -float(ndtri(level / 2))
    return float(ndtr((z / sqrt(fraction) - needed) / sqrt(1 - fraction)))


def expected_information(
    fractions: Sequence[float], power: float | None, level: float, futile: float
) -> float:
    """The fraction of the information, on average, at which testing at these looks ends: where the
    hypothesis is rejected at a two-sided level, or its conditional power is below `futile`.

    The effect is the one that all information would show with this power; None is no effect.
    """
    import numpy as np
    from scipy.special import ndtri

    needed = -float(ndtri(level / 2))
    effect = 0.0 if power is None else needed + float(ndtri(power))
    grid, density, before, expected = np.array([0.0]), np.array([1.0]), 0.0, 0.0
    for fraction, nominal in zip(fractions, nominal_levels(level, tuple(fractions)), strict=True):
        expected += float(density.sum()) * (fraction - before)
        bounds = (
            fraction * (needed + sqrt(1 - fraction) * float(ndtri(futile))),
            -float(ndtri(nominal / 2)) * sqrt(fraction),
        )
        step = fraction - before
        grid, density = _continued(grid, density, sqrt(step), bounds, effect * step)
        before = fraction
    return expected
