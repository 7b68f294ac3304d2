"""The regret of the advice: what each rule chooses, and halves that share nothing."""

import json
from dataclasses import replace
from pathlib import Path

import grid as synthetic
import numpy as np
import pytest
from conftest import command, done

from bench.advice.grids import Grid
from bench.advice.policies import (
    CHEAPEST,
    DIRECT,
    LARGEST_BEST,
    OBSERVED,
    OURS,
    REASONING,
    V1,
    V2,
    Case,
    regrets,
)
from bench.advice.scenarios import MINI, NAMES, truth
from bench.advice.worlds import world
from eval.options import Option
from eval.recommendation import Query
from ratiocine.records import CATEGORIES
from ratiocine.stats import intervals


def case(category: str, max_flops: float | None = None) -> Case:
    """Three sizes × five ratios; observed and expected accuracies differ, and the truth numbers the
    arms in hundredths."""
    made = world("no effect", np.random.default_rng(0), 2, 40, 0.0)
    options = []
    for at, (arm, condition) in enumerate(zip(made.arms, made.conditions, strict=True)):
        table = made.tables[category][at].astype(float).tolist()
        observed = float(np.mean(table))
        costs = condition.train_flops, condition.answer_flops, 0.0, 0.0, 0.0
        options.append(Option(arm, table, observed, observed, observed, *costs, expected=observed))
    second = sorted(range(15), key=lambda at: options[at].accuracy)[-2]
    options[second] = replace(options[second], expected=0.99)
    overall = [0.1 * (at % 5 == 3) for at in range(15)]
    numbers = [at / 100 for at in range(15)]
    return Case(options, overall, numbers, Query(category, 40, None, max_flops, 0.0))


def chosen(asked: Case) -> dict[str, int]:
    """The arm of each rule, by its regret against the last arm allowed."""
    last = max(asked.allowed())
    return {rule: last - round(100 * value) for rule, value in regrets(asked).items()}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer resamples in each comparison."""
    monkeypatch.setattr(intervals, "RESAMPLES", 500)


@pytest.mark.usefixtures("quick")
def test_every_rule_chooses_its_arm() -> None:
    asked = case("math-oe")
    found, options = chosen(asked), asked.options
    accuracies = [option.accuracy for option in options]
    assert options[found[OURS]].expected == 0.99
    assert accuracies[found[OBSERVED]] == max(accuracies)
    assert found[CHEAPEST] <= 1, "nothing differs much"
    assert (found[DIRECT], found[REASONING], found[LARGEST_BEST]) == (10, 14, 13)
    assert (found[V1], found[V2]) == (14, 12), "of 7 billion weights"
    general = chosen(case("general-mc"))
    assert (general[V1], general[V2]) == (10, 10)


@pytest.mark.usefixtures("quick")
def test_rules_keep_to_the_limit() -> None:
    everything = case("math-oe").options
    limit = everything[10].train_flops  # ratio 0 of the largest
    asked = case("math-oe", max_flops=limit)
    found = chosen(asked)
    assert all(everything[at].train_flops <= limit for at in found.values())
    assert found[DIRECT] == 10
    assert found[REASONING] == found[V1] == 4, "of the smallest, which alone is within the limit"
    assert found[V2] == 5, "of the next size, which is small: ratio 0"


@pytest.mark.parametrize("name", NAMES)
def test_the_truth_of_a_study(name: str) -> None:
    true = truth(name, np.random.default_rng(0))
    assert true.accuracies.shape == (len(true.conditions), len(CATEGORIES))
    assert (true.accuracies > -0.2).all() and (true.accuracies < 1.2).all()
    assert len({(c.size, c.ratio, c.scenario) for c in true.conditions}) == len(true.conditions)
    if name == MINI:
        assert true.accuracies[:, CATEGORIES.index("math-oe")].max() == pytest.approx(0.6575)


@pytest.mark.parametrize("n_seeds", [1, 2])
def test_halves_share_no_seed_and_no_problem(tmp_path: Path, n_seeds: int) -> None:
    """Half of the seeds, or of the problems where there is one seed, are right: what advises and
    the truth add up to 1."""
    seeds = range(n_seeds)
    points = [synthetic.Point("small", ratio, seed=seed) for ratio in (0.0, 1.0) for seed in seeds]

    def right(point: synthetic.Point, _: str, number: int) -> bool:
        return point.seed < 1 if n_seeds == 2 else number < 2

    synthetic.study(tmp_path, points, right, problems=4)
    splits, first = Grid.of(tmp_path), []
    for number in range(6):
        for _, one in splits.cases(number, 0, 10):
            assert len(one.options[0].arm.evaluations) == 1
            assert one.options[0].accuracy + one.truth[0] == pytest.approx(1)
            assert one.query.n == 2
            first.append(one.options[0].accuracy)
    assert len(set(first)) > 1


@pytest.mark.long
def test_regret_of_finished_evaluations(tmp_path: Path) -> None:
    points = [synthetic.Point("large", r, seed=seed) for r in (0.0, 0.5, 1.0) for seed in (0, 1)]
    synthetic.study(tmp_path, points, lambda point, *_: point.ratio == 1, problems=4)
    shown = done("bench.advice", str(tmp_path), "-n", "2", "--jobs", "1", "--num-queries", "10")
    lines = [json.loads(line) for line in shown.splitlines()]
    assert len(lines) == 4
    means = lines[1]["rules"]
    assert (lines[1]["ours"], lines[1]["n"]) == (0.0, 2)
    assert (means[OURS], means[DIRECT], means[REASONING]) == ([0, 0], [100, 0], [0, 0])
    assert lines[3]["what"].startswith("regret in points, accuracy within a limit: all; peer is ")
    refused = command("bench.advice", str(tmp_path), "-n", "0")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
