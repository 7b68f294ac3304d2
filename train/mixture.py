"""The mixture at a ratio: which problems have reasoning targets, and the order of all problems.

Between ratios only the mode differs. The order of problems, and so the ids of every global batch,
depends on the seed alone; problems with reasoning targets are the first `round(ratio·n)` of one
sequence per seed, so their number is exact and the selections are nested: a lower ratio's is a
subset of a higher one's. Neither depends on the order in which problems are given.
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
    """`order` lists every problem id once, in training order; `reasoning` those taught with their
    trace."""

    order: tuple[str, ...]
    reasoning: frozenset[str]

    def mode(self, problem_id: str) -> Mode:
        return "reasoning" if problem_id in self.reasoning else "ift"

    def batches(self, size: int, epoch: int, seed: int) -> list[tuple[str, ...]]:
        """The global batches of one epoch, as problem ids; the last one may be smaller. Epoch 0
        follows `order`."""
        ids = self.order if epoch == 0 else shuffled(self.order, seed, epoch)
        return [ids[start : start + size] for start in range(0, len(ids), size)]


def mix(categories: Mapping[str, str], ratio: float, seed: int) -> Mixture:
    """Give every problem a mode at a ratio in [0, 1]; `categories` has the category of each id."""
    assert 0 <= ratio <= 1
    sequence = balanced(categories, seed)
    return Mixture(
        shuffled(list(categories), seed, 0),
        frozenset(sequence[: n_reasoning(len(sequence), ratio)]),
    )


def n_reasoning(n: int, ratio: float) -> int:
    """Number of `n` problems in reasoning mode: `ratio·n`, with the ratio as the decimal that was
    typed, halves rounded up."""
    return int(Fraction(str(ratio)) * n + Fraction(1, 2))


def shuffled(ids: Sequence[str], seed: int, epoch: int) -> tuple[str, ...]:
    return tuple(sorted(ids, key=lambda i: digest("order", seed, epoch, i)))


def balanced(categories: Mapping[str, str], seed: int) -> list[str]:
    """All ids in a sequence of which the first k, for every k, hold k·n_c/n ids of a category with
    n_c of the n ids, give or take less than one.

    Within a category ids are sorted by seeded hash. The next category follows Tijdeman's rule (The
    chairman assignment problem, Discrete Mathematics 32, 1980): of the categories that can take an
    item without running ahead, the one whose next item must come earliest, lest it fall behind by
    one. Largest remainders would not do: as k grows they can take an item back from a category.
    """
    queues: dict[str, list[str]] = {}
    for problem_id in sorted(categories, key=lambda i: digest("reasoning", seed, i), reverse=True):
        queues.setdefault(categories[problem_id], []).append(problem_id)
    n, names = len(categories), sorted(queues)
    if len(names) == 1:
        return queues[names[0]][::-1]
    # In integers: lags are scaled by n and by the inverse of the rule's slack, due dates by a
    # common multiple of the sizes.
    sizes, slack = [len(queues[name]) for name in names], 2 * (len(names) - 1)
    common = lcm(*sizes)
    scale = [common // size for size in sizes]
    lag, sequence = [0] * len(names), []
    for _ in range(n):
        chosen, earliest = -1, 0
        for c, size in enumerate(sizes):
            lag[c] += slack * size
            if lag[c] >= n and queues[names[c]]:
                due = ((slack - 1) * n - lag[c]) * scale[c]
                if chosen < 0 or due < earliest:
                    chosen, earliest = c, due
        lag[chosen] -= slack * n
        sequence.append(queues[names[chosen]].pop())
    return sequence
