"""Ways to choose an arm: what `eval.recommend` does, and simple rules beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from eval.options import Option, choose
from eval.recommend import within
from eval.recommendation import Query
from eval.rule_of_thumb import rule_for

Wanted = Callable[[float], tuple[float, str]]  # ratio and scenario, by size
OURS = "eval.recommend"
OBSERVED = "most accurate as observed"
CHEAPEST = "cheapest not shown to be worse"
DIRECT, REASONING = "largest, always direct", "largest, always reasoning"
LARGEST_BEST = "largest, best ratio over all"
V1, V2 = "rule of thumb, v1", "rule of thumb, v2"
RULES = (OBSERVED, CHEAPEST, DIRECT, REASONING, LARGEST_BEST, V1, V2)


@dataclass(frozen=True)
class Case:
    """What is asked in one category, the data that may answer it, and the truth."""

    options: Sequence[Option]
    """Of the advising half."""
    overall: Sequence[float]
    """Their accuracies over all categories."""
    truth: Sequence[float]
    """Their accuracies in the category, of the other half or as simulated."""
    query: Query

    def allowed(self) -> list[int]:
        """The options within the cost limit."""
        chosen = {id(option) for option in within(self.options, self.query)}
        return [at for at, option in enumerate(self.options) if id(option) in chosen]


def regrets(case: Case) -> dict[str, float]:
    """Accuracy of the truly best arm minus that of the chosen one, by rule."""
    allowed = case.allowed()
    best = max(case.truth[at] for at in allowed)
    return {name: best - case.truth[at] for name, at in _chosen(case, allowed).items()}


def _chosen(case: Case, allowed: Sequence[int]) -> Mapping[str, int]:
    options = [case.options[at] for at in allowed]
    choice = choose(options, case.query.num_queries)
    at = {id(option): index for option, index in zip(options, allowed, strict=True)}
    category = case.query.category
    return {
        OURS: at[id(choice.recommended)],
        OBSERVED: at[id(choice.best)],
        CHEAPEST: at[id(choice.cheapest)],
        DIRECT: _largest(case, allowed, lambda size: (0.0, "mixed")),
        REASONING: _largest(case, allowed, lambda size: (1.0, "mixed")),
        LARGEST_BEST: _largest_best(case, allowed),
        V1: _largest(case, allowed, _published("v1", category)),
        V2: _largest(case, allowed, _published("v2", category)),
    }


def _published(version: str, category: str) -> Wanted:
    def wanted(size: float) -> tuple[float, str]:
        rule = rule_for(version, category, size)
        return rule.ratio, rule.scenario

    return wanted


def _sizes(case: Case) -> list[tuple[float, list[int]]]:
    """Options with a ratio by size of the model, the largest first."""
    found: dict[float, list[int]] = {}
    for at, option in enumerate(case.options):
        if option.arm.ratio is not None and option.arm.size:
            found.setdefault(option.arm.size, []).append(at)
    return sorted(found.items(), reverse=True)


def _largest(case: Case, allowed: Sequence[int], wanted: Wanted) -> int:
    """The largest model whose arm of the nearest ratio is allowed; without any, the cheapest."""
    for size, members in _sizes(case):
        ratio, scenario = wanted(size)

        def distance(at: int, ratio: float = ratio, scenario: str = scenario) -> tuple[float, bool]:
            axes = case.options[at].arm.axes
            return abs((axes.ratio or 0.0) - ratio), axes.scenario != scenario

        nearest = min(members, key=distance)
        if nearest in allowed:
            return nearest
    return _cheapest(case, allowed)


def _largest_best(case: Case, allowed: Sequence[int]) -> int:
    """Of the largest allowed model the arm that is the most accurate over all categories."""
    for _, members in _sizes(case):
        if possible := [at for at in members if at in allowed]:
            return max(possible, key=lambda at: case.overall[at])
    return _cheapest(case, allowed)


def _cheapest(case: Case, allowed: Sequence[int]) -> int:
    return min(allowed, key=lambda at: case.options[at].total(case.query.num_queries))
