"""Families of puzzles, each with an exact solver: Countdown and 24, blocks world, mazes, 4 × 4
sudoku and zebra puzzles. The verifiers are in `ratiocine/grading`."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from ratiocine.data import blocks, four_by_four, mazes, zebra
from ratiocine.data.arithmetic_solver import Step, solve_numbers
from ratiocine.data.family import Draft, Family, levels, shuffled
from ratiocine.data.words import COLORS, NAMES, attempts, listed, sample

Ints = Mapping[str, int]
BLOCK_NAMES = "ABCDEFGHJKLMNPQRSTUVWXYZ"
DRINKS = ("tea", "milk", "juice", "water", "cocoa", "soda")
PETS = ("cat", "dog", "fish", "bird", "pony", "frog")
THINGS = (COLORS, PETS, DRINKS)


def _expression_draft(numbers: Sequence[int], target: int, steps: Sequence[Step]) -> Draft:
    given = ", ".join(map(str, numbers))
    question = f"Use each of the numbers {given} exactly once with +, -, * and / to make {target}."
    meta = {"numbers": list(numbers), "target": target}
    return Draft(question, steps[-1].expression, [str(step) for step in steps], meta=meta)


def _countdown(rng: random.Random, settings: Ints) -> Draft:
    """Numbers and target are drawn independently, so that the target tells little of the way."""
    for _ in attempts():
        numbers = sorted(rng.randint(1, settings["largest"]) for _ in range(settings["numbers"]))
        target = rng.randint(10, 60)
        if target not in numbers and (steps := solve_numbers(tuple(numbers), target)):
            break
    assert steps is not None
    return _expression_draft(numbers, target, steps)


def _twenty_four(rng: random.Random, settings: Ints) -> Draft:
    for _ in attempts():
        numbers = sorted(rng.randint(1, settings["largest"]) for _ in range(4))
        if steps := solve_numbers(tuple(numbers), 24):
            break
    assert steps is not None
    return _expression_draft(numbers, 24, steps)


def _blocks(rng: random.Random, settings: Ints) -> Draft:
    n, names = settings["blocks"], sample(rng, BLOCK_NAMES, settings["blocks"])
    states = blocks.states(n)
    for _ in attempts():
        start, goal = rng.choice(states), rng.choice(states)
        plan = blocks.solve(start, goal)
        if len(plan) == settings["moves"]:
            break

    def named(state: blocks.State) -> dict[str, str]:
        return {names[at]: "table" if on < 0 else names[on] for at, on in enumerate(state)}

    def told(state: blocks.State) -> str:
        return ", ".join(f"{block} is on {on}" for block, on in named(state).items())

    moves, steps, state = [], [], start
    for block, on in plan:
        moves.append(f"{names[block]} to {'table' if on < 0 else names[on]}")
        state = blocks.moved(state, block, on)
        steps.append(f"{moves[-1]}: {told(state)}")
    question = (
        f"Start: {told(start)}. Goal: {told(goal)}. A block with nothing on it can be moved to the "
        'table or to such a block. Which moves reach the goal? Write "X to Y" for a move, and "; " '
        "between moves."
    )
    puzzle = {"name": "blocks", "start": named(start), "goal": named(goal)}
    return Draft(question, "; ".join(moves), steps, meta={"puzzle": puzzle})


def _maze(rng: random.Random, settings: Ints) -> Draft:
    for _ in attempts():
        grid = mazes.draw(settings["size"], rng)
        path = mazes.solve(grid)
        if path is not None and len(path) == settings["steps"]:
            break
    assert path is not None
    lines = [f"{word}: row {row}, column {column}" for word, row, column in path]
    rows = "\n".join(" ".join(row) for row in grid)
    question = (
        f"{rows}\nWhich steps (up, down, left, right) lead from S to G without entering #? Write "
        'them with ", " between.'
    )
    answer = ", ".join(word for word, _, _ in path)
    return Draft(question, answer, lines, meta={"puzzle": {"name": "maze", "grid": list(grid)}})


def _sudoku(rng: random.Random, settings: Ints) -> Draft:
    for _ in attempts():
        grid = four_by_four.draw(settings["blanks"], rng)
        steps = four_by_four.solve(grid)
        if steps is not None:
            break
    assert steps is not None
    solved = [list(row) for row in grid]
    lines = []
    for row, column, seen, digit in steps:
        solved[row][column] = digit
        others = " ".join(map(str, seen))
        lines.append(f"row {row + 1}, column {column + 1}: not {others}, so {digit}")
    rows = "\n".join(" ".join(str(digit or "_") for digit in row) for row in grid)
    question = (
        f"{rows}\nFill in the blanks: each row, column and 2 by 2 box has the digits 1 to 4. Write "
        'the four rows with " / " between.'
    )
    answer = " / ".join(" ".join(map(str, row)) for row in solved)
    puzzle = {"name": "sudoku", "grid": [list(row) for row in grid]}
    return Draft(question, answer, lines, meta={"puzzle": puzzle})


def _zebra(rng: random.Random, settings: Ints) -> Draft:
    """The place of the right name in the order of mentions is uniform."""
    n, kinds = settings["people"], settings["kinds"]
    people = sample(rng, NAMES, n)
    things = [sample(rng, values, n) for values in sample(rng, THINGS, kinds)]
    place = rng.randrange(n)
    for _ in attempts():
        puzzle = zebra.draw(n, kinds, rng)
        told = [zebra.sentence(clue, people, things) for clue in puzzle.clues]
        mentions = {name: sum(f"{name} " in one for one in told) for name in people}
        options = shuffled(people, rng)
        order = sorted(options, key=lambda name: mentions[name])
        if order.index(people[puzzle.person]) == place:
            break
    facts = ", ".join("/".join(rng.sample(values, n)) for values in things)
    clues = " ".join(f"({at}) {text}" for at, text in enumerate(told, 1))
    kind, value = puzzle.asked
    question = (
        f"{listed(people)} have different things of each kind: {facts}. {clues} Who has "
        f"{things[kind][value]}: {', '.join(options)}?"
    )
    lines = [
        ("So " if step.clue is None else f"({step.clue + 1}) ")
        + zebra.sentence(step.fact, people, things)
        for step in puzzle.steps
    ]
    return Draft(question, people[puzzle.person], lines, options)


PUZZLE_FAMILIES: dict[str, Family] = {
    "countdown": Family(
        "math-oe",
        "countdown",
        "countdown",
        tuple({"numbers": n, "largest": most} for n, most in ((3, 12), (3, 20), (4, 12))),
        draw=_countdown,
    ),
    "twenty_four": Family(
        "math-oe", "countdown", "twenty_four", ({"largest": 13},), draw=_twenty_four
    ),
    "blocks": Family(
        "general-oe",
        "puzzle",
        "blocks",
        tuple({"blocks": n, "moves": moves} for n, moves in ((3, 1), (3, 2), (3, 3), (4, 4))),
        draw=_blocks,
        guess=1 / 6,
    ),
    "maze": Family(
        "general-oe", "puzzle", "maze", levels("steps", 3, 4, 6, size=4), draw=_maze, guess=1 / 12
    ),
    "sudoku": Family("general-oe", "puzzle", "sudoku", levels("blanks", 4, 6, 8), draw=_sudoku),
    "zebra": Family(
        "general-mc",
        "choice",
        "zebra",
        tuple({"people": n, "kinds": kinds} for n, kinds in ((3, 1), (3, 2), (4, 2))),
        draw=_zebra,
    ),
}
