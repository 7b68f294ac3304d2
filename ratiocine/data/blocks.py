"""Blocks world: states, moves, and shortest plans by breadth-first search."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

State = tuple[int, ...]  # what each block stands on: a block, or −1 for the table
Move = tuple[int, int]  # a block, and what it is moved to


def moved(state: State, block: int, to: int) -> State:
    return (*state[:block], to, *state[block + 1 :])


def _moves(state: State) -> Iterator[Move]:
    clear = [block for block in range(len(state)) if block not in state]
    for block in clear:
        for to in (-1, *clear):
            if to not in (block, state[block]):
                yield block, to


@cache
def _plans(start: State) -> dict[State, tuple[Move, ...]]:
    """A shortest plan to each state."""
    plans: dict[State, tuple[Move, ...]] = {start: ()}
    queue = [start]
    for state in queue:
        for block, to in _moves(state):
            after = moved(state, block, to)
            if after not in plans:
                plans[after] = (*plans[state], (block, to))
                queue.append(after)
    return plans


def states(n: int) -> list[State]:
    """All states of `n` blocks. Raises ValueError for more than 5: 6 have some 4,000."""
    if n > 5:
        raise ValueError(f"blocks={n} is more than 5")
    return list(_plans((-1,) * n))


def solve(start: State, goal: State) -> tuple[Move, ...]:
    """A shortest plan."""
    return _plans(start)[goal]
