"""The laws of the mixture, over random sizes, ids, ratios and seeds."""

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from train.mixture import balanced, mix, n_reasoning

IDS = st.dictionaries(
    st.text(min_size=1, max_size=8),
    st.sampled_from(["general-mc", "general-oe", "math-mc", "math-oe", "code"]),
    min_size=1,
    max_size=80,
)
RATIO = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), st.floats(0, 1))
SEED = st.integers(0, 2**31)


@given(IDS, RATIO, SEED)
def test_the_count_is_exact(categories: dict[str, str], ratio: float, seed: int) -> None:
    mixture = mix(categories, ratio, seed)
    n = len(categories)
    assert len(mixture.reasoning) == n_reasoning(n, ratio)
    assert abs(len(mixture.reasoning) - Fraction(str(ratio)) * n) <= Fraction(1, 2)
    assert mixture.reasoning <= set(categories)


def test_halves_round_up_on_the_decimal_typed() -> None:
    assert [n_reasoning(10, r) for r in (0, 0.04, 0.05, 0.15, 0.25, 0.5, 0.95, 1)] == [
        0,
        0,
        1,
        2,
        3,
        5,
        10,
        10,
    ]
    assert n_reasoning(7473, 0.5) == 3737


@given(IDS, RATIO, RATIO, SEED)
def test_lower_ratios_are_nested_in_higher_ones(
    categories: dict[str, str], a: float, b: float, seed: int
) -> None:
    low, high = sorted([a, b])
    assert mix(categories, low, seed).reasoning <= mix(categories, high, seed).reasoning


@given(IDS, RATIO, RATIO, SEED, st.integers(1, 9), st.integers(0, 3))
def test_every_ratio_has_the_same_batches(
    categories: dict[str, str], a: float, b: float, seed: int, size: int, epoch: int
) -> None:
    first, second = mix(categories, a, seed), mix(categories, b, seed)
    assert first.order == second.order
    batches = first.batches(size, epoch, seed)
    assert batches == second.batches(size, epoch, seed)
    assert sorted(i for batch in batches for i in batch) == sorted(categories)
    assert all(len(batch) == size for batch in batches[:-1])


@given(IDS, RATIO, SEED, st.randoms())
def test_the_order_of_the_input_does_not_matter(
    categories: dict[str, str], ratio: float, seed: int, rng
) -> None:
    items = list(categories.items())
    rng.shuffle(items)
    assert mix(dict(items), ratio, seed) == mix(categories, ratio, seed)


@given(IDS, SEED)
@settings(max_examples=200)
def test_every_prefix_is_within_one_item_of_each_category(
    categories: dict[str, str], seed: int
) -> None:
    """Of the first k problems in reasoning format each category has k·n_c/n to less than one item,
    for every k."""
    sequence, n = balanced(categories, seed), len(categories)
    assert sorted(sequence) == sorted(categories)
    for category in set(categories.values()):
        size = sum(c == category for c in categories.values())
        count = 0
        for k, problem_id in enumerate(sequence, 1):
            count += categories[problem_id] == category
            assert abs(count - Fraction(k * size, n)) < 1


def test_a_lopsided_set_stays_within_one_item() -> None:
    """Where the largest remainder and even spacing both fail: one big category and many of one
    item."""
    categories = {f"big{i}": "big" for i in range(97)} | {
        f"small{i}": f"small{i}" for i in range(9)
    }
    sequence = balanced(categories, 0)
    for k in range(1, len(sequence) + 1):
        assert abs(sum(categories[i] == "big" for i in sequence[:k]) - k * 97 / 106) < 1


def test_another_seed_is_another_mixture() -> None:
    categories = {str(i): "math-oe" for i in range(100)}
    first, second = mix(categories, 0.5, 0), mix(categories, 0.5, 1)
    assert first.reasoning != second.reasoning
    assert first.order != second.order
    assert first.batches(10, 0, 0) != first.batches(10, 1, 0)


def test_which_problems_reason_is_independent_of_their_place_in_training() -> None:
    categories = {str(i): "math-oe" for i in range(1000)}
    mixture = mix(categories, 0.5, 0)
    early = sum(i in mixture.reasoning for i in mixture.order[:500])
    assert 200 < early < 300
