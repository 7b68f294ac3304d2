"""Replay of an oracle's trace: every line is checked against the question alone, never against the
oracle's variables.

`fault(problem, trace)` is None if each step holds, the steps follow from the question, and the last
one is the answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from distill.oracle import STEP
from distill.replay_puzzles import PUZZLE_CHECKS
from distill.replay_steps import STEP_CHECKS
from ratiocine.data import counterexample, parse, refutes
from ratiocine.grading import NUMBER_IN_TEXT, leg_counts, read_number
from ratiocine.records import LETTERS, Problem

CORRECTION = re.compile(r"Wait, (.+) is wrong: (.+)")
# Two plain numbers and their result, in a text of people's making; not the tail of a longer sum,
# nor a percentage.
EQUATION = re.compile(
    r"(?<![\d.%*/+-])(?<![*/+x-] )(?<![*/+x-] [$£€])"
    r"(\d+(?:\.\d+)?) ?([-+*/]) ?[$£€]?(\d+(?:\.\d+)?) ?= ?[$£€]?(\d+(?:\.\d+)?)(?![\d%./])"
)
OPERATORS: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
}


def fault(problem: Problem, trace: str) -> str | None:
    """Why the trace does not prove the reference, as a short name to count; None if it does."""
    lines = _corrected(trace.split("\n"))
    if lines is None:
        return "correction"
    if problem.kind == "choice":
        option = re.fullmatch(r"([A-J])\. (.+)", lines.pop())
        if (
            option is None
            or option[1] != problem.reference
            or _text(problem, option[1]) != option[2]
        ):
            return "option"
    return CHECKS[problem.meta["family"]](problem, lines)


def _corrected(lines: list[str]) -> list[str] | None:
    """The lines with each wrong step replaced by its correction; None if a correction does not name
    the step before it, changes more than its result, or corrects a step that holds."""
    found: list[str] = []
    for line in lines:
        correction = CORRECTION.fullmatch(line)
        if correction is None:
            found.append(line)
            continue
        wrong, right = (STEP.fullmatch(text) for text in correction.groups())
        if wrong is None or right is None or not found or found[-1] != wrong[0]:
            return None
        if wrong.groups()[:3] != right.groups()[:3] or wrong[4] == right[4]:
            return None
        found[-1] = right[0]
    return found


def _text(problem: Problem, letter: str) -> str | None:
    return dict(zip(LETTERS, problem.choices, strict=False)).get(letter)


def _sum_chain(expression: str, lines: list[str]) -> int | None:
    """The final value, if the lines are the steps of the expression in order and each holds; else
    None."""
    total, *rest = expression.split()
    for line, operator, term in zip(lines, rest[::2], rest[1::2], strict=True):
        step = STEP.fullmatch(line)
        if step is None or step.groups()[:3] != (total, operator, term):
            return None
        if OPERATORS[operator](Fraction(total), Fraction(term)) != int(step[4]):
            return None
        total = step[4]
    return int(total)


def _chain_sum(problem: Problem, lines: list[str]) -> str | None:
    expression = (
        problem.question.removeprefix("What is ").removeprefix("Which number is ").removesuffix("?")
    )
    if len(lines) != len(expression.split()) // 2:
        return "steps"
    reached = _sum_chain(expression, lines)
    wanted = (
        problem.reference if problem.kind == "number" else _text(problem, problem.reference or "")
    )
    return None if str(reached) == wanted else "arithmetic"


def _leg_counting(problem: Problem, lines: list[str]) -> str | None:
    legs = leg_counts()
    listed = re.findall(r"(\d+) ([a-z ]+?)(?=,|\?)", problem.question)
    products = []
    for (count, plural), line in zip(listed, lines, strict=False):
        animal, _, step = line.partition(": ")
        match = STEP.fullmatch(step)
        if (
            not plural.startswith(animal)
            or match is None
            or match.groups()[:3] != (count, "*", str(legs.get(animal)))
        ):
            return "animal"
        if int(match[1]) * int(match[3]) != int(match[4]):
            return "arithmetic"
        products.append(match[4])
    if len(products) != len(listed) or len(lines) != 2 * len(listed) - 1:
        return "steps"
    reached = _sum_chain(" + ".join(products), lines[len(products) :])
    return None if str(reached) == problem.reference else "arithmetic"


def _gsm_symbolic(problem: Problem, lines: list[str]) -> str | None:
    """Every equation `a ∘ b = c` between plain numbers holds, and the reference is among the
    results."""
    text = " ".join(lines).replace("×", "*").replace("÷", "/").replace(",", "")
    for a, operator, b, value in EQUATION.findall(text):
        left, right = Fraction(a), Fraction(b)
        if operator == "/" and right == 0:
            return "arithmetic"
        exact = left / right if operator == "/" else OPERATORS[operator](left, right)
        if abs(exact - Fraction(value)) > Fraction(1, 100):
            return "arithmetic"
    reached = {read_number(found) for found in NUMBER_IN_TEXT.findall(text.replace("=", "= "))}
    return None if read_number(problem.reference or "") in reached else "solution_misses_reference"


def _pick_number(problem: Problem, lines: list[str]) -> str | None:
    smallest = "smallest" in problem.question
    order = lines[0].split(" < " if smallest else " > ") if len(lines) == 1 else []
    if sorted(order) != sorted(problem.choices):
        return "candidates"
    if order != sorted(order, key=float, reverse=not smallest):
        return "order"
    return None if order[0] == _text(problem, problem.reference or "") else "option"


def _spell_backward(problem: Problem, lines: list[str]) -> str | None:
    word = problem.question.rpartition(": ")[2]
    if len(lines) != 2 or lines[0].split() != list(word):
        return "spelling"
    backward = lines[1].split()
    return (
        None
        if backward == list(word)[::-1] and "".join(backward) == problem.reference
        else "reversal"
    )


def _letter_counting(problem: Problem, lines: list[str]) -> str | None:
    asked = re.fullmatch(
        r'How many times does the letter "(.)" appear in the text: "(.*)"\?', problem.question
    )
    assert asked is not None
    words = asked[2].split()
    if len(lines) != 2 * len(words) - 1:
        return "steps"
    counts = []
    for word, line in zip(words, lines, strict=False):
        named, _, count = line.rpartition(": ")
        if named != word or count != str(sum(c == asked[1].lower() for c in word.lower())):
            return "count"
        counts.append(count)
    reached = _sum_chain(" + ".join(counts), lines[len(words) :])
    return None if str(reached) == problem.reference else "arithmetic"


def _syllogism(problem: Problem, lines: list[str]) -> str | None:
    *premises, conclusion = parse(problem.question)
    if len(lines) != 1:
        return "steps"
    if problem.reference == "A":
        stated = parse(lines[0])
        if stated != [conclusion.denial(), *premises]:
            return "statements"
        return None if counterexample(premises, conclusion) is None else "does_not_follow"
    people = lines[0].removeprefix("These could be all there are: ").removesuffix(".").split("; ")
    case = [frozenset(who.split(" and ")) for who in people]
    return None if refutes(case, premises, conclusion) else "no_counterexample"


def _needle(problem: Problem, lines: list[str]) -> str | None:
    text, _, question = problem.question.partition("\n")
    if len(lines) != 1:
        return "steps"
    sentence, name = lines[0], _text(problem, problem.reference or "")
    if sentence.rstrip(".") not in text.rstrip(".").split(". "):
        return "not_in_text"
    return (
        None
        if f"{name} {question.removeprefix('Who ').removesuffix('?')}." == sentence
        else "not_asked"
    )


CHECKS: dict[str, Callable[[Problem, list[str]], str | None]] = {
    "chain_sum": _chain_sum,
    "chain_sum_mc": _chain_sum,
    "leg_counting": _leg_counting,
    "gsm_symbolic": _gsm_symbolic,
    "pick_number": _pick_number,
    "spell_backward": _spell_backward,
    "letter_counting": _letter_counting,
    "syllogism": _syllogism,
    "syllogism_balanced": _syllogism,
    "needle": _needle,
    "letter_count": _letter_counting,
    "sum_choice": _chain_sum,
    **STEP_CHECKS,
    **PUZZLE_CHECKS,
}
