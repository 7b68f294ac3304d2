"""Mazes on a grid: random walls, and shortest paths by breadth-first search."""

from __future__ import annotations

import random
from collections.abc import Sequence

WALLS = 0.3  # share of the cells
STEPS = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}
Path = tuple[tuple[str, int, int], ...]  # direction, row and column (from 1) of each step


def draw(size: int, rng: random.Random) -> tuple[str, ...]:
    """Rows with `S`, `G`, `#` for a wall and `.` for a free cell; G may be out of reach. Raises
    ValueError for a size outside 2 to 9."""
    if not 2 <= size <= 9:
        raise ValueError(f"size={size} is not 2 to 9")
    cells = ["#" if rng.random() < WALLS else "." for _ in range(size * size)]
    start, goal = rng.sample(range(size * size), 2)
    cells[start], cells[goal] = "S", "G"
    return tuple("".join(cells[row * size : (row + 1) * size]) for row in range(size))


def solve(grid: Sequence[str]) -> Path | None:
    """A shortest path from S to G; None if there is none."""
    cells = {(r, c): cell for r, row in enumerate(grid) for c, cell in enumerate(row)}
    start = next(at for at, cell in cells.items() if cell == "S")
    paths: dict[tuple[int, int], Path] = {start: ()}
    queue = [start]
    for at in queue:
        for word, (down, right) in STEPS.items():
            to = at[0] + down, at[1] + right
            if cells.get(to, "#") == "#" or to in paths:
                continue
            paths[to] = (*paths[at], (word, to[0] + 1, to[1] + 1))
            if cells[to] == "G":
                return paths[to]
            queue.append(to)
    return None
