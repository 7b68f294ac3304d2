"""Which of several models are worth their cost: the front of (cost, accuracy), how sure it is, and a curve through points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

import numpy as np


def front(costs: Sequence[float], values: Sequence[float]) -> list[int]:
    """Indices, in order, of the points that no other one dominates.

    A point dominates another that costs as much or more and is worth as much or less, where one of the two is strictly so. Of
    points of one cost the best are on the front, of points of one value the cheapest, and of points that are equal in both all.
    """
    assert len(costs) == len(values)
    return np.flatnonzero(_on_front(costs, np.asarray(values, dtype=float)[:, None])[:, 0]).tolist()


def support(
    costs: Sequence[float],
    tables: Sequence[Sequence[Sequence[float]]],
    seed: int = 0,
    resamples: int = 2000,
) -> list[float]:
    """How often each point is on the front when the study is made again: a share of bootstrap resamples for every point.

    A point's table holds its share of right answers, a row a training seed (their number may differ) and a column a problem,
    the same problems for all points. Problems are drawn again once for all points, which are paired by them, and seeds for each
    point alone; costs are taken as exact.

    Simulated (tests/test_simulation.py: 300 grids of 15 models with random accuracies, 100 or 400 problems, seeds that differ
    by 0, 2 or 5 points), of the points with a support of 0.9 or more 98 to 99.8 % truly are on the front with three or five
    seeds, of those under 0.1 it is 0.2 to 4 %, and between 0.35 and 0.65 it is 52 to 60 %. With one seed it is 85 to 99 % and 1
    to 12 %: what other seeds would do is not seen.
    """
    rows = [np.asarray(table, dtype=float) for table in tables]
    assert len(rows) == len(costs)
    if not rows:
        return []
    n = rows[0].shape[1]
    assert all(table.shape[1] == n for table in rows)
    random = np.random.default_rng(seed)
    drawn = random.multinomial(n, np.full(n, 1 / n), size=resamples) / n
    of_seeds = np.concatenate(rows) @ drawn.T  # seeds of all points x resamples
    values, start = np.empty((len(rows), resamples)), 0
    for point, table in enumerate(rows):
        own = of_seeds[start : start + len(table)]
        values[point] = np.take_along_axis(
            own, random.integers(len(own), size=own.shape), axis=0
        ).mean(axis=0)
        start += len(table)
    return (
        _on_front(costs, values.round(12)).mean(axis=1).tolist()
    )  # rounded: what is equal stays equal


def _on_front(costs: Sequence[float], values: np.ndarray) -> np.ndarray:
    """Whether each point (row) is on the front in each resample (column)."""
    cost = np.asarray(costs, dtype=float)
    if not len(cost):
        return values > 0
    order = np.argsort(cost, kind="stable")
    best = np.vstack(
        [np.full((1, values.shape[1]), -np.inf), np.maximum.accumulate(values[order], axis=0)]
    )
    cheaper, as_cheap = (
        np.searchsorted(cost[order], cost, side=side) for side in ("left", "right")
    )
    return (values > best[cheaper]) & (values >= best[as_cheap])


@dataclass(frozen=True)
class Fit:
    """accuracy = alpha + beta (1 − exp(−gamma FLOPs^delta)), and the mean absolute error over its points."""

    alpha: float
    beta: float
    gamma: float
    delta: float
    error: float

    def __call__(self, flops: float) -> float:
        return self.alpha + self.beta * (1 - exp(-self.gamma * flops**self.delta))


def saturating(
    flops: Sequence[float], accuracy: Sequence[float], ceiling: float = 1.0, seed: int = 0
) -> Fit | None:
    """The published curve of accuracy over FLOPs (arXiv 2509.22193, appendix E) through these points: that with the least mean
    absolute error, for alpha, beta and gamma > 0, alpha + beta at most `ceiling` (the teacher's accuracy) and delta in (0, 1].
    None with fewer than five points, which four parameters could pass through.
    """
    from scipy.optimize import differential_evolution, minimize

    assert len(flops) == len(accuracy)
    if len(flops) < 5:
        return None
    unit = max(flops)
    x, y = np.asarray(flops, dtype=float) / unit, np.asarray(accuracy, dtype=float)
    assert (x > 0).all()

    def error(free: np.ndarray) -> np.ndarray:
        """Of alpha and alpha + beta as shares of what they may be, log10 gamma in `unit` and delta; a column a candidate."""
        alpha, beta, gamma, delta = _curve(free, ceiling)
        told = alpha + beta * (1 - np.exp(-gamma * x[:, None] ** delta))
        return np.abs(told - y[:, None]).mean(axis=0)

    small = 1e-6
    bounds = [(small, 1 - small), (small, 1), (-4, 4), (small, 1)]
    found = differential_evolution(
        error,
        bounds,
        seed=seed,
        vectorized=True,
        updating="deferred",
        polish=False,
        popsize=20,
        maxiter=500,
        tol=1e-8,
    )
    closer = minimize(
        lambda free: float(error(free[:, None])[0]),
        found.x,
        method="Nelder-Mead",
        bounds=bounds,
        options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000},
    )
    alpha, beta, gamma, delta = (float(value) for value in _curve(closer.x, ceiling))
    return Fit(alpha, beta, gamma / unit**delta, delta, float(closer.fun))


def _curve(
    free: np.ndarray, ceiling: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    alpha = free[0] * ceiling
    return alpha, free[1] * (ceiling - alpha), 10.0 ** free[2], free[3]
