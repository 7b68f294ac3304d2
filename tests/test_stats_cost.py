"""Known answers and identities of the statistics and of the cost model."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratiocine import cost, stats

ARMS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)


def test_wilson_known_answers() -> None:
    """Newcombe 1998, Statistics in Medicine 17, 857–872, table I: 81/263, 15/148, 0/20, 1/29."""
    for (right, n), expected in {
        (81, 263): (0.2553, 0.3662), (15, 148): (0.0624, 0.1605), (0, 20): (0.0, 0.1611), (1, 29): (0.0061, 0.1718),
    }.items():  # fmt: skip
        assert stats.wilson(right, n) == pytest.approx(expected, abs=5e-5)


@given(ARMS)
def test_paired_difference_is_antisymmetric_and_holds_its_estimate(arms: list[tuple[bool, bool]]) -> None:
    first, second = zip(*arms, strict=True)
    d, low, high = stats.paired_difference(first, second)
    assert -1 <= low <= d <= high <= 1
    assert stats.paired_difference(second, first) == pytest.approx((-d, -high, -low))
    assert d == pytest.approx(sum(second) / len(arms) - sum(first) / len(arms))


def test_paired_interval_covers() -> None:
    """Over simulated paired arms the interval holds the true difference about 95 % of the time."""
    rng = np.random.default_rng(0)
    cells = np.array([0.25, 0.25, 0.08, 0.42])  # both, only second, only first, neither
    hits = 0
    for counts in rng.multinomial(100, cells, size=1000):
        pairs = (
            [(True, True)] * counts[0]
            + [(False, True)] * counts[1]
            + [(True, False)] * counts[2]
            + [(False, False)] * counts[3]
        )
        _, low, high = stats.paired_difference(*zip(*pairs, strict=True))
        hits += low <= 0.17 <= high
    assert 930 <= hits <= 975


def test_pairing_narrows_the_interval_of_correlated_arms() -> None:
    first = [True] * 50 + [False] * 50
    second = [True] * 60 + [False] * 40
    _, low, high = stats.paired_difference(first, second)
    _, loose_low, loose_high = stats.paired_difference(first[::-1], second)
    assert high - low < 0.6 * (loose_high - loose_low)


def test_mcnemar_known_answers() -> None:
    def arms(gained: int, lost: int) -> tuple[list[bool], list[bool]]:
        return [False] * gained + [True] * lost + [True] * 7, [True] * gained + [False] * lost + [True] * 7

    assert stats.mcnemar(*arms(0, 0)) == 1.0
    assert stats.mcnemar(*arms(5, 0)) == pytest.approx(2 * 0.5**5)
    assert stats.mcnemar(*arms(8, 2)) == pytest.approx(2 * (1 + 10 + 45) / 1024)


def test_holm_known_answers() -> None:
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.holm([0.9, 0.8]) == [1.0, 1.0]


SMALL = cost.Shape(vocab=10, width=4, ff=8, heads=2, layers=1)


def test_forward_flops_counted_by_hand() -> None:
    """l=3, V=10, d=4, dff=8, h=2: embedding 240; q,k,v 288; scores 72; softmax 54; weighted sum 72; output 96; two
    feed-forward matrices 384; head 240."""
    assert cost.forward(SMALL, 3) == 240 + 288 + 72 + 54 + 72 + 96 + 384 + 240
    assert cost.training(SMALL, 3) == 3 * 1446
    assert cost.prefill(SMALL, 3) == 1446 - 240 + 80
    assert cost.decode_step(SMALL, 3) == 80 + (96 + 24 + 18 + 24 + 32) + 128 + 80


@given(st.integers(1, 40), st.integers(0, 40))
def test_generation_is_its_prefill_and_its_steps(prompt: int, generated: int) -> None:
    steps = [cost.decode_step(SMALL, prompt + i) for i in range(1, generated + 1)]
    assert cost.generation(SMALL, prompt, generated) == cost.prefill(SMALL, prompt) + sum(steps)
