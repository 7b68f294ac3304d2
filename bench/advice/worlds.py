"""Simulated studies with known accuracies: arms × seeds × problems of four categories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.advice.scenarios import Condition, truth
from eval.report import Arm, Evaluation
from ratiocine.records import CATEGORIES
from ratiocine.runs import Decoding, EvalFacts, Manifest, StudentInfo

if TYPE_CHECKING:
    import numpy as np

# Standard deviations of the problems' difficulty, and of what makes a problem harder for one
# evaluation, beside a noise of 1
HARD, LIKES = 1.5, 0.5


@dataclass(frozen=True)
class World:
    """A simulated study, and what is true of it."""

    arms: Sequence[Arm]
    conditions: Sequence[Condition]
    """Of each arm."""
    tables: Mapping[str, np.ndarray]
    """By category, right or wrong: arms × seeds × problems."""
    truth: Mapping[str, Sequence[float]]
    """By category, each arm's accuracy over all problems and seeds."""


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


def world(name: str, rng: np.random.Generator, n_seeds: int, n: int, seed_sd: float) -> World:
    """One simulated study of a scenario."""
    import numpy as np

    true = truth(name, rng)
    accuracies = np.clip(true.accuracies, 0.02, 0.98)
    by_category = dict(zip(CATEGORIES, accuracies.T.tolist(), strict=True))
    tables = {
        category: study(rng, of_arms, n_seeds, n, seed_sd)
        for category, of_arms in by_category.items()
    }
    arms = [_arm(condition, n_seeds) for condition in true.conditions]
    return World(arms, true.conditions, tables, by_category)


def _arm(condition: Condition, n_seeds: int) -> Arm:
    model = f"{condition.size / 1e9:g}b"
    line = f"{model} {condition.scenario}"
    label = f"{line} ratio {condition.ratio:g}"
    evaluations = []
    for seed in range(n_seeds):
        student = StudentInfo(
            ratio=condition.ratio,
            scenario=condition.scenario,
            seed=seed,
            base=model,
            arm=label,
            train_flops=condition.train_flops,
            train_flops_exact=condition.train_flops,
        )
        facts = EvalFacts(
            model=model,
            max_new_tokens=1,
            decoding=Decoding(temperature=0.0, top_p=1.0, samples=1),
            seconds=0.0,
            student=student,
            size=int(condition.size),
        )
        manifest = Manifest.from_json(
            {
                **{"verb": "eval", "hash": f"{student.arm} {seed}", "identity": {}, "inputs": {}},
                **{"outputs": {}, "versions": {}, "seed": 0, "revision": None},
                **{"schema_version": 2, **facts.to_json()},
            }
        )
        evaluations.append(Evaluation(label, manifest, {}, {}))
    return Arm(label, line, tuple(evaluations))
