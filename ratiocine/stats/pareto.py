"""The Pareto front of (cost, accuracy), its bootstrap support, and a saturating fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

import numpy as np

SMALL = 1e-6
# Of the free parameters of the saturating curve (`_parameters`).
SEARCH_BOUNDS = [(SMALL, 1 - SMALL), (SMALL, 1), (-4, 4), (SMALL, 1)]


def front(costs: Sequence[float], values: Sequence[float]) -> list[int]:
    """Indices, in order, of the points that no other point dominates.

    A point dominates another if it costs no more and is worth no less, one of the two strictly.
    Points that are equal in both are on the front together.
    """
    assert len(costs) == len(values)
    return np.flatnonzero(_on_front(costs, np.asarray(values, dtype=float)[:, None])[:, 0]).tolist()


def support(
    costs: Sequence[float],
    tables: Sequence[Sequence[Sequence[float]]],
    seed: int = 0,
    resamples: int = 2000,
) -> list[float]:
    """Share of bootstrap resamples in which each point is on the Pareto front.

    A table holds shares of right answers: a row per training seed (their number may differ between
    points), a column per problem, the same problems for all points. Problems are resampled once for
    all points, which pairs them, and seeds for each point separately; costs are taken as exact.

    Simulated (tests/test_simulation.py: 300 grids of 15 models with random accuracies, 100 or 400
    problems, standard deviations between seeds of 0, 2 or 5 points): with three or five seeds, 98
    to 99.8 % of the points with a support of 0.9 or more are on the true front, 0.2 to 4 % of those
    below 0.1, and 52 to 60 % between 0.35 and 0.65. With one seed it is 85 to 99 % and 1 to 12 %,
    as the variance between seeds is not observed.
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
        of_point = of_seeds[start : start + len(table)]
        chosen = random.integers(len(of_point), size=of_point.shape)
        values[point] = np.take_along_axis(of_point, chosen, axis=0).mean(axis=0)
        start += len(table)
    # Rounded, so that equal values stay equal.
    return _on_front(costs, values.round(12)).mean(axis=1).tolist()


def _on_front(costs: Sequence[float], values: np.ndarray) -> np.ndarray:
    """Whether each point (row) is on the front in each resample (column)."""
    cost = np.asarray(costs, dtype=float)
    if not len(cost):
        return values > 0
    order = np.argsort(cost, kind="stable")
    running = np.maximum.accumulate(values[order], axis=0)
    best = np.vstack([np.full((1, values.shape[1]), -np.inf), running])
    cheaper, as_cheap = (np.searchsorted(cost[order], cost, side=s) for s in ("left", "right"))
    return (values > best[cheaper]) & (values >= best[as_cheap])


@dataclass(frozen=True)
class Fit:
    """accuracy = alpha + beta (1 − exp(−gamma FLOPs^delta))."""

    alpha: float
    beta: float
    gamma: float
    delta: float
    error: float
    """Mean absolute error over the points."""

    def __call__(self, flops: float) -> float:
        return self.alpha + self.beta * (1 - exp(-self.gamma * flops**self.delta))


def fit_saturating(
    flops: Sequence[float], accuracy: Sequence[float], ceiling: float = 1.0, seed: int = 0
) -> Fit | None:
    """Least absolute fit of the saturating curve of arXiv 2509.22193, appendix E.

    alpha, beta and gamma are positive, alpha + beta at most `ceiling` (such as the teacher's
    accuracy), delta in (0, 1]. None for fewer than five points, which four parameters could
    interpolate.
    """
    from scipy.optimize import differential_evolution, minimize

    assert len(flops) == len(accuracy)
    if len(flops) < 5:
        return None
    unit = max(flops)
    x, y = np.asarray(flops, dtype=float) / unit, np.asarray(accuracy, dtype=float)
    assert (x > 0).all()

    def error(free: np.ndarray) -> np.ndarray:
        """Of candidates (columns) of `_parameters`."""
        alpha, beta, gamma, delta = _parameters(free, ceiling)
        predicted = alpha + beta * (1 - np.exp(-gamma * x[:, None] ** delta))
        return np.abs(predicted - y[:, None]).mean(axis=0)

    found = differential_evolution(
        error,
        SEARCH_BOUNDS,
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
        bounds=SEARCH_BOUNDS,
        options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000},
    )
    alpha, beta, gamma, delta = (float(value) for value in _parameters(closer.x, ceiling))
    return Fit(alpha, beta, gamma / unit**delta, delta, float(closer.fun))


def _parameters(
    free: np.ndarray, ceiling: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """From shares of the admissible ranges of alpha and beta, log10 gamma, and delta."""
    alpha = free[0] * ceiling
    return alpha, free[1] * (ceiling - alpha), 10.0 ** free[2], free[3]
