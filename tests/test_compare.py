"""Two arms of training over their seeds: known answers, and the real command over evaluations with
known counts."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import command, done
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import f as f_dist
from scipy.stats import t as student_t
from statsmodels.stats.proportion import proportion_confint
from test_report import evaluation

from ratiocine import stats
from ratiocine.stats import PairedDifference, moderation
from ratiocine.stats.components import (
    SMALLEST_P,
    Components,
    Pool,
    level_reaching,
    squared_half_width,
)

TABLES = st.integers(1, 4).flatmap(
    lambda n: st.lists(
        st.lists(st.tuples(st.booleans(), st.booleans()), min_size=n, max_size=n),
        min_size=1,
        max_size=4,
    )
)


def sides(table: list) -> tuple[list[list[int]], list[list[int]]]:
    return tuple([[int(cell[side]) for cell in row] for row in table] for side in (0, 1))


@settings(deadline=None, max_examples=50)
@given(TABLES)
def test_a_difference_lies_in_its_interval_and_turns_with_its_sides(table: list) -> None:
    first, second = sides(table)
    difference, low, high, p = stats.compare_seeds(first, second)
    assert difference == pytest.approx(np.mean(second) - np.mean(first))
    assert -1 <= low <= difference + 1e-9
    assert difference - 1e-9 <= high <= 1
    assert 0 < p <= 1
    assert stats.compare_seeds(second, first)[0] == pytest.approx(-difference)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30), st.integers(1, 3)
)
def test_seeds_that_say_the_same_say_what_one_says(row: list, n_seeds: int) -> None:
    """However often it is copied: few problems are few."""
    first, second = sides([row])
    assert stats.compare_seeds(first * n_seeds, second * n_seeds) == pytest.approx(
        stats.compare(first[0], second[0])
    )


def test_seeds_whose_means_happen_to_be_equal_are_no_copies() -> None:
    """They agree on the mean and on no problem: that is not known as well as by the problems
    alone."""
    before, after = np.zeros((2, 100)), np.zeros((2, 100))
    after[0, :20] = after[1, 20:40] = 1
    means = after.mean(axis=0).tolist()
    apart, alike = (
        stats.compare_seeds(before.tolist(), after.tolist()),
        stats.compare([0.0] * 100, means),
    )
    assert apart[0] == alike[0] == pytest.approx(0.2)
    assert apart[3] > 0.005 > 10 * alike[3]


def test_few_problems_decide_nothing() -> None:
    _, low, high, p = stats.compare_seeds([[0, 0, 0]] * 2, [[1, 1, 1]] * 2)
    assert low < 0.5 < high
    assert p == 0.25


SHARES = st.integers(1, 12).flatmap(
    lambda n: st.lists(
        st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=n, max_size=n),
        min_size=1,
        max_size=3,
    )
)


@settings(deadline=None, max_examples=80)
@given(SHARES, st.booleans())
def test_no_interval_decides_what_the_test_does_not(table: list, binary: bool) -> None:
    """Of answers given once or sampled four times; and none is without width."""
    scale = 1 if binary else 4
    first, second = (
        [[min(cell[side], scale) / scale for cell in row] for row in table] for side in (0, 1)
    )
    difference, low, high, p = stats.compare_seeds(first, second)
    assert low <= difference + 1e-9 and difference - 1e-9 <= high
    assert high - low > 1e-6
    assert p < 0.05 or low <= 0 <= high


def test_values_that_are_all_alike_are_not_certain() -> None:
    for first, second in (([[0.5]] * 2, [[0.0]] * 2), ([[0.25, 0.5, 0.0]], [[0.5, 0.75, 0.25]])):
        _, low, high, p = stats.compare_seeds(first, second)
        assert p > 0.2
        assert low < -0.4 < 0.4 < high
    _, low, high, p = stats.compare_seeds([[0.25] * 100], [[0.5] * 100])
    assert (low, high) == pytest.approx((0.203, 0.279), abs=0.001)
    assert p < 0.001
    low, high = stats.interval([0.5] * 3)
    assert low < 0.25 < 0.75 < high


def by_hand(table: np.ndarray, level: float) -> float:
    """How far the mean may be off, from the sums of squares of a two-arm table without
    repetition."""
    n_seeds, n = table.shape
    seeds = n * ((table.mean(axis=1) - table.mean()) ** 2).sum()
    problems = n_seeds * ((table.mean(axis=0) - table.mean()) ** 2).sum()
    rest = ((table - table.mean()) ** 2).sum() - seeds - problems
    of_seeds, of_problems, of_both = (
        seeds / (n_seeds - 1),
        problems / (n - 1),
        rest / (n_seeds - 1) / (n - 1),
    )
    t_seeds, t_problems, t_usual = (
        student_t.ppf(1 - tail / 2, free)
        for tail, free in ((level, n_seeds - 1), (level, n - 1), (0.05, n_seeds - 1))
    )
    twice = min(t_seeds, t_usual) ** 2 * of_both * (n_seeds - 2) / (n_seeds - 1)
    return math.sqrt(
        (t_problems**2 * of_problems + max(0, t_seeds**2 * of_seeds - twice)) / table.size
    )


def test_known_components() -> None:
    """Seeds of +0.4, +0.25 and +0.1 over the same 200 problems."""
    table = np.array([[1] * 80 + [0] * 120, [1] * 50 + [0] * 150, [1] * 20 + [0] * 180])
    difference, low, high, p = stats.compare_seeds(np.zeros((3, 200)).tolist(), table.tolist())
    reach = by_hand(table, 0.05)
    assert difference == pytest.approx(0.25)
    assert (low, high) == pytest.approx((0.25 - reach, 0.25 + reach))
    assert 0.35 < reach < 0.4, (
        "3 seeds that differ so much: Student's t of 2 degrees of freedom, 4.30 times 0.087"
    )
    assert by_hand(table, p) == pytest.approx(0.25)
    assert 0.05 < p < 0.2
    assert stats.over_seeds(table.tolist())[1:] == pytest.approx(effective(0.25, reach))


def effective(mean: float, reach: float) -> tuple[float, float]:
    """Wilson's interval for so many answers that the mean would be as uncertain."""
    n = stats.Z95**2 * mean * (1 - mean) / reach**2
    return proportion_confint(mean * n, n, method="wilson")


def test_two_seeds_decide_what_is_large_alone() -> None:
    """A quantile of 12.7 for what differs between them."""
    far = np.array([[1] * 80 + [0] * 120, [1] * 20 + [0] * 180])
    difference, low, high, p = stats.compare_seeds(np.zeros((2, 200)).tolist(), far.tolist())
    assert (difference, low, high) == (0.25, -1.0, 1.0)
    assert p > 0.3
    close = np.array([[1] * 120 + [0] * 80, [1] * 118 + [0] * 82])
    assert stats.compare_seeds(np.zeros((2, 200)).tolist(), close.tolist())[1] > 0.4


def test_a_p_value_says_what_the_interval_says() -> None:
    rng, decided = np.random.default_rng(0), 0
    for effect in np.linspace(0, 0.4, 60):
        second = rng.random((3, 60)) < 0.3 + effect + rng.normal(0, 0.03, size=(3, 1))
        _, low, high, p = stats.compare_seeds((rng.random((3, 60)) < 0.3).tolist(), second.tolist())
        decided += low > 0
        assert (p < 0.05) == (low > 0 or high < 0) or abs(p - 0.05) < 0.02
    assert 15 < decided < 45


def posterior_tail(ratios: list[float], own: int, at: int, of_both: float, squared: float) -> float:
    """The chance that a mean over seeds is off by more, by brute force: for each scale and d0 of
    the prior, Smyth's posterior variance and degrees of freedom, or the comparison's own where it
    is an outlier."""
    total = found = 0.0
    half_width = math.sqrt(squared)
    for d0 in moderation.FREEDOMS:
        for log_scale in np.linspace(-3, 3, moderation.LOG_SCALES):
            scale = float(np.median(ratios)) * math.exp(log_scale)
            inside = [0.95 * f_dist.pdf(ratio / scale, own, d0) / scale for ratio in ratios]
            outside = [0.05 / ratio / math.log(1e4) for ratio in ratios]
            weight = math.prod(a + b for a, b in zip(inside, outside, strict=True)) / math.sqrt(d0)
            known = min(d0, own * (len(ratios) - 1))
            variance = (known * scale + own * ratios[at]) / (known + own) * of_both
            pooled = student_t.sf(half_width / math.sqrt(variance), known + own)
            alone = student_t.sf(half_width / math.sqrt(ratios[at] * of_both), own)
            outlier = outside[at] / (inside[at] + outside[at])
            found += weight * 2 * ((1 - outlier) * pooled + outlier * alone)
            total += weight
    return found / total


def test_pooled_variance_between_seeds() -> None:
    of_both, ratios = 1e-4, [0.5, 0.8, 1.0, 1.5, 40.0]
    alone = [Components(3, 100, 5e-4, ratio * of_both, of_both) for ratio in ratios]
    pooled = moderation.pool(alone)
    for at, one in enumerate(pooled):
        assert one is not None and one.pool is not None
        assert one.pool.tail(4e-4) == pytest.approx(posterior_tail(ratios, 2, at, of_both, 4e-4))
        squared = one.pool.squared_quantile(0.01)
        assert one.pool.tail(squared) == pytest.approx(0.01, rel=1e-5)
    pools = [one.pool for one in pooled if one and one.pool]
    assert pools[4].outlier > 0.3 > 0.1 > max(pool.outlier for pool in pools[:4])
    own = Pool(5, 1, 1, np.ones(1), np.array([40 * of_both]), np.array([2.0]))
    assert pools[4].squared_quantile(0.05) > 0.2 * own.squared_quantile(0.05)
    assert pools[0].squared_quantile(0.05) < 0.1 * 40 * of_both * student_t.ppf(0.975, 2) ** 2


@pytest.mark.parametrize("seeds", [2, 3])
@pytest.mark.parametrize("of_problems", [0.0, 5e-4])
def test_the_level_that_reaches_a_half_width(seeds: int, of_problems: float) -> None:
    ratios = [0.5, 0.8, 1.0, 1.5, 40.0]
    alone = [Components(seeds, 100, of_problems, ratio * 1e-4, 1e-4) for ratio in ratios]
    for one in (*alone, *moderation.pool(alone)):
        assert one is not None
        for level in (0.5, 0.05, 1e-3, 1e-8):
            squared = squared_half_width(one, level)
            if squared:  # at a level of 0.5 the interaction may be more than the seeds
                assert level_reaching(one, squared) == pytest.approx(level, rel=1e-4)
        assert level_reaching(one, 0.0) == 1
        if of_problems:
            assert level_reaching(one, 1e-40) == pytest.approx(1)
        assert level_reaching(one, 1e40) == SMALLEST_P


def test_few_comparisons_are_not_pooled() -> None:
    found = [Components(3, 100, 5e-4, 1e-4, 1e-4)] * 3
    assert moderation.pool([None, *found]) == [None, *found]
    *pooled, none = moderation.pool([*found, *found, None])
    assert none is None
    assert all(one and one.pool and one.pool.size == 6 for one in pooled)


def test_a_pooled_difference_keeps_its_own_interval() -> None:
    rng = np.random.default_rng(0)
    tables = [(rng.random((2, 3, 100)) < 0.5).astype(int).tolist() for _ in range(6)]
    alone = [PairedDifference.of(*table) for table in tables]
    pooled = stats.pooled(alone, kinds=["mc"] * 5 + ["oe"])
    assert [one.pool is None for one in pooled] == [False] * 5 + [True]
    assert pooled[5] == alone[5]
    for one, before in zip(pooled, alone, strict=True):
        assert one.alone == (before.low, before.high, before.p)
    widths = [np.mean([one.high - one.low for one in found[:5]]) for found in (pooled, alone)]
    assert widths[0] < widths[1]


@settings(deadline=None, max_examples=50)
@given(TABLES)
def test_an_accuracy_lies_in_its_interval_which_is_no_narrower_than_that_of_one_seed(
    table: list,
) -> None:
    _, own = sides(table)
    mean, low, high = stats.over_seeds(own)
    assert mean == pytest.approx(np.mean(own))
    assert 0 <= low <= mean <= high <= 1
    least = stats.interval(np.mean(own, axis=0).tolist())
    assert low <= least[0]
    assert high >= least[1]
    assert stats.over_seeds(own[:1])[1:] == stats.interval(own[0])


@pytest.mark.parametrize(
    ("n_seeds", "n", "apart"), [(2, 800, 0.1), (3, 400, 0.05), (3, 100, 0.0), (5, 400, 0.05)]
)
def test_the_interval_covers_over_seeds_and_problems(n_seeds: int, n: int, apart: float) -> None:
    """Also where seeds differ more than problems do."""
    rng, hits = np.random.default_rng(0), 0
    for _ in range(200):
        chances = 0.4 + rng.normal(0, apart, size=(n_seeds, 1)) + rng.normal(0, 0.1, size=(1, n))
        second = (rng.random((n_seeds, n)) < chances).astype(int)
        _, low, high, _ = stats.compare_seeds([[0] * n] * n_seeds, second.tolist())
        hits += low <= 0.4 <= high
    assert hits >= 178


def test_the_command(tmp_path: Path) -> None:
    direct = [
        str(evaluation(tmp_path / f"d{seed}", 0.0, sums, 10, seed=seed))
        for seed, sums in ((0, 4), (1, 8))
    ]
    traces = [
        str(evaluation(tmp_path / f"r{seed}", 1.0, sums, 10, seed=seed))
        for seed, sums in ((0, 24), (1, 20))
    ]
    shown = done("eval.compare", *traces, "--against", *direct, "--out", str(tmp_path / "c.json"))
    found = {
        row["group"]: row for row in json.loads((tmp_path / "c.json").read_text())["differences"]
    }
    assert list(found) == ["names", "sums", "general-mc", "math-oe", "all"]
    assert found["sums"]["difference"] == pytest.approx((20 + 12) / 80)
    assert found["sums"]["by_seed"] == [0.5, 0.3]
    assert (found["sums"]["base"], found["sums"]["accuracy"]) == (0.15, 0.55)
    assert found["names"]["p_holm"] == 1
    assert found["sums"]["p_holm"] == pytest.approx(2 * found["sums"]["p"]), (
        "adjusted within its two benchmarks"
    )
    assert json.loads((tmp_path / "c.json").read_text())["seeds"] == [0, 1]
    assert (found["names"]["difference"], found["names"]["p_holm"]) == (0, 1)
    assert "+40.0 (" in shown
    assert "+50.0 +30.0" in shown
    assert re.search(r"against: .*ratio 0\nthese: .*ratio 1\n", shown)
    assert "Holm's adjustment over 2 benchmarks, and over 2 categories and all problems." in shown


def test_what_is_no_pair_is_refused(tmp_path: Path) -> None:
    base, again = (
        str(evaluation(tmp_path / name, None, 1, 1, max_new_tokens=limit))
        for name, limit in (("base", 64), ("again", 65))
    )
    late = str(evaluation(tmp_path / "late", 1.0, 1, 1, seed=1, max_new_tokens=65))
    one, two, other = (
        str(evaluation(tmp_path / str(at), ratio, 1, 1, seed=seed))
        for at, (ratio, seed) in enumerate(((0.0, 0), (1.0, 0), (1.0, 1)))
    )
    assert "by seed" in done("eval.compare", two, other, "--against", base)
    for words, message in (
        ((one, "--against", two, other), "1 evaluation against 2: give one counterpart for each"),
        ((one, "--against", other), "an evaluation of seed 0 has one of seed 1 as its counterpart"),
        ((one, "--against", one), f"{one} is on both sides; --against names the other arm"),
        ((one, one, "--against", two, two), "seed 0 occurs twice"),
        ((base, base, "--against", again, again), "one evaluation is given twice"),
        ((one, other, "--against", two, late), "one side holds ratio 0 and ratio 1"),
        (
            (two, other, "--against", one),
            "alone is against 2 evaluations, but was trained, and not all of them started from it",
        ),
    ):
        refused = command("eval.compare", *words)
        assert refused.returncode == 2
        assert message in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
