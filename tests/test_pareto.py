"""The front of costs and accuracies, how often a point is on it, and the published curve: known
answers and properties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratiocine.stats import pareto

POINTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12)


def test_a_front_known_by_eye() -> None:
    costs = [5, 1, 3, 3, 8, 2, 9, 3]
    values = [0.4, 0.2, 0.5, 0.5, 0.7, 0.1, 0.7, 0.3]
    assert pareto.front(costs, values) == [1, 2, 3, 4]
    assert pareto.front([], []) == []
    assert pareto.front([7.0], [0.0]) == [0]


def test_ties() -> None:
    assert pareto.front([1, 1], [0.5, 0.4]) == [0], "of one cost the best"
    assert pareto.front([2, 1], [0.5, 0.5]) == [1], "of one value the cheapest"
    assert pareto.front([1, 2, 1], [0.5, 0.5, 0.5]) == [0, 2], (
        "what is equal in both stays together"
    )


@given(POINTS)
def test_the_front_is_what_nothing_dominates(points: list) -> None:
    def dominated(one: tuple[int, int]) -> bool:
        return any(
            cost <= one[0] and value >= one[1] and (cost, value) != one for cost, value in points
        )

    found = pareto.front([cost for cost, _ in points], [value for _, value in points])
    assert found == [i for i, point in enumerate(points) if not dominated(point)]


@given(POINTS.filter(bool), st.integers(0, 9), st.integers(0, 9), st.data())
def test_a_dominated_point_changes_nothing(
    points: list, dearer: int, worse: int, data: st.DataObject
) -> None:
    cost, value = data.draw(st.sampled_from(points))
    added = [*points, (cost + dearer, value - worse - (dearer == 0))]
    before, after = (
        pareto.front(*map(list, zip(*those, strict=True))) for those in (points, added)
    )
    assert after == before


def test_support_follows_problems_and_seeds() -> None:
    even = [[1, 0] * 100] * 3
    better = [[1, 1, 1, 0] * 50] * 3
    found = pareto.support([1, 2, 2, 3], [even, better, even, even])
    assert found[0] == 1, "nothing is cheaper than the cheapest"
    assert found[1:] == [1, 0, 0], (
        "where it is right on every problem that the others are right on, no resample changes that"
    )
    shifted = [[0, 1] * 100] * 3
    assert pareto.support([1, 2], [even, shifted])[1] == pytest.approx(0.5, abs=0.06)
    assert pareto.support([1, 2], [even, [[1, 0] * 100, [1, 0] * 100, [1, 1] * 100]])[
        1
    ] == pytest.approx(1 - (2 / 3) ** 3, abs=0.03)


def test_a_single_seed_is_drawn_alone() -> None:
    one, three = [[1, 1, 1, 0] * 50], [[1, 0, 1, 0] * 50] * 3
    assert pareto.support([2, 1], [one, three]) == [1, 1]
    assert pareto.support([], []) == []


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=5), st.integers(0, 99))
def test_support_is_a_share_and_repeats(costs: list[int], seed: int) -> None:
    tables = np.random.default_rng(seed).integers(0, 2, size=(len(costs), 2, 20)).tolist()
    found = pareto.support(costs, tables, seed=seed, resamples=50)
    assert found == pareto.support(costs, tables, seed=seed, resamples=50)
    assert all(0 <= share <= 1 for share in found)
    assert sum(found) >= 1 - 1e-9, "there is always a front"


@pytest.mark.parametrize(
    "true", [pareto.Fit(0.2, 0.6, 6e-7, 0.33, 0), pareto.Fit(0.05, 0.9, 2e-19, 1.0, 0)]
)
def test_a_known_curve_is_found(true: pareto.Fit) -> None:
    flops = np.logspace(17, 21, 9).tolist()
    found = pareto.fit_saturating(flops, [true(x) for x in flops], ceiling=0.95)
    assert found is not None
    assert found.error < 1e-4
    assert [found(x) for x in flops] == pytest.approx([true(x) for x in flops], abs=1e-3)
    assert (found.alpha + found.beta, found.delta) == pytest.approx(
        (true.alpha + true.beta, true.delta), abs=0.01
    )


def test_one_point_that_is_off_does_not_move_the_curve() -> None:
    """The least absolute error, not the least squares."""
    true, flops = pareto.Fit(0.2, 0.6, 6e-7, 0.33, 0), np.logspace(17, 21, 13).tolist()
    values = [true(x) + 0.2 * (i == 6) for i, x in enumerate(flops)]
    found = pareto.fit_saturating(flops, values)
    assert found is not None
    assert [found(x) for x in flops] == pytest.approx([true(x) for x in flops], abs=0.01)


def test_a_curve_keeps_under_its_ceiling_and_needs_five_points() -> None:
    assert pareto.fit_saturating([1e18, 2e18, 3e18, 4e18], [0.1, 0.2, 0.3, 0.4]) is None
    found = pareto.fit_saturating(
        [1e18, 2e18, 4e18, 8e18, 16e18], [0.1, 0.5, 0.8, 0.9, 0.95], ceiling=0.6
    )
    assert found is not None
    assert found.alpha > 0 and found.beta > 0 and found.gamma > 0 and 0 < found.delta <= 1
    assert found.alpha + found.beta <= 0.6 + 1e-12


def test_fronts_need_no_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys, ratiocine.stats.pareto; "
        "sys.exit('torch' in sys.modules or 'scipy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
