"""Known answers and identities of the statistics and of the cost model."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratiocine import cost, stats

ARMS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)


def test_wilson_known_answers() -> None:
    """Newcombe 1998, Statistics in Medicine 17, 857–872, table I: 81/263, 15/148, 0/20, 1/29."""
    for (right, n), expected in {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }.items():
        assert stats.wilson(right, n) == pytest.approx(expected, abs=5e-5)


@given(ARMS)
def test_paired_difference_is_antisymmetric_and_holds_its_estimate(
    arms: list[tuple[bool, bool]],
) -> None:
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
        return [False] * gained + [True] * lost + [True] * 7, [True] * gained + [False] * lost + [
            True
        ] * 7

    assert stats.mcnemar(*arms(0, 0)) == 1.0
    assert stats.mcnemar(*arms(5, 0)) == pytest.approx(2 * 0.5**5)
    assert stats.mcnemar(*arms(8, 2)) == pytest.approx(2 * (1 + 10 + 45) / 1024)


def test_holm_known_answers() -> None:
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.holm([0.9, 0.8]) == [1.0, 1.0]


SMALL = cost.Shape(vocab=10, width=4, ff=8, heads=2, layers=1, kv_heads=1, head=2)


def test_forward_flops_counted_by_hand() -> None:
    """l=3, V=10, d=4, dff=8, h=2: embedding 240; q,k,v 288; scores 72; softmax 54; weighted sum 72;
    output 96; two feed-forward matrices 384; head 240."""
    assert cost.forward(SMALL, 3) == 240 + 288 + 72 + 54 + 72 + 96 + 384 + 240
    assert cost.training(SMALL, 3) == 3 * 1446
    assert cost.prefill(SMALL, 3) == 1446 - 240 + 80
    assert cost.decode_step(SMALL, 3) == 80 + (96 + 24 + 18 + 24 + 32) + 128 + 80


@given(st.integers(1, 400), st.integers(0, 300))
def test_generation_is_its_prefill_and_its_steps(prompt: int, generated: int) -> None:
    steps = [cost.decode_step(SMALL, prompt + i) for i in range(1, generated + 1)]
    assert cost.generation(SMALL, prompt, generated) == cost.prefill(SMALL, prompt) + sum(steps)


@given(st.integers(0, 60), st.integers(1, 60))
@settings(deadline=None, max_examples=25)
def test_wilson_and_mcnemar_are_statsmodels(right: int, more: int) -> None:
    from statsmodels.stats.contingency_tables import mcnemar
    from statsmodels.stats.proportion import proportion_confint

    n = right + more
    assert stats.wilson(right, n) == pytest.approx(
        proportion_confint(right, n, method="wilson"), abs=1e-12
    )
    first, second = [False] * right + [True] * more, [True] * right + [False] * more
    assert stats.mcnemar(first, second) == pytest.approx(
        mcnemar([[0, more], [right, 0]], exact=True).pvalue
    )


def test_holm_is_statsmodels() -> None:
    from statsmodels.stats.multitest import multipletests

    rng = np.random.default_rng(0)
    for n in (1, 2, 7, 40):
        values = [*(rng.random(n) ** 4).tolist(), 0.01, 0.01]
        assert stats.holm(values) == pytest.approx(multipletests(values, method="holm")[1])


def test_the_bootstrap_is_scipys() -> None:
    from scipy.stats import bootstrap, permutation_test

    rng = np.random.default_rng(1)
    first, second = rng.integers(0, 5, 80) / 4, rng.integers(1, 5, 80) / 4
    mean, low, high = stats.macro_average([first.tolist()])
    theirs = bootstrap(
        (first,), np.mean, method="percentile", n_resamples=20_000, rng=2
    ).confidence_interval
    assert (mean, low, high) == pytest.approx((first.mean(), *theirs), abs=0.006)
    difference, low, high, _ = stats.compare(first.tolist(), second.tolist())
    theirs = bootstrap(
        (second - first,), np.mean, method="percentile", n_resamples=20_000, rng=2
    ).confidence_interval
    assert (difference, low, high) == pytest.approx(((second - first).mean(), *theirs), abs=0.008)
    weak = first.copy()
    weak[:20] = second[:20]
    theirs = permutation_test(
        (weak, first),
        lambda a, b, axis: np.mean(a - b, axis),
        permutation_type="samples",
        vectorized=True,
        rng=3,
    )
    assert stats.compare(first.tolist(), weak.tolist())[3] == pytest.approx(theirs.pvalue, abs=0.02)


def test_single_answers_get_the_exact_tests() -> None:
    first, second = [0.0, 1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0, 0.0]
    a, b = [v == 1 for v in first], [v == 1 for v in second]
    assert stats.compare(first, second) == (*stats.paired_difference(a, b), stats.mcnemar(a, b))
    assert stats.interval(first) == stats.wilson(2, 5)


def test_a_macro_average_counts_each_benchmark_alike() -> None:
    mean, low, high = stats.macro_average([[1.0] * 1000, [0.0, 1.0, 0.0, 0.0]])
    assert mean == pytest.approx(0.625)
    assert 0.5 <= low < 0.625 < high <= 1.0
    assert stats.macro_average([[1.0] * 9]) == (1.0, 1.0, 1.0)


@given(st.lists(st.booleans(), min_size=1, max_size=9), st.data())
def test_pass_at_k_is_the_share_of_subsets_that_hold_a_right_one(
    rights: list[bool], data: st.DataObject
) -> None:
    from itertools import combinations

    k = data.draw(st.integers(1, len(rights)))
    subsets = list(combinations(rights, k))
    assert stats.pass_at_k(len(rights), sum(rights), k) == pytest.approx(
        sum(map(any, subsets)) / len(subsets)
    )


def test_majority_known_answers() -> None:
    assert stats.majority([("4", True), ("5", False), ("4", True)]) == 1.0
    assert stats.majority([("4", True), ("5", False)]) == 0.5
    assert stats.majority([("5", False), ("6", False), ("5", False), ("4", True)]) == 0.0
    assert stats.majority([]) == 0.0


def test_exact_flops_are_what_torch_counts() -> None:
    """torch counts every product of a query and a key; the exact form only those that the causal
    mask leaves."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from ratiocine import models

    model = models.load_model(
        models.ModelConfig(name="tiny", kind="tiny"), "cpu", attention="eager"
    )
    model.set_attn_implementation("eager")
    shape, n = cost.Shape.of(model.config), 23
    assert (shape.kv_heads, shape.heads, shape.head, shape.gated) == (2, 4, 16, True)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        cache = model(input_ids=torch.arange(n)[None], logits_to_keep=1).past_key_values
    masked = 4 * shape.layers * shape.heads * shape.head * (n * n - n * (n + 1) // 2)
    rotary = 2 * n * shape.head // 2
    assert counter.get_total_flops() == pytest.approx(
        cost.exact_forward(shape, 0, n, 1) + masked, abs=rotary
    )
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_ids=torch.tensor([[5]]), past_key_values=cache)
    assert counter.get_total_flops() == pytest.approx(
        cost.exact_forward(shape, n, n + 1, 1), abs=shape.head
    )
    whole = cost.exact_generation(shape, n, 3)
    assert whole == cost.exact_forward(shape, 0, n, 1) + sum(
        cost.exact_forward(shape, n + i, n + i + 1, 1) for i in range(2)
    )
    assert cost.exact_training(shape, n, 4) == 3 * cost.exact_forward(shape, 0, n, 4)
