"""Adjusted p-values and tests of equivalence: known answers and identities."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from test_compare import TABLES, by_hand, sides

from ratiocine import stats
from ratiocine.stats import PairedDifference

P_VALUES = st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=6)


@given(P_VALUES)
def test_equal_weights_are_holm(p_values: list[float]) -> None:
    n = len(p_values)
    assert stats.weighted(p_values, [1 / n] * n) == pytest.approx(stats.holm(p_values))


@given(P_VALUES)
def test_in_order_no_test_is_below_an_earlier_one(p_values: list[float]) -> None:
    assert stats.in_order(p_values) == pytest.approx(np.maximum.accumulate(p_values).tolist())


def test_two_primary_and_two_secondary_endpoints() -> None:
    """The graph of Bretz et al. (Biometrical Journal 53, 2011, figure 1), worked out by hand."""
    transitions = [[0, 0.5, 0.5, 0], [0.5, 0, 0, 0.5], [0, 1, 0, 0], [1, 0, 0, 0]]
    found = stats.graphical([0.0121, 0.0337, 0.0084, 0.0160], [0.5, 0.5, 0, 0], transitions)
    assert found == pytest.approx([0.0242, 0.0337, 0.0336, 0.0337])


def test_weights_by_hand() -> None:
    """0.8 and 0.2 of the level; the rest passes on once one is rejected."""
    assert stats.weighted([0.03, 0.009], [0.8, 0.2]) == pytest.approx([0.0375, 0.0375])
    assert stats.weighted([0.03, 0.2], [0.8, 0.2]) == pytest.approx([0.0375, 0.2])


@pytest.mark.parametrize("seed", range(5))
def test_equivalence_is_an_interval_within_the_margin(seed: int) -> None:
    """The 90 % interval, at a margin that it just reaches."""
    first, second = (np.random.default_rng(seed).random((2, 150)) < 0.5).astype(int).tolist()
    _, low, high = stats.paired_difference(first, second, norm.ppf(0.95))
    reached = max(-low, high)
    assert stats.equivalence(first, second, None, reached) == pytest.approx(0.05)
    assert stats.equivalence(first, second, None, reached + 0.01) < 0.05
    assert stats.equivalence(second, first, None, reached) == pytest.approx(0.05)


@settings(deadline=None, max_examples=50)
@given(TABLES)
def test_no_difference_is_both_shown_and_within_the_margin(table: list) -> None:
    found = PairedDifference.of(*sides(table))
    margin = abs(found.difference) + 0.05
    if found.difference:
        assert found.equivalence(abs(found.difference)) > 0.4
    assert found.equivalence(margin + 0.1) <= found.equivalence(margin)
    if found.equivalence(margin) < 0.025:
        assert -margin <= found.low and found.high <= margin


def test_equivalence_over_seeds_by_hand() -> None:
    table = np.array([[1] * 12 + [0] * 188, [1] * 8 + [0] * 192, [1] * 10 + [0] * 190])
    found = PairedDifference.of(np.zeros((3, 200)).tolist(), table.tolist())
    p = found.equivalence(0.1)
    assert by_hand(table, 2 * p) == pytest.approx(0.1 - 0.05)
    assert 0.001 < p < 0.05


def test_sampled_answers_within_a_margin() -> None:
    rng = np.random.default_rng(0)
    first, second = (rng.binomial(4, 0.5, size=(2, 1, 400)) / 4).tolist()
    found = PairedDifference.of(first, second)
    assert found.equivalence(0.01) > 0.05 > found.equivalence(0.12)
    assert PairedDifference.of([[0.5] * 9], [[0.5] * 9]).equivalence(0.05) > 0.05
