"""Puzzles: every generated one is solved, the verifier accepts the solver's answer and rejects a
mutated one, and solvers agree with enumeration."""

from collections.abc import Iterator
from itertools import permutations

import pytest

from ratiocine.completion_parts import split
from ratiocine.data import FAMILIES, PUZZLE_FAMILIES, generate, gradable, solve_numbers
from ratiocine.errors import BadInput
from ratiocine.grading import grade, puzzles
from ratiocine.records import LETTERS, Problem

LEVELS = [
    (name, level)
    for name, family in PUZZLE_FAMILIES.items()
    for level in range(1, len(family.levels) + 1)
]


def some(name: str, level: int, n: int = 60) -> list[Problem]:
    return generate(name, n, seed=3, difficulty=level, split="train", instruction="Box it.")


def verdict(problem: Problem, answer: str) -> str:
    return grade(problem, split(f"\\boxed{{{answer}}}")).verdict


def mutated(problem: Problem) -> Iterator[str]:
    """Answers that are surely wrong: one step less than a shortest plan or path, another step at
    its end, another digit, another number, another person."""
    answer = problem.reference or ""
    if problem.kind == "choice":
        yield from (x for x in LETTERS[: len(problem.choices)] if x != answer)
    elif problem.kind == "countdown":
        for at, sign in enumerate(answer):
            if sign.isdigit():
                yield f"{answer[:at]}{(int(sign) + 1) % 10}{answer[at + 1 :]}"
        yield f"{answer} + 1"
    elif problem.meta["puzzle"]["name"] == "sudoku":
        for at, digit in enumerate(answer):
            if digit.isdigit():
                yield f"{answer[:at]}{int(digit) % 4 + 1}{answer[at + 1 :]}"
    else:
        blocks = problem.meta["puzzle"]["name"] == "blocks"
        separator = "; " if blocks else ", "
        steps = answer.split(separator)
        yield from (
            separator.join(steps[:at] + steps[at + 1 :]) or "none" for at in range(len(steps))
        )
        others = (
            ["A to A", "table to A"]
            if blocks
            else [x for x in puzzles.DIRECTIONS if x != steps[-1]]
        )
        yield from (separator.join([*steps[:-1], other]) for other in others)


@pytest.mark.parametrize(("name", "level"), LEVELS)
def test_the_verifier_accepts_the_solution_and_rejects_mutations(name: str, level: int) -> None:
    tried = 0
    for problem in some(name, level):
        assert gradable(problem)
        for wrong in mutated(problem):
            assert verdict(problem, wrong) == "wrong", (problem.question, wrong)
            tried += 1
    assert tried >= 60


@pytest.mark.parametrize(
    ("name", "level"), [(name, level) for name, level in LEVELS if "sudoku" in name]
)
def test_a_sudoku_has_one_solution(name: str, level: int) -> None:
    rows = [" ".join(row) for row in permutations("1234")]
    for problem in some(name, level, n=5):
        given = problem.question.split("\n")[:4]
        fitting = [
            [row for row in rows if all(a in (b, "_") for a, b in zip(line, row))] for line in given
        ]
        solved = [
            text
            for a in fitting[0]
            for b in fitting[1]
            for c in fitting[2]
            for d in fitting[3]
            if puzzles.solves_sudoku(problem.meta["puzzle"], text := " / ".join((a, b, c, d)))
        ]
        assert solved == [problem.reference]


def test_countdown_is_solved_where_it_can_be() -> None:
    steps = solve_numbers((2, 3, 7, 10), 24)
    assert steps is not None
    assert steps[-1].value == 24
    assert solve_numbers((1, 1, 1, 1), 24) is None
    assert solve_numbers((3, 3, 8, 8), 24) is None  # 8 / (3 - 8 / 3) has fractions on the way


MAZE = {"name": "maze", "grid": ["S.", "#G"]}
BLOCKS = {
    "name": "blocks",
    "start": {"A": "table", "B": "A", "C": "table"},
    "goal": {"A": "B", "B": "table", "C": "table"},
}
SUDOKU = {"name": "sudoku", "grid": [[1, 0, 3, 4], [3, 4, 1, 2], [2, 1, 4, 3], [4, 3, 2, 1]]}


@pytest.mark.parametrize(
    ("puzzle", "answer", "expected"),
    [
        (MAZE, "right, down", "same"),
        (MAZE, "R D", "same"),
        (MAZE, "RD", "same"),
        (MAZE, "right then down", "same"),
        (MAZE, "right, left, right, down", "same"),  # a detour is a path
        (MAZE, "down, right", "different"),  # through a wall
        (MAZE, "right, right, down", "different"),  # off the grid
        (MAZE, "right", "different"),
        (MAZE, "Right, I go down", "unreadable"),
        (BLOCKS, "B to table; A to B", "same"),
        (BLOCKS, "Move B to the table, then move A onto B", "same"),
        (BLOCKS, "B to C; B to table; A to B", "same"),  # longer than needed
        (BLOCKS, "A to B", "different"),  # A is not clear
        (BLOCKS, "B to table", "different"),
        (BLOCKS, "D to table; B to table; A to B", "different"),  # no such block
        (BLOCKS, "no plan", "unreadable"),
        (SUDOKU, "1 2 3 4 / 3 4 1 2 / 2 1 4 3 / 4 3 2 1", "same"),
        (SUDOKU, "1234\n3412\n2143\n4321", "same"),
        (SUDOKU, "1 1 3 4 / 3 4 1 2 / 2 1 4 3 / 4 3 2 1", "different"),
        (SUDOKU, "2 1 4 3 / 4 3 2 1 / 1 2 3 4 / 3 4 1 2", "different"),  # not the given digits
        (SUDOKU, "1 2 3 4", "unreadable"),
    ],
)
def test_verifiers(puzzle: dict, answer: str, expected: str) -> None:
    assert puzzles.verdict(puzzle, answer) == expected


@pytest.mark.parametrize(
    ("name", "settings", "why"),
    [
        ("zebra", {"people": 5}, "people=5 kinds=1 are not 3 or 4 people"),
        ("blocks", {"blocks": 8}, "blocks=8 is more than 5"),
        ("hops", {"steps": 6}, "steps=6 needs more people than 6"),
        ("swaps", {"rounds": 2}, "rounds is unknown; known: steps, people"),
        ("swaps", {"steps": 1.5}, "steps=1.5 is no positive integer"),
        ("swaps", {"people": 99}, "99 is more than 22"),
        ("maze", {"steps": 30}, "no problem found"),
    ],
)
def test_impossible_settings_are_told(name: str, settings: dict, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        generate(name, 3, seed=0, difficulty=1, split="train", instruction="", settings=settings)


def test_a_puzzle_of_an_unknown_name_is_ungradable() -> None:
    (problem,) = some("maze", 1, n=1)
    assert FAMILIES["maze"].kind == problem.kind == "puzzle"
    broken = ({"name": "maze", "grid": ["..", "G."]}, {"name": "sudoku", "grid": [[1, 2]]})
    for puzzle in (None, {}, {"name": "chess"}, {"name": "blocks", "start": {}}, *broken):
        unknown = Problem("1", "?", "right", "puzzle", "general-oe", "t", meta={"puzzle": puzzle})
        assert grade(unknown, split("\\boxed{right}")).verdict == "ungradable"
