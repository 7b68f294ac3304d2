"""Two ways of training over their seeds: known answers, and the real command over evaluations with known counts."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from conftest import command, done
from hypothesis import given, settings
from hypothesis import strategies as st
from test_report import arm

from ratiocine.stats import compare_seeds

TABLES = st.integers(1, 4).flatmap(
    lambda n: st.lists(st.lists(st.sampled_from([-1, 0, 1]), min_size=n, max_size=n), min_size=1, max_size=4)
)


@settings(deadline=None, max_examples=50)
@given(TABLES)
def test_a_difference_lies_in_its_interval_and_turns_with_its_sides(table: list[list[int]]) -> None:
    difference, low, high, p = compare_seeds(table)
    assert difference == pytest.approx(np.mean(table))
    assert low - 1e-9 <= difference <= high + 1e-9
    assert 0 < p <= 1
    assert compare_seeds([[-value for value in row] for row in table])[0] == pytest.approx(-difference)


def test_one_seed_has_the_spread_of_its_problems() -> None:
    """200 problems of which 50 are gained: a standard error of sqrt(0.25·0.75/200)."""
    difference, low, high, p = compare_seeds([[1] * 50 + [0] * 150])
    assert difference == 0.25
    assert (high - low) / 2 == pytest.approx(1.96 * math.sqrt(0.25 * 0.75 / 200), rel=0.05)
    assert p < 0.001


def test_seeds_that_differ_widen_the_interval() -> None:
    """The same mean; seeds of 0.4 and 0.1 have a standard error of 0.15 of their own."""
    alike = compare_seeds([[1] * 50 + [0] * 150, [1] * 50 + [0] * 150])
    apart = compare_seeds([[1] * 80 + [0] * 120, [1] * 20 + [0] * 180])
    assert alike[0] == apart[0] == 0.25
    assert alike[1] > 0.15
    assert apart[1] < 0.1
    assert apart[2] - apart[1] > 2 * (alike[2] - alike[1])


def test_the_interval_covers_over_seeds_and_problems() -> None:
    rng, hits = np.random.default_rng(0), 0
    for _ in range(400):
        chances = 0.3 + rng.normal(0, 0.05, size=(4, 1)) + rng.normal(0, 0.1, size=(1, 150))
        _, low, high, _ = compare_seeds((rng.random((4, 150)) < chances).astype(float).tolist())
        hits += low <= 0.3 <= high
    assert hits >= 350  # four seeds are few for a percentile interval: 0.88 and more of a nominal 0.95


def test_the_command(tmp_path: Path) -> None:
    direct = [str(arm(tmp_path / f"d{seed}", 0.0, sums, 10, seed=seed)) for seed, sums in ((0, 4), (1, 8))]
    traces = [str(arm(tmp_path / f"r{seed}", 1.0, sums, 10, seed=seed)) for seed, sums in ((0, 24), (1, 20))]
    shown = done("eval.compare", *traces, "--against", *direct, "--out", str(tmp_path / "c.json"))
    found = {row["group"]: row for row in json.loads((tmp_path / "c.json").read_text())["changes"]}
    assert list(found) == ["names", "sums", "general-mc", "math-oe", "all"]
    assert found["sums"]["difference"] == pytest.approx((20 + 12) / 80)
    assert found["sums"]["by_seed"] == [0.5, 0.3]
    assert found["sums"]["low"] > 0
    assert (found["names"]["difference"], found["names"]["p_adjusted"]) == (0, 1)
    assert "+40.0 (" in shown
    assert "+50.0 +30.0" in shown


def test_what_is_no_pair_is_refused(tmp_path: Path) -> None:
    one, two, other = (
        str(arm(tmp_path / str(at), ratio, 1, 1, seed=seed)) for at, (ratio, seed) in enumerate(((0.0, 0), (1.0, 0), (1.0, 1)))
    )
    for words, message in (
        ((one, "--against", two, other), "1 evaluations against 2: each needs its counterpart"),
        ((one, "--against", other), "an evaluation of seed 0 has one of seed 1 as its counterpart"),
        ((one, one, "--against", two, two), "seed 0 occurs twice"),
    ):
        refused = command("eval.compare", *words)
        assert refused.returncode == 2
        assert message in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
