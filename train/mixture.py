"""The mixture: which problems are taught in reasoning format at a ratio, and in which order all of them come.

Only the format changes between ratios. The order of problems, and so the ids in every global batch, depends on the seed
alone; the problems in reasoning format are the first `round(ratio·n)` of one fixed sequence, so their number is exact and
those at a lower ratio are among those at a higher one. Neither depends on the order in which the problems are given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm

from ratiocine.hashing import digest
from ratiocine.records import Mode


@dataclass(frozen=True)
class Mixture:
    """`order` lists every problem id once, as trained; `reasoning` those taught with their trace."""

    order: tuple[str, ...]
    reasoning: frozenset[str]

    def mode(self, problem_id: str) -> Mode:
        return "reasoning" if problem_id in self.reasoning else "ift"

    def batches(self, size: int, epoch: int, seed: int) -> list[tuple[str, ...]]:
        """The global batches of one epoch, as problem ids; the last one may be smaller. Epoch 0 follows `order`."""
        ids = self.order if epoch == 0 else shuffled(self.order, seed, epoch)
        return [ids[start : start + size] for start in range(0, len(ids), size)]


def mix(categories: Mapping[str, str], ratio: float, seed: int) -> Mixture:
    """The mixture over {problem id: category} at a ratio in [0, 1]."""
    assert 0 <= ratio <= 1
    sequence = balanced(categories, seed)
    return Mixture(
        shuffled(list(categories), seed, 0),
        frozenset(sequence[: n_reasoning(len(sequence), ratio)]),
    )


def n_reasoning(n: int, ratio: float) -> int:
    """How many of `n` problems are in reasoning format: `ratio·n` of the decimal that was typed, half up."""
    return int(Fraction(str(ratio)) * n + Fraction(1, 2))


def shuffled(ids: Sequence[str], seed: int, epoch: int) -> tuple[str, ...]:
    return tuple(sorted(ids, key=lambda i: digest("order", seed, epoch, i)))


def balanced(categories: Mapping[str, str], seed: int) -> list[str]:
    """All ids in a sequence of which every prefix of length k holds each category's share k·n_c/n to less than one item.

    Within a category ids come by seeded hash. Which category is next is Tijdeman's rule (The chairman assignment problem,
    Discrete Mathematics 32, 1980): of the categories that can take an item without running ahead, the one whose next item
    is due first. The largest remainder alone would not do: it can take an item back from a category as k grows.
    """
    waiting: dict[str, list[str]] = {}
    for problem_id in sorted(categories, key=lambda i: digest("reasoning", seed, i), reverse=True):
        waiting.setdefault(categories[problem_id], []).append(problem_id)
    n, names = len(categories), sorted(waiting)
    if len(names) == 1:
        return waiting[names[0]][::-1]
    # In whole numbers: times n, times the inverse of the rule's slack, and due dates over a common multiple of the sizes.
    sizes, slack = [len(waiting[name]) for name in names], 2 * (len(names) - 1)
    common = lcm(*sizes)
    rank = [common // size for size in sizes]
    behind, sequence = [0] * len(names), []
    for _ in range(n):
        due, first = -1, 0
        for c, size in enumerate(sizes):
            behind[c] += slack * size
            if behind[c] >= n and waiting[names[c]]:
                when = ((slack - 1) * n - behind[c]) * rank[c]
                if due < 0 or when < first:
                    due, first = c, when
        behind[due] -= slack * n
        sequence.append(waiting[names[due]].pop())
    return sequence
