"""Coverage, false positives, support and power of the statistics, over simulated studies.

The fast tests are small; those marked slow print the tables that the docstrings quote.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from bench.advice.worlds import HARD, study
from ratiocine import stats
from ratiocine.stats import PairedDifference, intervals, pareto, sample_size


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer resamples within each of many tables."""
    monkeypatch.setattr(intervals, "RESAMPLES", 1000)


def coverage(
    seed: int,
    n_seeds: int,
    n: int,
    seed_sd: float,
    effect: float,
    tables: int,
    base: float = 0.4,
    hard: float = HARD,
) -> tuple[float, float]:
    """How often the interval of a difference, and that of an accuracy, hold the truth."""
    rng, difference, accuracy = np.random.default_rng(seed), 0, 0
    for _ in range(tables):
        first, second = study(rng, [base, base + effect], n_seeds, n, seed_sd, hard).tolist()
        _, low, high, _ = stats.compare_seeds(first, second)
        difference += low <= effect <= high
        _, low, high = stats.over_seeds(second)
        accuracy += low <= base + effect <= high
    return difference / tables, accuracy / tables


def falsely(
    seed: int, n_seeds: int, n: int, seed_sd: float, tables: int, pairs: Sequence[tuple[int, int]]
) -> float:
    """How often a table of five ratios by four categories, none of which has any effect, shows some
    ratios to differ: a difference whose p-value is under 5 % after Holm's adjustment over all
    comparisons of the table."""
    rng, wrong = np.random.default_rng(seed), 0
    for _ in range(tables):
        categories = [
            study(rng, [base] * 5, n_seeds, n, seed_sd).tolist() for base in (0.2, 0.4, 0.6, 0.8)
        ]
        p = [
            stats.compare_seeds(made[one], made[other])[3]
            for made in categories
            for one, other in pairs
        ]
        wrong += min(stats.holm(p)) < 0.05
    return wrong / tables


AGAINST_FIRST = [(0, other) for other in range(1, 5)]
ALL_PAIRS = [(one, other) for other in range(5) for one in range(other)]


def test_the_truth_is_what_it_is_said_to_be() -> None:
    made = study(np.random.default_rng(0), [0.2, 0.6], 400, 4000, 0.05)
    assert made.mean(axis=(1, 2)) == pytest.approx([0.2, 0.6], abs=0.02)
    assert made.mean(axis=2).std(axis=1) == pytest.approx([0.05, 0.05], abs=0.01)
    assert np.corrcoef(made[:, 0])[0, 1] > 0.25, "problems are paired"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("n_seeds", "n", "seed_sd", "effect"),
    [(3, 100, 0.0, 0.0), (3, 400, 0.05, 0.02), (5, 200, 0.02, 0.2), (2, 200, 0.05, 0.02)],
)
def test_intervals_cover(n_seeds: int, n: int, seed_sd: float, effect: float) -> None:
    difference, accuracy = coverage(1, n_seeds, n, seed_sd, effect, 150)
    assert difference >= 0.91
    assert accuracy >= 0.91


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("seed_sd", [0.0, 0.05])
def test_where_nothing_differs_little_is_said_to(seed_sd: float) -> None:
    assert falsely(3, 3, 100, seed_sd, 40, AGAINST_FIRST) <= 0.1


# Standard deviations of accuracy between seeds, one per category
SEED_SDS = {
    "none": (0.0, 0.0, 0.0, 0.0),
    "2 points": (0.02, 0.02, 0.02, 0.02),
    "5 points": (0.05, 0.05, 0.05, 0.05),
    "tenfold variances": (0.015, 0.015, 0.047, 0.047),
    "one outlier": (0.01, 0.01, 0.01, 0.06),
}


@dataclass
class Rates:
    """Over tables of five ratios in four categories."""

    coverage: float = 0.0
    false: float = 0.0
    """Tables with a difference shown where there is none, after Holm's adjustment."""
    power: float = 0.0
    """Share of the true differences shown, after Holm's adjustment."""


def pooling(
    seed: int, n_seeds: int, n: int, seed_sds: Sequence[float], effect: float, tables: int
) -> tuple[Rates, Rates]:
    """With each comparison's own variance between seeds, and with the pooled one."""
    rng, found = np.random.default_rng(seed), (Rates(), Rates())
    effects = np.tile([effect, effect, 0.0, 0.0], 4)
    for _ in range(tables):
        alone = []
        for base, seed_sd in zip((0.2, 0.4, 0.6, 0.8), seed_sds, strict=True):
            first, *others = study(rng, [base, *(base + effects[:4])], n_seeds, n, seed_sd).tolist()
            alone += [PairedDifference.of(first, other) for other in others]
        for rates, table in zip(found, (alone, stats.pooled(alone)), strict=True):
            held = [d.low <= true <= d.high for d, true in zip(table, effects, strict=True)]
            shown = np.array([d.p_holm < 0.05 for d in stats.holm_adjusted(table)])
            rates.coverage += np.mean(held) / tables
            rates.false += shown[effects == 0].any() / tables
            rates.power += shown[effects != 0].mean() / tables if effect else 0.0
    return found


@pytest.mark.long
@pytest.mark.usefixtures("quick")
def test_pooled_variances_show_more_at_the_same_error() -> None:
    alone, pooled = pooling(10, 3, 400, SEED_SDS["2 points"], 0.1, 12)
    assert pooled.coverage >= 0.9
    assert pooled.false <= 0.1
    assert pooled.power >= max(2 * alone.power, 0.4)


def shown_equivalent(
    seed: int, n_seeds: int, n: int, seed_sd: float, effect: float, tables: int, margin: float = 0.1
) -> tuple[float, float]:
    """How often a difference is shown to be within the margin, with each comparison's own variance
    between seeds and with that pooled over the eight of a table."""
    rng, alone, together = np.random.default_rng(seed), 0, 0
    for _ in range(tables):
        found = [
            PairedDifference.of(*study(rng, [base, base + effect], n_seeds, n, seed_sd).tolist())
            for base in np.tile([0.2, 0.4, 0.6, 0.8], 2)
        ]
        alone += sum(one.equivalence(margin) < 0.05 for one in found)
        together += sum(one.equivalence(margin) < 0.05 for one in stats.pooled(found))
    return alone / (8 * tables), together / (8 * tables)


@pytest.mark.slow
@pytest.mark.simulation
@pytest.mark.usefixtures("quick")
def test_a_difference_of_the_margin_is_not_shown_to_be_within_it() -> None:
    assert max(shown_equivalent(14, 3, 400, 0.02, 0.1, 10)) <= 0.1
    alone, pooled = shown_equivalent(14, 3, 400, 0.02, 0.0, 10)
    assert pooled >= max(alone, 0.5)


@pytest.mark.slow
@pytest.mark.simulation
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("n_seeds", [1, 2, 3, 5])
def test_equivalence_at_full_size(n_seeds: int) -> None:
    for n in (100, 400):
        for seed_sd in (0.0,) if n_seeds == 1 else (0.0, 0.02, 0.05):
            false = shown_equivalent(13, n_seeds, n, seed_sd, 0.1, 150)
            power = shown_equivalent(13, n_seeds, n, seed_sd, 0.0, 150)
            print(f"{n_seeds} seeds, n {n}, sd {seed_sd}: at the margin {false}, at 0 {power}")
            assert max(false) <= 0.065, "of 1,200 differences, where 5 % is the most that is true"


FIRST, MOST = 3, 10  # seeds


@dataclass
class Design:
    """Of studies with eight hypotheses of a gain, half of them true: a fixed number of seeds, or
    seeds in rounds."""

    false: float = 0.0
    """Studies that show a gain where there is none."""
    power: float = 0.0
    trainings: float = 0.0
    """Per study."""


def rounds_of_seeds(
    seed: int, n: int, seed_sd: float, effect: float, studies: int
) -> tuple[Design, Design]:
    """Ten seeds for all, and three to ten until decided or futile."""
    rng, fixed, rounds = np.random.default_rng(seed), Design(), Design()
    true = np.tile([True, False], 4) if effect else np.zeros(8, dtype=bool)
    for _ in range(studies):
        arms = [
            study(rng, [base, base + effect * one], MOST, n, seed_sd)
            for base, one in zip(np.tile([0.2, 0.4, 0.6, 0.7], 2), true, strict=True)
        ]
        found = {seeds: gains(arms, seeds) for seeds in range(FIRST, MOST + 1)}
        shown = np.array(stats.holm(found[MOST])) < 0.05
        _count(fixed, shown, true, 2 * 8 * MOST, studies)
        trained = np.full(8, FIRST)
        for seeds in range(FIRST, MOST + 1):
            p_values = []
            for at in range(8):
                looks = range(FIRST, min(seeds, trained[at]) + 1)
                p_values.append(
                    stats.sequential_p([found[k][at] for k in looks], [k / MOST for k in looks])
                )
            shown = np.array(stats.holm(p_values)) < 0.05
            for at in range(8):
                power = stats.conditional_power(found[seeds][at], seeds / MOST)
                if seeds < MOST and trained[at] == seeds and not shown[at] and power >= 0.1:
                    trained[at] += 1
        _count(rounds, shown, true, 2 * int(trained.sum()), studies)
    return fixed, rounds


def gains(arms: Sequence[np.ndarray], seeds: int) -> list[float]:
    """P-values of a gain with the first seeds, their variance pooled."""
    alone = [PairedDifference.of(*both[:, :seeds].tolist()) for both in arms]
    return [one.p if one.difference > 0 else 1.0 for one in stats.pooled(alone)]


def _count(
    design: Design, shown: np.ndarray, true: np.ndarray, trainings: int, studies: int
) -> None:
    design.false += bool(shown[~true].any()) / studies
    design.power += float(shown[true].mean()) / studies if true.any() else 0.0
    design.trainings += trainings / studies


@pytest.mark.slow
@pytest.mark.simulation
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("n", "seed_sd"), [(100, 0.02), (400, 0.02), (400, 0.05)])
def test_rounds_of_seeds_at_full_size(n: int, seed_sd: float) -> None:
    for effect in (0.0, 0.1, 0.2):
        fixed, rounds = rounds_of_seeds(12, n, seed_sd, effect, 150)
        print(f"n {n}, sd {seed_sd}, effect {effect}: {fixed}, in rounds {rounds}")
        assert rounds.false <= 0.08, "of 150 studies, where 5 % is the most that is true"
        assert rounds.trainings <= 0.75 * fixed.trainings
        assert rounds.power >= fixed.power - 0.05


def membership(
    seed: int, n_seeds: int, n: int, seed_sd: float, grids: int, spread: float = 0.08
) -> list[tuple[int, float | None]]:
    """Of grids of fifteen models with random costs and accuracies: for each range of `support` how
    many points fell into it, and the share of them that truly are on the front. The cheapest, which
    always is, is left out."""
    rng, support, true = np.random.default_rng(seed), list[float](), list[bool]()
    for _ in range(grids):
        exponent = np.sort(rng.uniform(18, 21, 15))
        accuracies = np.clip(0.3 + 0.12 * (exponent - 18) + rng.normal(0, spread, 15), 0.02, 0.98)
        made = study(rng, accuracies.tolist(), n_seeds, n, seed_sd)
        costs = (10**exponent).tolist()
        support += pareto.support(costs, made.tolist(), resamples=500)[1:]
        on_it = pareto.front(costs, accuracies.tolist())
        true += [point in on_it for point in range(1, 15)]
    return [_within(np.array(support), np.array(true), *edges) for edges in BINS]


BINS = [(0.0, 0.1), (0.1, 0.35), (0.35, 0.65), (0.65, 0.9), (0.9, 1.01)]


def _within(
    support: np.ndarray, true: np.ndarray, low: float, high: float
) -> tuple[int, float | None]:
    within = (support >= low) & (support < high)
    return int(within.sum()), float(true[within].mean()) if within.any() else None


def test_what_is_said_to_be_on_the_front_is() -> None:
    found = [share for _, share in membership(3, 3, 100, 0.02, 40)]
    assert found[0] < 0.1
    assert found[-1] > 0.9
    assert found == sorted(found), "the reliability curve rises"


def reached(
    seed: int, n_seeds: int, seed_sd: float, effect: float, tables: int
) -> tuple[int, float]:
    """How many problems a study needs, by what a very large pilot shows, and how often it then
    finds the effect."""
    rng, base = np.random.default_rng(seed), 0.4
    pilot = sample_size.spread(*study(rng, [base, base + effect], 400, 1500, seed_sd))
    assert pilot.seed_sd is not None and pilot.common is not None
    n = sample_size.problems_needed(
        effect, pilot.discordant, pilot.seed_sd, n_seeds, common=pilot.common
    )
    assert n is not None
    p = [
        stats.compare_seeds(*study(rng, [base, base + effect], n_seeds, n, seed_sd).tolist())[3]
        for _ in range(tables)
    ]
    return n, sum(value < 0.05 for value in p) / tables


def test_a_pilot_measures_what_was_put_in() -> None:
    found = sample_size.spread(*study(np.random.default_rng(0), [0.4, 0.6], 80, 4000, 0.05))
    assert found.seed_sd == pytest.approx(0.05, abs=0.008)
    assert found.discordant == pytest.approx(0.35, abs=0.05)
    assert found.common is not None and 0.05 < found.common < 0.3
    assert sample_size.spread([[0, 1]], [[1, 1]]) == sample_size.Spread(0.5, None, None)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("n_seeds", "seed_sd"), [(1, 0.0), (3, 0.01)])
def test_the_promised_power_is_reached(n_seeds: int, seed_sd: float) -> None:
    assert reached(8, n_seeds, seed_sd, 0.1, 150)[1] == pytest.approx(0.8, abs=0.1)


@pytest.mark.slow
@pytest.mark.simulation
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("n_seeds", "seed_sd", "effect"),
    [
        (1, 0.0, 0.1),
        (2, 0.0, 0.2),
        (3, 0.0, 0.05),
        (3, 0.02, 0.2),
        (5, 0.02, 0.1),
        (5, 0.05, 0.2),
        (10, 0.02, 0.05),
    ],
)
def test_the_promised_power_at_full_size(n_seeds: int, seed_sd: float, effect: float) -> None:
    n, sample_size = reached(9, n_seeds, seed_sd, effect, 600)
    print(f"{n_seeds} seeds, sd {seed_sd}, effect {effect}: {n} problems, power {sample_size:.3f}")
    assert sample_size == pytest.approx(0.8, abs=0.06)


@pytest.mark.slow
@pytest.mark.simulation
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("n_seeds", [2, 3, 5])
def test_coverage_at_full_size(n_seeds: int) -> None:
    for n in (100, 400):
        for seed_sd in (0.0, 0.02, 0.05):
            for effect in (0.0, 0.02, 0.2):
                found = coverage(4, n_seeds, n, seed_sd, effect, 1000)
                print(
                    f"{n_seeds} seeds, n {n}, sd {seed_sd}, effect {effect}: difference "
                    f"{found[0]:.3f}, accuracy {found[1]:.3f}"
                )
                assert min(found) >= (0.95 if n_seeds == 2 else 0.93)
                assert max(found) <= (1.0 if n_seeds == 2 else 0.99)


@pytest.mark.slow
@pytest.mark.simulation
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("hard", [0.0, 3.0])
def test_coverage_near_the_ends_and_where_problems_are_alike_or_apart(hard: float) -> None:
    for base in (0.03, 0.1, 0.5, 0.95):
        for n_seeds in (3, 5):
            found = coverage(5, n_seeds, 200, 0.01, 0.0, 500, base, hard)
            print(
                f"accuracy {base}, {n_seeds} seeds, difficulty {hard}: difference "
                f"{found[0]:.3f}, accuracy {found[1]:.3f}"
            )
            assert min(found) >= 0.93


@pytest.mark.slow
@pytest.mark.simulation
@pytest.mark.parametrize("n_seeds", [2, 3, 5])
@pytest.mark.parametrize("pairs", [AGAINST_FIRST, ALL_PAIRS], ids=["first", "all"])
def test_false_positives_at_full_size(
    monkeypatch: pytest.MonkeyPatch, n_seeds: int, pairs: list[tuple[int, int]]
) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 4000)
    for n in (100, 400):
        for seed_sd in (0.0, 0.02, 0.05):
            found = falsely(6, n_seeds, n, seed_sd, 200, pairs)
            print(
                f"{n_seeds} seeds, n {n}, sd {seed_sd}, {4 * len(pairs)} comparisons: {found:.3f}"
            )
            assert found <= 0.08, "of 200 tables, where 5 % is the most that is true"


@pytest.mark.slow
@pytest.mark.simulation
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("n_seeds", [2, 3, 5])
def test_pooled_variances_at_full_size(n_seeds: int) -> None:
    for n in (100, 400):
        for name, seed_sds in SEED_SDS.items():
            for effect in (0.0, 0.1):
                alone, pooled = pooling(11, n_seeds, n, seed_sds, effect, 200)
                print(f"{n_seeds} seeds, n {n}, {name}, effect {effect}: {alone}, pooled {pooled}")
                assert 0.93 <= pooled.coverage <= 0.995
                assert pooled.false <= 0.08, "of 200 tables, where 5 % is the most that is true"
                assert pooled.power >= alone.power


@pytest.mark.slow
@pytest.mark.simulation
@pytest.mark.parametrize("n_seeds", [1, 3, 5])
def test_membership_at_full_size(n_seeds: int) -> None:
    for n in (100, 400):
        for seed_sd in (0.0, 0.02, 0.05):
            found = membership(7, n_seeds, n, seed_sd, 300)
            shares = [share or 0.0 for _, share in found]
            print(
                f"{n_seeds} seeds, n {n}, sd {seed_sd}: "
                + " ".join(f"{share:.3f} ({count})" for count, share in found)
            )
            if n_seeds > 1:
                assert shares[0] <= 0.1
                assert shares[-1] >= 0.9
            assert shares == sorted(shares)
