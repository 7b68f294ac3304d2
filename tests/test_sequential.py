"""Tests repeated as seeds are added: published boundaries, identities and simulated error rates."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from ratiocine import stats
from ratiocine.stats import sequential

FIFTHS = (0.2, 0.4, 0.6, 0.8, 1.0)


def test_published_boundaries() -> None:
    """Lan and DeMets, O'Brien-Fleming type: five equally spaced looks at a two-sided 5 %."""
    found = norm.isf(np.array(sequential.nominal_levels(0.05, FIFTHS)) / 2)
    assert found == pytest.approx([4.877, 3.357, 2.680, 2.290, 2.031], abs=0.002)
    assert sequential.nominal_levels(0.05, (1.0,)) == pytest.approx((0.05,))


def test_simulated_error() -> None:
    """Brownian motion at looks after 3 to 10 seeds."""
    fractions = tuple(seeds / 10 for seeds in range(3, 11))
    bounds = norm.isf(np.array(sequential.nominal_levels(0.05, fractions)) / 2)
    noise = np.random.default_rng(0).normal(size=(200_000, 10)).cumsum(axis=1)[:, 2:]
    z = noise / np.sqrt(np.arange(3, 11))
    assert (abs(z) >= bounds).any(axis=1).mean() == pytest.approx(0.05, abs=0.0015)


@settings(deadline=None, max_examples=25)
@given(st.floats(1e-6, 0.5))
def test_one_look_at_the_end_costs_nothing(p: float) -> None:
    assert stats.sequential_p([p], [1.0]) == pytest.approx(p, rel=1e-4)


def test_a_sequential_p_value_is_the_level_that_just_rejects() -> None:
    looks = (0.3, 0.4, 0.5)
    nominal = sequential.nominal_levels(0.03, looks)
    assert stats.sequential_p([0.9, nominal[1], 0.9], looks) == pytest.approx(0.03, rel=1e-3)
    assert stats.sequential_p([0.9, 0.9, 0.9], looks) > 0.9
    assert stats.sequential_p([1e-15], [0.9]) == pytest.approx(0, abs=1e-9)


def test_conditional_power() -> None:
    """By hand: z = 1.5 at half of the information has a drift of 1.5 / sqrt(0.5)."""
    p = 2 * norm.sf(1.5)
    expected = norm.cdf((1.5 / 0.5**0.5 - 1.959964) / 0.5**0.5)
    assert stats.conditional_power(p, 0.5) == pytest.approx(expected)
    assert stats.conditional_power(0.04, 1.0) == 1.0
    assert stats.conditional_power(0.06, 1.0) == 0.0
    assert stats.conditional_power(0.9, 0.3) < 0.05 < 0.99 < stats.conditional_power(1e-6, 0.3)


@pytest.mark.parametrize(("power", "level"), [(None, 0.05), (0.8, 0.05), (0.5, 0.01)])
def test_expected_information_is_that_of_brownian_motion(power: float | None, level: float) -> None:
    looks = np.arange(3, 11) / 10
    drift = 0.0 if power is None else norm.isf(level / 2) + norm.ppf(power)
    steps = np.diff(looks, prepend=0)
    noise = np.random.default_rng(0).normal(size=(50_000, 8)) * np.sqrt(steps)
    z = (noise + drift * steps).cumsum(axis=1) / np.sqrt(looks)
    conditional = norm.cdf(
        (z[:, :-1] / np.sqrt(looks[:-1]) - norm.isf(level / 2)) / np.sqrt(1 - looks[:-1])
    )
    rejected = z >= norm.isf(np.array(sequential.nominal_levels(level, tuple(looks))) / 2)
    stopped = rejected[:, :-1] | (conditional < 0.1)
    last = np.where(stopped.any(axis=1), stopped.argmax(axis=1), 7)
    found = stats.expected_information(looks.tolist(), power, level, 0.1)
    assert found == pytest.approx(looks[last].mean(), abs=0.004)
    assert stats.expected_information([1.0], power, level, 0.1) == pytest.approx(1)
