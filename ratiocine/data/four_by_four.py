"""Sudoku on 4 × 4 cells with boxes of 2 × 2: grids with blanks, solved by naked singles."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import permutations, product

Grid = tuple[tuple[int, ...], ...]  # 0 for a blank
Step = tuple[int, int, tuple[int, ...], int]  # row, column, digits excluded there, the digit left


@cache
def _grids() -> list[Grid]:
    """All 288 full grids."""
    rows = list(permutations((1, 2, 3, 4)))
    bands = [(top, low) for top, low in product(rows, repeat=2) if set(top[:2]) == set(low[2:])]
    return [
        (*upper, *lower)
        for upper, lower in product(bands, repeat=2)
        if all(len(set(column)) == 4 for column in zip(*upper, *lower, strict=True))
    ]


def draw(blanks: int, rng: random.Random) -> Grid:
    """A full grid with that many cells blanked. Raises ValueError for more than 12 blanks."""
    if blanks > 12:
        raise ValueError(f"blanks={blanks} is more than 12")
    grid = [list(row) for row in rng.choice(_grids())]
    for at in rng.sample(range(16), blanks):
        grid[at // 4][at % 4] = 0
    return tuple(map(tuple, grid))


def solve(grid: Sequence[Sequence[int]]) -> list[Step] | None:
    """The steps of a solution: in each, the first cell for which one digit is left. None if a step
    would need more than that, or no digit is left. A grid solved in this way has one solution."""
    cells = [list(row) for row in grid]
    steps: list[Step] = []
    while any(0 in row for row in cells):
        found = next(_singles(cells), None)
        if found is None:
            return None
        cells[found[0]][found[1]] = found[3]
        steps.append(found)
    return steps


def _singles(cells: list[list[int]]) -> Iterator[Step]:
    for row in range(4):
        for column in range(4):
            if cells[row][column]:
                continue
            seen = excluded(cells, row, column)
            if len(seen) == 3:
                yield row, column, seen, 10 - sum(seen)


def excluded(cells: Sequence[Sequence[int]], row: int, column: int) -> tuple[int, ...]:
    """The digits in the row, column and box of a cell, in order."""
    top, left = row // 2 * 2, column // 2 * 2
    box = [cells[top + i][left + j] for i in (0, 1) for j in (0, 1)]
    return tuple(sorted({*cells[row], *(line[column] for line in cells), *box} - {0}))
