"""Simulated studies with known accuracies: sizes × ratios × seeds × problems of four categories."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eval.report import Arm, Evaluation, published_rows
from eval.rule_of_thumb import TRAINING, published_size
from ratiocine.records import CATEGORIES
from ratiocine.runs import Decoding, EvalFacts, Manifest, StudentInfo

if TYPE_CHECKING:
    import numpy as np

# Standard deviations of the problems' difficulty, and of what makes a problem harder for one
# evaluation, beside a noise of 1
HARD, LIKES = 1.5, 0.5
RATIOS = (0.0, 0.25, 0.5, 0.75, 1.0)
SIZES = (5e8, 1.5e9, 7e9)
PER_SIZE = 0.12  # most accuracy from one size to the next
SEQUENCE = 500  # tokens of a training example with the direct answer
N_EXAMPLES = 10_000
ANSWER = 200  # tokens of a direct answer


@dataclass(frozen=True)
class World:
    """A simulated study, and what is true of it."""

    arms: Sequence[Arm]
    tables: Mapping[str, np.ndarray]
    """By category, shares of right answers: arms × seeds × problems."""
    truth: Mapping[str, np.ndarray]
    """By category, each arm's accuracy over all problems and seeds."""
    train_flops: Sequence[float]
    answer_flops: Sequence[float]


@dataclass(frozen=True)
class Scenario:
    """A kind of world: `gains` gives accuracies gained by a ratio of 1 (sizes × categories), and
    `shape` the share of the gain at each ratio."""

    gains: Callable[[np.random.Generator], np.ndarray]
    shape: Callable[[float], float] = float
    length: float = 6.0
    """Tokens of a reasoning answer, in direct answers."""


def study(
    rng: np.random.Generator,
    accuracies: Sequence[float],
    n_seeds: int,
    n: int,
    seed_sd: float,
    hard: float = HARD,
) -> np.ndarray:
    """Right or wrong, evaluations x seeds x problems: problems are the same for all evaluations,
    and every evaluation's seeds differ in accuracy by `seed_sd` and by what is particular to a seed
    and a problem. Over all problems and seeds the accuracies are exactly these."""
    import numpy as np
    from scipy.stats import norm

    z = norm.ppf(accuracies)
    of_seeds = seed_sd * np.sqrt(1 + hard**2 + LIKES**2) / norm.pdf(z)
    level = z * np.sqrt(1 + hard**2 + LIKES**2 + of_seeds**2)
    shape = (len(z), n_seeds, n)
    latent = (
        level[:, None, None]
        + hard * rng.normal(size=(1, 1, n))
        + LIKES * rng.normal(size=(len(z), 1, n))
    )
    latent = (
        latent
        + of_seeds[:, None, None] * rng.normal(size=(len(z), n_seeds, 1))
        + rng.normal(size=shape)
    )
    return (latent > 0).astype(int)


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
PUBLISHED_WORLD = "published accuracies"
NAMES = (*SCENARIOS, PUBLISHED_WORLD)


def world(name: str, rng: np.random.Generator, n_seeds: int, n: int, seed_sd: float) -> World:
    """One simulated study of a scenario."""
    import numpy as np

    sizes, accuracies, length = _truth(name, rng)
    accuracies = np.clip(accuracies, 0.02, 0.98)
    arms, train, answer = [], [], []
    for size in sizes:
        for ratio in RATIOS:
            longer = 1 + ratio * (length - 1)
            train.append(6 * size * N_EXAMPLES * SEQUENCE * longer)
            answer.append(2 * size * ANSWER * longer)
            arms.append(_arm(size, ratio, n_seeds, train[-1]))
    truth = {name: accuracies[:, :, at].ravel() for at, name in enumerate(CATEGORIES)}
    tables = {
        category: study(rng, of_arms.tolist(), n_seeds, n, seed_sd)
        for category, of_arms in truth.items()
    }
    return World(arms, tables, truth, train, answer)


def _truth(name: str, rng: np.random.Generator) -> tuple[Sequence[float], np.ndarray, float]:
    """Sizes, accuracies (sizes × ratios × categories) and the relative length of traces."""
    import numpy as np

    if name == PUBLISHED_WORLD:
        sizes, ends = _published()
        return (
            sizes,
            np.array(
                [ends[:, 0] + ratio * (ends[:, 1] - ends[:, 0]) for ratio in RATIOS]
            ).transpose(1, 0, 2),
            6.0,
        )
    scenario = SCENARIOS[name]
    n = len(CATEGORIES)
    larger = np.arange(len(SIZES))[:, None] * rng.uniform(0, PER_SIZE, n)
    base = rng.uniform(0.2, 0.6, n) + larger
    shape = np.array([scenario.shape(ratio) for ratio in RATIOS])
    gains = scenario.gains(rng)
    return SIZES, base[:, None] + gains[:, None] * shape[:, None], scenario.length


def _published() -> tuple[Sequence[float], np.ndarray]:
    """Sizes, and accuracies at ratios 0 and 1 (sizes × 2 × categories) after general training."""
    import numpy as np

    found: dict[float, dict[tuple[float, str], float]] = {}
    for row in published_rows():
        if row.training == TRAINING:
            found.setdefault(published_size(row), {})[row.ratio, row.group] = row.accuracy
    ends = [[[of[r, c] for c in CATEGORIES] for r in (0.0, 1.0)] for of in found.values()]
    return [*found], np.array(ends)


def _arm(size: float, ratio: float, n_seeds: int, train_flops: float) -> Arm:
    model = f"{size / 1e9:g}b"
    evaluations = []
    for seed in range(n_seeds):
        student = StudentInfo(
            ratio=ratio,
            scenario="mixed",
            seed=seed,
            base=model,
            arm=f"{model} {ratio:g}",
            train_flops=train_flops,
            train_flops_exact=train_flops,
        )
        facts = EvalFacts(
            model=model,
            max_new_tokens=1,
            decoding=Decoding(temperature=0.0, top_p=1.0, samples=1),
            seconds=0.0,
            student=student,
            size=int(size),
        )
        manifest = Manifest.from_json(
            {
                **{"verb": "eval", "hash": f"{student.arm} {seed}", "identity": {}, "inputs": {}},
                **{"outputs": {}, "versions": {}, "seed": 0, "revision": None},
                **{"schema_version": 2, **facts.to_json()},
            }
        )
        evaluations.append(Evaluation(f"{model} ratio {ratio:g}", manifest, {}, {}))
    return Arm(f"{model} ratio {ratio:g}", model, tuple(evaluations))
