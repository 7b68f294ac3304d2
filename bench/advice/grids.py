"""Cases from simulated worlds, and from halves of finished evaluations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import exp, log
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from bench.advice.policies import Case, regrets
from bench.advice.scenarios import NAMES
from bench.advice.worlds import world
from eval.options import Option, informed, measured, similarities
from eval.recommendation import Query
from eval.report import Arm, gather, load_all, problem_groups
from ratiocine.errors import BadInput
from ratiocine.stats import expected_accuracies

if TYPE_CHECKING:
    import numpy as np

GOALS = ("accuracy", "accuracy within a limit")
# Of a simulated study, drawn for each: problems of a category, seeds, standard deviation of
# accuracy between seeds
PROBLEMS, SEEDS, SEED_SDS = (25, 50, 100, 200), (1, 2, 3), (0.0, 0.02, 0.05)

Regrets = Mapping[str, Mapping[str, float]]  # in points, by goal and rule


def simulated_cases(
    name: str, number: int, seed: int, num_queries: int
) -> Iterator[tuple[str, Case]]:
    """By goal, the cases of one simulated study."""
    import numpy as np

    rng = np.random.default_rng([seed, NAMES.index(name), number])
    n, n_seeds = int(rng.choice(PROBLEMS)), int(rng.choice(SEEDS))
    made = world(name, rng, n_seeds, n, float(rng.choice(SEED_SDS)))
    tables = {category: table.tolist() for category, table in made.tables.items()}
    expected = dict(
        zip(tables, expected_accuracies([*tables.values()], similarities(made.arms)), strict=True)
    )
    overall = np.mean([table.mean(axis=(1, 2)) for table in made.tables.values()], axis=0).tolist()
    for category, of_arms in tables.items():
        options = []
        for at, (arm, table) in enumerate(zip(made.arms, of_arms, strict=True)):
            accuracy = fmean(map(fmean, table))
            condition = made.conditions[at]
            costs = condition.train_flops, condition.answer_flops, 0.0, 0.0, 0.0
            of_arm = (accuracy, accuracy, accuracy, *costs, expected[category][at])
            options.append(Option(arm, table, *of_arm))
        truth = made.truth[category]
        yield from _goals(options, overall, truth, Query(category, n, num_queries, None, 0.0), rng)


def _goals(
    options: Sequence[Option],
    overall: Sequence[float],
    truth: Sequence[float],
    query: Query,
    rng: np.random.Generator,
) -> Iterator[tuple[str, Case]]:
    """The same for each goal; the limit is at random between the costs of the cheapest trained arm
    and of the dearest, on a logarithmic scale."""
    costs = [option.total(query.num_queries) for option in options]
    trained = [cost for cost, option in zip(costs, options, strict=True) if option.arm.trained]
    cheapest = min(trained or costs)
    limit = max(cheapest, exp(rng.uniform(log(cheapest), log(max(costs)))))
    for goal, max_flops in zip(GOALS, (None, limit), strict=True):
        yield goal, Case(options, overall, truth, replace(query, max_flops=max_flops))


@dataclass(frozen=True)
class Grid:
    """Finished evaluations, to be split into halves."""

    arms: Sequence[Arm]
    groups: Mapping[str, Sequence[str]]
    """Problems by category."""
    exact: bool
    """Whether all training FLOPs are known as exact counts."""
    seeds: Sequence[int]

    @staticmethod
    @lru_cache(maxsize=4)
    def of(folder: Path) -> Grid:
        """Raises BadInput where there is nothing to choose or to split."""
        evaluations = load_all([folder])
        arms, groups = gather(evaluations), problem_groups(evaluations, "category")
        if len(arms) < 2 or min(map(len, groups.values())) < 2:
            raise BadInput(f"{folder}: two arms and two problems per category are needed")
        exact = all(arm.train_flops_exact is not None for arm in arms)
        seeds = sorted({one.seed for one in evaluations if one.seed is not None})
        return Grid(arms, groups, exact, seeds)

    def cases(self, number: int, seed: int, num_queries: int) -> Iterator[tuple[str, Case]]:
        """By goal, the cases of one random split of its seeds and problems."""
        import numpy as np

        rng = np.random.default_rng([seed, number])
        halves = _halves(self.seeds, rng) if len(self.seeds) > 1 else (self.seeds, self.seeds)
        arms = [both for arm in self.arms if all(both := [_with(arm, half) for half in halves])]
        split = {name: _halves(keys, rng) for name, keys in self.groups.items()}
        known = {name: first for name, (first, _) in split.items()}
        by_category = {name: self._options(arms, known, name) for name in known}
        overall = [fmean(o.accuracy for o in same) for same in zip(*by_category.values())]
        for name, options in by_category.items():
            truth = [fmean(map(fmean, second.table(split[name][1]))) for _, second in arms]
            query = Query(name, len(known[name]), num_queries, None, 0.0)
            yield from _goals(options, overall, truth, query, rng)

    def _options(
        self, arms: Sequence[Sequence[Arm | None]], known: Mapping[str, Sequence[str]], name: str
    ) -> list[Option]:
        firsts = [first for first, _ in arms if first is not None]
        options = [measured(arm, known[name], exact=self.exact) for arm in firsts]
        return informed(options, known, name)


def _halves(items: Sequence, rng: np.random.Generator) -> tuple[list, list]:
    """Two random halves; of an odd number either is larger."""
    order = rng.permutation(len(items)).tolist()
    middle = (len(order) + int(rng.integers(2))) // 2
    return [items[at] for at in order[:middle]], [items[at] for at in order[middle:]]


def _with(arm: Arm, seeds: Sequence[int]) -> Arm | None:
    """An arm with these seeds; a starting model has none and stays."""
    found = tuple(one for one in arm.evaluations if one.seed is None or one.seed in seeds)
    return replace(arm, evaluations=found) if found else None


def of_world(name: str, number: int, seed: int, num_queries: int) -> Regrets:
    """Of one simulated study; runs in a process of its own."""
    return averaged(simulated_cases(name, number, seed, num_queries))


def of_split(folder: Path, number: int, seed: int, num_queries: int) -> Regrets:
    """Of one split of finished evaluations; runs in a process of its own."""
    return averaged(Grid.of(folder).cases(number, seed, num_queries))


def averaged(cases: Iterable[tuple[str, Case]]) -> Regrets:
    """By goal, the means over categories."""
    found: dict[str, list[dict[str, float]]] = {goal: [] for goal in GOALS}
    for goal, case in cases:
        found[goal].append(regrets(case))
    return {
        goal: {rule: 100 * fmean(one[rule] for one in of) for rule in of[0]}
        for goal, of in found.items()
    }
