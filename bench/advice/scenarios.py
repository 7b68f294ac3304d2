"""True accuracies and costs of simulated studies: made-up scenarios, and measured accuracies."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eval.report import published_rows
from eval.rule_of_thumb import TRAINING, published_size
from ratiocine.records import CATEGORIES

if TYPE_CHECKING:
    import numpy as np

RATIOS = (0.0, 0.25, 0.5, 0.75, 1.0)
SIZES = (5e8, 1.5e9, 7e9)
PER_SIZE = 0.12  # most accuracy from one size to the next
EXAMPLE_TOKENS, ANSWER_TOKENS = 500, 200  # with the direct answer; of a direct answer
N_EXAMPLES = 10_000
LENGTH = 6.0  # tokens of a reasoning answer, in direct answers
MINI_TABLES = Path(__file__).parents[2] / "docs" / "mini" / "tables"


@dataclass(frozen=True)
class Condition:
    """How an arm was trained, and what it costs."""

    size: float
    ratio: float
    scenario: str
    train_flops: float
    answer_flops: float


@dataclass(frozen=True)
class Truth:
    """What is true of a study."""

    conditions: Sequence[Condition]
    accuracies: np.ndarray
    """Over all problems and seeds: arms × categories."""


@dataclass(frozen=True)
class Scenario:
    """A kind of study: `gains` gives accuracies gained by a ratio of 1 (sizes × categories), and
    `shape` the share of the gain at each ratio."""

    gains: Callable[[np.random.Generator], np.ndarray]
    shape: Callable[[float], float] = float
    length: float = LENGTH


def _no_effect(rng: np.random.Generator) -> np.ndarray:
    import numpy as np

    return np.zeros((len(SIZES), len(CATEGORIES)))


def _one_category(rng: np.random.Generator) -> np.ndarray:
    gains = _no_effect(rng)
    gains[:, rng.integers(len(CATEGORIES))] = rng.uniform(0.1, 0.3)
    return gains


def _by_size(rng: np.random.Generator) -> np.ndarray:
    """A loss for the smallest model, a gain for the largest."""
    import numpy as np

    return np.linspace(-1, 1, len(SIZES))[:, None] * rng.uniform(0.05, 0.2, len(CATEGORIES))


def _everywhere(rng: np.random.Generator) -> np.ndarray:
    import numpy as np

    return np.tile(rng.uniform(0.02, 0.15, len(CATEGORIES)), (len(SIZES), 1))


def _math_alone(rng: np.random.Generator) -> np.ndarray:
    """A gain in math, a loss in general questions."""
    import numpy as np

    signs = [1 if category.startswith("math") else -1 for category in CATEGORIES]
    return np.tile(signs * rng.uniform(0.02, 0.2, len(CATEGORIES)), (len(SIZES), 1))


def _either_way(rng: np.random.Generator) -> np.ndarray:
    """Gains and losses at random, in every cell apart."""
    return rng.normal(0, 0.1, (len(SIZES), len(CATEGORIES)))


SCENARIOS = {
    "no effect": Scenario(_no_effect),
    "one category gains": Scenario(_one_category),
    "gain depends on size": Scenario(_by_size),
    "long traces, small gains": Scenario(_everywhere, length=20.0),
    "gain peaks at half": Scenario(_everywhere, shape=lambda ratio: 4 * ratio * (1 - ratio)),
    "gains in math, losses elsewhere": Scenario(_math_alone),
    "gains and losses at random": Scenario(_either_way),
}
PUBLISHED, MINI = "published accuracies", "accuracies of the mini study"
NAMES = (*SCENARIOS, PUBLISHED, MINI)


def truth(name: str, rng: np.random.Generator) -> Truth:
    """Of a study of this scenario."""
    import numpy as np

    if name == PUBLISHED:
        return _published()
    if name == MINI:
        return _mini()
    scenario, n = SCENARIOS[name], len(CATEGORIES)
    larger = np.arange(len(SIZES))[:, None] * rng.uniform(0, PER_SIZE, n)
    base = rng.uniform(0.2, 0.6, n) + larger
    shape = np.array([scenario.shape(ratio) for ratio in RATIOS])
    gains = scenario.gains(rng)
    return _grid(SIZES, base[:, None] + gains[:, None] * shape[:, None], scenario.length)


def _grid(sizes: Sequence[float], accuracies: np.ndarray, length: float) -> Truth:
    """Of sizes × ratios, from accuracies (sizes × ratios × categories)."""
    conditions = []
    for size in sizes:
        for ratio in RATIOS:
            longer = 1 + ratio * (length - 1)
            train = 6 * size * N_EXAMPLES * EXAMPLE_TOKENS * longer
            answer = 2 * size * ANSWER_TOKENS * longer
            conditions.append(Condition(size, ratio, "mixed", train, answer))
    return Truth(conditions, accuracies.reshape(-1, len(CATEGORIES)))


def _published() -> Truth:
    """Accuracies after general-purpose training, between ratios 0 and 1 on a straight line."""
    import numpy as np

    found: dict[float, dict[tuple[float, str], float]] = {}
    for row in published_rows():
        if row.training == TRAINING:
            found.setdefault(published_size(row), {})[row.ratio, row.group] = row.accuracy
    first, last = (
        np.array([[of[ratio, category] for category in CATEGORIES] for of in found.values()])
        for ratio in (0.0, 1.0)
    )
    between = np.array(RATIOS)[:, None]
    return _grid([*found], first[:, None] + (last - first)[:, None] * between, LENGTH)


def _mini() -> Truth:
    """Accuracies and costs of the trained arms of the mini study, as measured (docs/numbers.md)."""
    import numpy as np

    weights = {row["arm"]: float(row["weights"]) for row in _rows("arms")}
    accuracies = {(row["arm"], row["group"]): float(row["accuracy"]) for row in _rows("accuracy")}
    trained = [row for row in _rows("costs") if row["ratio"]]
    conditions = [
        Condition(
            size=weights[row["arm"]],
            ratio=float(row["ratio"]),
            scenario=row["scenario"],
            train_flops=float(row["training_flops"]),
            answer_flops=float(row["inference_flops"]),
        )
        for row in trained
    ]
    table = [[accuracies[row["arm"], category] for category in CATEGORIES] for row in trained]
    return Truth(conditions, np.array(table))


def _rows(name: str) -> list[dict[str, str]]:
    """A table of the mini study's report."""
    with open(MINI_TABLES / f"{name}.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
