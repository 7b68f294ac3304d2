"""How many problems and seeds a comparison needs: known answers, properties, and the real
command."""

from pathlib import Path

import numpy as np
import pytest
from conftest import command, done
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import nct
from scipy.stats import t as student_t
from test_report import evaluation

from eval import power
from ratiocine.stats import sample_size


def test_known_numbers_of_problems() -> None:
    """Without noise of seeds and with very many of them it is a z-test; two students are compared
    by McNemar's test, whose usual approximation (Connor, Biometrics 43, 1987) asks for a little
    less than the exact one."""
    difference, discordant = 0.1, 0.3
    z = 1.95996 + 0.84162
    assert sample_size.problems_needed(
        difference, discordant, 0.0, 1000, common=1.0
    ) == pytest.approx(z**2 * (discordant - difference**2) / difference**2, rel=0.02)
    connor = (
        1.95996 * discordant**0.5 + 0.84162 * (discordant - difference**2) ** 0.5
    ) ** 2 / difference**2
    assert connor < sample_size.problems_needed(difference, discordant, 0.0, 1) < 1.15 * connor


def test_seeds_that_vary_set_a_limit() -> None:
    assert sample_size.problems_needed(0.05, 0.3, 0.05, 3) is None
    assert sample_size.problems_needed(0.05, 0.3, 0.05, 1) == sample_size.problems_needed(
        0.05, 0.3, 0.0, 1
    ), "one seed says nothing of others"
    assert sample_size.problems_needed(0.2, 0.3, 0.02, 3) is not None


def test_what_endless_problems_leave_is_a_t_test_of_seeds() -> None:
    crit, limit = student_t.ppf(0.975, 4), 0.05 / (0.02 * (2 / 5) ** 0.5)
    most = nct.sf(crit, 4, limit)
    assert 0.5 < most < 0.95
    assert sample_size.problems_needed(0.05, 0.3, 0.02, 5, power=most - 0.02) is not None
    assert sample_size.problems_needed(0.05, 0.3, 0.02, 5, power=most + 0.02) is None


def test_seeds_that_do_not_differ_ask_for_problems_alone() -> None:
    z = 1.95996 + 0.84162
    for seeds in (1, 3):
        assert sample_size.problems_needed(1e-4, 0.3, 0.0, seeds, common=1.0) == pytest.approx(
            z**2 * 0.3 / 1e-8, rel=0.25
        )


def test_what_goes_with_all_seeds_has_none_of_its_own() -> None:
    """All that differs between seeds is then that of one arm."""
    rng = np.random.default_rng(0)
    level = 0.5 + rng.normal(0, 0.05, size=(400, 1))
    second = (rng.random((400, 1000)) < level).astype(int).tolist()
    first = [(rng.random(1000) < 0.3).astype(int).tolist()] * 400
    found = sample_size.spread(first, second, 1)
    assert found.seed_sd == pytest.approx(0.05, abs=0.005)
    both, one = (
        sample_size.problems_needed(0.1, 0.5, 0.02, 5, varying=varying) for varying in (2, 1)
    )
    assert both is not None and one is not None and one < both
    assert one == sample_size.problems_needed(0.1, 0.5, 0.02 / 2**0.5, 5)


@settings(deadline=None, max_examples=8)
@given(st.floats(0.05, 0.3), st.floats(0.3, 0.6), st.floats(0, 0.02), st.integers(3, 8))
def test_more_of_everything_never_needs_more(
    difference: float, discordant: float, seed_sd: float, seeds: int
) -> None:
    def problems(**other: float) -> float:
        words = {
            "difference": difference,
            "discordant": discordant,
            "seed_sd": seed_sd,
            "seeds": seeds,
        } | other
        return sample_size.problems_needed(**words) or float("inf")

    here = problems()
    assert problems(difference=-difference) == here
    assert problems(seeds=seeds + 1) <= here
    assert problems(seed_sd=seed_sd + 0.01) >= here
    assert problems(power=0.9) >= here
    assert problems(level=0.01) >= here
    assert problems(difference=difference * 0.9) >= here


def test_the_table_says_what_it_assumes_and_means() -> None:
    shown = done("eval.power", "--difference", "0.1", "--seeds", "4")
    needed = sample_size.problems_needed(0.1, 0.5 + 0.6 - 2 * (0.3 + 0.3 * 0.06**0.5), 0.02, 4)
    assert f"    4   {needed:,}\n" in shown
    assert shown.count("assumed by default") == 4
    assert f"{needed:,} problems with 4 seeds per arm find it in 80 of 100 studies" in shown
    assert "    2   no number: 2 seeds estimate their variance with 1 degree of freedom" in shown
    assert "other seeds are not covered" in shown
    assert "vary too much" not in done("eval.power", "--difference", "0.0001", "--seed-sd", "0")
    text = done(
        "eval.power",
        "--difference",
        "0.1",
        "--accuracy",
        "0.5",
        "--correlation",
        "0.3",
        "--seed-sd",
        "0.02",
    )
    assert text.count("assumed") == 1
    assert "with 3 seeds per arm" in text


def test_the_smallest_difference_is_the_inverse() -> None:
    """The difference that so many problems find needs at most these, and one step less more."""
    shown = done("eval.power", "--problems", "300", "--accuracy", "0.4", "--seeds", "3")
    rows = dict(line.split()[:2] for line in shown.splitlines() if line[:5].strip().isdigit())
    assert list(rows) == ["1", "2", "3", "5", "10"]
    assert rows["2"] == "none" or float(rows["2"]) > float(rows["3"]) > float(rows["10"])
    found = float(rows["3"]) / 100

    def needed(difference: float) -> int | None:
        options = power.parser().parse_args(["--difference", str(difference), "--accuracy", "0.4"])
        setting = power.assumed(options, difference)
        return sample_size.problems_needed(
            difference, setting.discordant, setting.seed_sd, 3, common=setting.common
        )

    enough, before = needed(found), needed(found - 0.001)
    assert enough is not None and enough <= 300
    assert before is None or before > 300


def test_a_pilot_is_measured(tmp_path: Path) -> None:
    first = [
        str(evaluation(tmp_path / f"d{seed}", 0.0, sums, 10, seed=seed))
        for seed, sums in ((0, 4), (1, 8), (2, 6))
    ]
    second = [
        str(evaluation(tmp_path / f"r{seed}", 1.0, sums, 10, seed=seed))
        for seed, sums in ((0, 24), (1, 20), (2, 22))
    ]
    shown = done("eval.power", "--difference", "0.05", "--pilot", *second, "--against", *first)
    assert "the two differ on 27% of 60 problems (measured, a rough estimate)" in shown
    assert "(measured from 3 seeds" in shown
    assert "assumed" not in shown
    alone = done("eval.power", "--difference", "0.3", "--pilot", second[0], "--against", first[0])
    assert "the two differ on 33% of 60 problems (measured, a rough estimate)" in alone
    assert alone.count("assumed") == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--difference", "0"], "--difference 0: it should be between -1 and 1 and not 0"),
        (["--difference", "1.5"], "--difference 1.5"),
        (["--problems", "0"], "--problems 0: it should be from 1 to 10,000,000"),
        (["--difference", "nan"], "--difference nan"),
        (["--difference", "0.1", "--accuracy", "1"], "--accuracy 1 is not between 0 and 1"),
        (
            ["--difference", "0.3", "--accuracy", "0.8"],
            "--accuracy 0.8 with --difference 0.3 is an accuracy of 1.1",
        ),
        (
            ["--difference", "0.3", "--correlation", "0.9"],
            "--correlation 0.9: accuracies of 0.5 and 0.8 allow -0.50 to 0.50",
        ),
        (["--difference", "0.3", "--agreement", "0.5"], "--agreement is now --correlation"),
        (["--difference", "0.3", "--power", "1"], "--power 1 is not between 0 and 1"),
        (["--difference", "0.3", "--seeds", "0"], "--seeds 0: it should be from 1 to 1,000"),
        (["--difference", "0.3", "--seeds", "1" + "0" * 32], "it should be from 1 to 1,000"),
        (
            ["--difference", "0.3", "--comparisons", "1" + "0" * 400],
            "it should be from 1 to 1,000,000",
        ),
        (
            ["--difference", "1e-7"],
            "--difference 1e-07: it should be between -1 and 1 and not 0 (nor below 1e-06)",
        ),
        (["--difference", "0.3", "--seed-sd", "2"], "--seed-sd 2 is not between 0 and 0.5"),
        (["--difference", "0.3", "--pilot", "x"], "a pilot has two sides"),
        (
            ["--difference", "0.3", "--accuracy", "0.4", "--pilot", "x", "--against", "y"],
            "are measured by the pilot",
        ),
    ],
)
def test_what_cannot_be_is_one_line(words: list[str], message: str) -> None:
    refused = command("eval.power", *words)
    assert refused.returncode == 2
    assert message in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
