"""Replay of the puzzle families: each line is a legal step of the puzzle in the question, and the
reference solves it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import chain, permutations, product

from distill.replay_steps import Check, compared
from ratiocine.grading import countdown, puzzles
from ratiocine.records import LETTERS, Problem

OPERATION = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+)")
CELL = re.compile(r"row ([1-4]), column ([1-4]): not (\d) (\d) (\d), so (\d)")
FACT = re.compile(r"(?:The owner of )?(\w+) (has|does not have) (\w+)\.")
World = dict[str, str]  # the owner of each thing; of a person the person


def _expression(problem: Problem, lines: list[str]) -> str | None:
    given, _, target = problem.question.partition(" exactly once")
    left = Counter(map(int, re.findall(r"\d+", given)))
    wanted = int(re.findall(r"\d+", target)[-1])
    numbers = list(left.elements())
    for line in lines:
        step = OPERATION.fullmatch(line)
        if step is None:
            return "steps"
        used = Counter((int(step[1]), int(step[3])))
        sides = countdown.sides(line)
        if used - left or sides is None or sides[0][0] != sides[1][0]:
            return "arithmetic"
        left = left - used + Counter([int(step[4])])
    if list(left.elements()) != [wanted]:
        return "steps"
    return None if countdown.solves(problem.reference or "", numbers, wanted) else "answer"


def _blocks(problem: Problem, lines: list[str]) -> str | None:
    start, goal = (
        dict(re.findall(r"(\w) is on (\w+)", part))
        for part in problem.question.split("A block with")[0].split("Goal: ")
    )
    state, moves = dict(start), []
    for line in lines:
        move, _, told = line.partition(": ")
        block, _, to = move.partition(" to ")
        covered = set(state.values())
        free = to == "table" or (to in state and to not in {block, *covered})
        if block not in state or block in covered or not free:
            return "move"
        state[block] = to
        if told != ", ".join(f"{one} is on {on}" for one, on in state.items()):
            return "state"
        moves.append(move)
    if state != goal:
        return "goal"
    return None if "; ".join(moves) == problem.reference else "answer"


def _maze(problem: Problem, lines: list[str]) -> str | None:
    rows = [row.split() for row in problem.question.split("\n")[:-1]]
    cells = {(r, c): cell for r, row in enumerate(rows, 1) for c, cell in enumerate(row, 1)}
    (at,) = (place for place, cell in cells.items() if cell == "S")
    words = []
    for line in lines:
        word, _, place = line.partition(": ")
        down, right = puzzles.DIRECTIONS.get(word, (9, 9))
        at = at[0] + down, at[1] + right
        if cells.get(at, "#") == "#" or place != f"row {at[0]}, column {at[1]}":
            return "step"
        words.append(word)
    if cells[at] != "G":
        return "goal"
    return None if ", ".join(words) == problem.reference else "answer"


def _sudoku(problem: Problem, lines: list[str]) -> str | None:
    rows = [row.split() for row in problem.question.split("\n")[:4]]
    for line in lines:
        cell = CELL.fullmatch(line)
        if cell is None:
            return "step"
        row, column = int(cell[1]) - 1, int(cell[2]) - 1
        top, left = row - row % 2, column - column % 2
        seen = {*rows[row], *(other[column] for other in rows)}
        seen |= {*rows[top][left : left + 2], *rows[top + 1][left : left + 2]}
        if rows[row][column] != "_" or sorted(seen - {"_"}) != list(cell.groups()[2:5]):
            return "cell"
        if {*seen - {"_"}, cell[6]} != set("1234"):
            return "digit"
        rows[row][column] = cell[6]
    return compared(problem, [], ([], " / ".join(" ".join(row) for row in rows)))


def _worlds(problem: Problem) -> list[World]:
    """All ways to give the things of each kind to the people."""
    kinds = problem.question.split(" of each kind: ")[1].split(". ")[0].split(", ")
    people = sorted(problem.choices)
    things = [thing for kind in kinds for thing in kind.split("/")]
    return [
        dict(zip([*people, *things], chain(people, *orders), strict=True))
        for orders in product(permutations(people), repeat=len(kinds))
    ]


def _holds(world: World, sentence: str) -> bool:
    fact = FACT.fullmatch(sentence)
    assert fact is not None
    return (world[fact[1]] == world[fact[3]]) == (fact[2] == "has")


def _zebra(problem: Problem, lines: list[str]) -> str | None:
    """Each line follows from the lines before it and the clue that it names; all are needed."""
    clues = dict(re.findall(r"\((\d)\) ([^.]+\.)", problem.question))
    asked = re.search(r"Who has (\w+):", problem.question)
    chosen = problem.choices[LETTERS.index(problem.reference or "")]
    assert asked is not None
    if not lines or not lines[-1].endswith(f" {chosen} has {asked[1]}."):
        return "answer"
    worlds = _worlds(problem)
    if _faulty(worlds, clues, lines):
        return "deduction"
    shorter = (lines[:at] + lines[at + 1 :] for at in range(len(lines) - 1))
    return None if all(_faulty(worlds, clues, fewer) for fewer in shorter) else "idle_step"


def _faulty(worlds: Sequence[World], clues: dict[str, str], lines: Sequence[str]) -> bool:
    left = list(worlds)
    for line in lines:
        label, _, sentence = line.partition(" ")
        clue = clues.get(label.strip("()"))
        if FACT.fullmatch(sentence) is None or (clue is None and label != "So"):
            return True
        if sentence.split()[0] == "The":
            return True
        possible = [world for world in left if clue is None or _holds(world, clue)]
        if not all(_holds(world, sentence) for world in possible):
            return True
        left = [world for world in left if _holds(world, sentence)]
    return False


PUZZLE_CHECKS: dict[str, Check] = {
    "countdown": _expression,
    "twenty_four": _expression,
    "blocks": _blocks,
    "maze": _maze,
    "sudoku": _sudoku,
    "zebra": _zebra,
}
