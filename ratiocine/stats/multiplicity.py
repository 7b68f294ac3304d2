"""P-values adjusted for several tests of one family (family-wise error rate)."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm-adjusted p-values in the given order (Scandinavian Journal of Statistics 6, 1979)."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, worst = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = worst
    return adjusted


def graphical(
    p_values: Sequence[float], weights: Sequence[float], transitions: Sequence[Sequence[float]]
) -> list[float]:
    """P-values adjusted by a graph of tests (Bretz et al., Statistics in Medicine 28, 2009,
    algorithm 2).

    A test starts with its share `weights` of the level. Once rejected, it passes its level on to
    the tests not yet rejected, in the shares of its row of `transitions` (tests × tests, diagonal
    0). Weights and rows add up to at most 1. A test is rejected at level α where its adjusted
    p-value is at most α.
    """
    left, share = list(range(len(p_values))), list(map(float, weights))
    passed = [list(map(float, row)) for row in transitions]
    assert sum(share) <= 1 + 1e-9
    assert all(sum(row) <= 1 + 1e-9 and row[at] == 0 for at, row in enumerate(passed))
    adjusted, worst = [1.0] * len(p_values), 0.0
    while open_tests := [at for at in left if share[at] > 0]:
        first = min(open_tests, key=lambda at: p_values[at] / share[at])
        worst = adjusted[first] = max(worst, min(1.0, p_values[first] / share[first]))
        left.remove(first)
        for at in left:
            share[at] += share[first] * passed[first][at]
        passed = _without(first, passed, left)
    return adjusted


def _without(removed: int, passed: list[list[float]], left: list[int]) -> list[list[float]]:
    """Transitions once a test is removed: what went to it goes on to where it led."""
    found = [[0.0] * len(passed) for _ in passed]
    for at in left:
        back = passed[at][removed] * passed[removed][at]
        if back >= 1:
            continue
        for to in left:
            if to != at:
                through = passed[at][removed] * passed[removed][to]
                found[at][to] = (passed[at][to] + through) / (1 - back)
    return found


def in_order(p_values: Sequence[float]) -> list[float]:
    """P-values of tests in a fixed order, each at the full level once all before are rejected."""
    n = len(p_values)
    follows = [[float(to == at + 1) for to in range(n)] for at in range(n)]
    return graphical(p_values, [1.0, *[0.0] * (n - 1)], follows) if n else []


def weighted(p_values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """P-values of tests with weights that add up to 1: weighted Holm, whose level passes on in
    proportion to the weights of the others."""
    n, total = len(p_values), sum(weights)
    assert abs(total - 1) < 1e-6
    passed = [
        [weights[to] / (total - weights[at]) if to != at and n > 1 else 0.0 for to in range(n)]
        for at in range(n)
    ]
    return graphical(p_values, weights, passed)
