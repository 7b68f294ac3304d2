"""Verifiers of puzzles with several right answers: any plan, path or grid that solves the puzzle in
`Problem.meta["puzzle"]` is right.

An answer is simulated from its text; solvers are elsewhere (`ratiocine/data`) and share no code
with these.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ratiocine.grading.wording import unwrapped
from ratiocine.grading.worker import Judgement

MAX_LENGTH = 2000  # characters
TABLE = "table"
SEPARATOR = re.compile(r"\s*(?:[;,.\n]|\\\\|->|→|\bthen\b|\band\b)\s*")
BLOCK_MOVE = re.compile(
    r"(?:move )?(?:block )?(\w) (?:to|on|onto|on to) (?:the )?(?:block )?(table|\w)", re.IGNORECASE
)
DIRECTIONS = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}
SHORT = {word[0]: word for word in DIRECTIONS}
ROW_END = re.compile(r"[\s,;/|&]|\\\\|\\n")
Puzzle = Mapping[str, Any]


def block_moves(text: str) -> list[tuple[str, str]] | None:
    """`C to A; B to table` → [(C, A), (B, table)]; None if a part is no move."""
    moves = [BLOCK_MOVE.fullmatch(part) for part in _parts(text)]
    found = [(move[1].upper(), move[2].upper()) for move in moves if move]
    return None if not moves or len(found) < len(moves) else found


def solves_blocks(puzzle: Puzzle, text: str) -> bool | None:
    """Whether the moves, one clear block at a time, lead from `start` to `goal`: what each block
    stands on. None if the text is no plan."""
    moves = block_moves(text)
    if moves is None:
        return None
    stands_on = dict(puzzle["start"])
    for block, to in moves:
        to = TABLE if to == TABLE.upper() else to
        covered = set(stands_on.values())
        if block not in stands_on or block in covered or to == block:
            return False
        if to != TABLE and (to not in stands_on or to in covered):
            return False
        stands_on[block] = to
    return stands_on == dict(puzzle["goal"])


def directions(text: str) -> list[str] | None:
    """`right, down` or `R D` → [right, down]; None if a part is no direction."""
    parts = [word for part in _parts(text.lower()) for word in part.split()]
    if len(parts) == 1 and parts[0] not in DIRECTIONS:
        parts = list(parts[0])  # RRDD
    found = [SHORT.get(part, part) for part in parts]
    return found if found and all(one in DIRECTIONS for one in found) else None


def solves_maze(puzzle: Puzzle, text: str) -> bool | None:
    """Whether a path leads from S to G in the rows of `grid` without leaving it or entering #; None
    if the text is no path."""
    path = directions(text)
    if path is None:
        return None
    grid = puzzle["grid"]
    row, column = next((r, line.index("S")) for r, line in enumerate(grid) if "S" in line)
    for word in path:
        down, right = DIRECTIONS[word]
        row, column = row + down, column + right
        inside = 0 <= row < len(grid) and 0 <= column < len(grid[0])
        if not inside or grid[row][column] == "#":
            return False
    return bool(grid[row][column] == "G")


def solves_sudoku(puzzle: Puzzle, text: str) -> bool | None:
    """Whether the digits, row by row, keep the given ones (`grid`, 0 for blank) and occur once in
    each row, column and box of a 4 × 4 grid; None if the text is no 16 digits."""
    digits = ROW_END.sub("", text)
    if not re.fullmatch("[0-9]{16}", digits):
        return None
    grid = [list(map(int, digits[at : at + 4])) for at in range(0, 16, 4)]
    given = [(r, c) for r in range(4) for c in range(4) if puzzle["grid"][r][c]]
    if any(grid[r][c] != puzzle["grid"][r][c] for r, c in given):
        return False
    columns = [[row[c] for row in grid] for c in range(4)]
    boxes = [[grid[r + i][c + j] for i in (0, 1) for j in (0, 1)] for r in (0, 2) for c in (0, 2)]
    return all(sorted(unit) == [1, 2, 3, 4] for unit in (*grid, *columns, *boxes))


VERIFIERS: dict[str, Callable[[Puzzle, str], bool | None]] = {
    "blocks": solves_blocks,
    "maze": solves_maze,
    "sudoku": solves_sudoku,
}


def verdict(puzzle: Puzzle, text: str) -> Judgement:
    """The judgement of one answer."""
    text = unwrapped(text)
    solved = None if len(text) > MAX_LENGTH else VERIFIERS[puzzle["name"]](puzzle, text)
    return "unreadable" if solved is None else "same" if solved else "different"


def known(puzzle: object) -> bool:
    """Whether a value describes a puzzle that can be verified."""
    if not isinstance(puzzle, Mapping):
        return False
    if puzzle.get("name") == "blocks":
        start, goal = puzzle.get("start"), puzzle.get("goal")
        if not isinstance(start, Mapping) or not isinstance(goal, Mapping):
            return False
        return bool(start) and start.keys() == goal.keys()
    rows = puzzle.get("grid")
    if not isinstance(rows, list | tuple) or not rows:
        return False
    if puzzle.get("name") == "maze":
        words = all(isinstance(row, str) and len(row) == len(rows[0]) for row in rows)
        return words and "".join(rows).count("S") == "".join(rows).count("G") == 1
    lists = all(isinstance(row, list | tuple) and len(row) == 4 for row in rows)
    return puzzle.get("name") == "sudoku" and lists and len(rows) == 4


def _parts(text: str) -> list[str]:
    return [part for part in SEPARATOR.split(text.strip()) if part]
