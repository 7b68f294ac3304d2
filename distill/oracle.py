"""The oracle teacher: a step-by-step trace to the reference for every embedded family.

A trace is written from the generator's variables (`Problem.meta`); `distill.replay` verifies it
from the question alone. Both sides of a pair end in the same `\\boxed{}`, so they agree by
construction.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from ratiocine.data import counterexample, parse
from ratiocine.hashing import digest
from ratiocine.records import LETTERS, Problem

STEP = re.compile(r"(-?\d+) ([-+*]) (-?\d+) = (-?\d+)")


def answer(problem: Problem) -> str:
    """The direct answer, which also ends the reasoning answer."""
    return f"\\boxed{{{problem.reference}}}"


def trace(problem: Problem) -> str:
    """The reasoning trace of one embedded problem."""
    return TRACERS.get(problem.meta["family"], _steps)(problem)


def with_mistake(problem: Problem, text: str, share: float, seed: int) -> str:
    """The trace, or with probability `share` the trace with a wrong result of one of its sums,
    which the next line names and corrects. Traces without sums are unchanged."""
    rng = random.Random(digest("mistakes", seed, problem.source, problem.id))
    lines = text.split("\n")
    sums = [at for at, line in enumerate(lines) if STEP.fullmatch(line)]
    if rng.random() >= share or not sums:
        return text
    at = rng.choice(sums)
    left, _, result = lines[at].rpartition(" = ")
    wrong = f"{left} = {int(result) + rng.choice((-10, -2, -1, 1, 2, 10))}"
    correction = f"Wait, {wrong} is wrong: {lines[at]}"
    return "\n".join([*lines[:at], wrong, correction, *lines[at + 1 :]])


def running_sums(expression: str) -> list[str]:
    """`4 - 1 - 7` → [`4 - 1 = 3`, `3 - 7 = -4`]."""
    total, *rest = expression.split()
    steps = []
    for operator, term in zip(rest[::2], rest[1::2], strict=True):
        value = int(total) + int(term) if operator == "+" else int(total) - int(term)
        steps.append(f"{total} {operator} {term} = {value}")
        total = str(value)
    return steps


def _option(problem: Problem) -> str:
    letter = problem.reference or ""
    return f"{letter}. {problem.choices[LETTERS.index(letter)]}"


def _steps(problem: Problem) -> str:
    """The steps that the generator noted."""
    lines = list(problem.meta["steps"])
    return "\n".join([*lines, _option(problem)] if problem.choices else lines)


def _chain_sum(problem: Problem) -> str:
    return "\n".join(running_sums(problem.meta["expression"]))


def _chain_sum_mc(problem: Problem) -> str:
    return f"{_chain_sum(problem)}\n{_option(problem)}"


def _leg_counting(problem: Problem) -> str:
    counts = [(name, n, problem.meta["legs"][name]) for name, n in problem.meta["animals"].items()]
    lines = [f"{name}: {n} * {legs} = {n * legs}" for name, n, legs in counts]
    return "\n".join([*lines, *running_sums(" + ".join(str(n * legs) for _, n, legs in counts))])


def _gsm_symbolic(problem: Problem) -> str:
    return str(problem.meta["solution"]).partition("\n####")[0].strip()


def _pick_number(problem: Problem) -> str:
    sign = " < " if "smallest" in problem.question else " > "
    ordered = sorted(problem.choices, key=float, reverse=sign == " > ")
    return f"{sign.join(ordered)}\n{_option(problem)}"


def _spell_backward(problem: Problem) -> str:
    word = problem.meta["word"]
    return f"{' '.join(word)}\n{' '.join(reversed(word))}"


def _letter_counting(problem: Problem) -> str:
    letter = problem.meta["letter"].lower()
    counts = [(word, word.lower().count(letter)) for word in problem.meta["words"]]
    lines = [f"{word}: {n}" for word, n in counts]
    return "\n".join([*lines, *running_sums(" + ".join(str(n) for _, n in counts))])


def _syllogism(problem: Problem) -> str:
    *premises, conclusion = parse(problem.question)
    case = counterexample(premises, conclusion)
    if case is None:
        both = ", ".join(map(str, premises))
        return f"If {conclusion.denial()}, then not both: {both}.\n{_option(problem)}"
    people = "; ".join(" and ".join(sorted(who)) for who in case)
    return f"These could be all there are: {people}.\n{_option(problem)}"


def _needle(problem: Problem) -> str:
    name = problem.choices[LETTERS.index(problem.reference or "")]
    sentences = problem.question.split("\n")[0].rstrip(".").split(". ")
    return f"{next(s for s in sentences if s.startswith(name))}.\n{_option(problem)}"


# Other families note their steps in `meta.steps`.
TRACERS: dict[str, Callable[[Problem], str]] = {
    "chain_sum": _chain_sum,
    "chain_sum_mc": _chain_sum_mc,
    "leg_counting": _leg_counting,
    "gsm_symbolic": _gsm_symbolic,
    "pick_number": _pick_number,
    "spell_backward": _spell_backward,
    "letter_counting": _letter_counting,
    "syllogism": _syllogism,
    "syllogism_balanced": _syllogism,
    "needle": _needle,
}
