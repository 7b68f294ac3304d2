"""The kinds of answer: how each is found in free text and judged against its reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from ratiocine.grading import choices, countdown, expressions, latex, numbers, puzzles, worker
from ratiocine.grading.decimal_commas import in_points
from ratiocine.grading.numbers import read_number
from ratiocine.grading.senses import contradict
from ratiocine.grading.spans import judge_span, judge_string, references, span_detail
from ratiocine.grading.wording import STATED, folded, unwrapped
from ratiocine.grading.worker import Judgement
from ratiocine.records import LETTERS, Problem

SEARCHED = 4000  # characters at the beginning of a text in which a statement is looked for
SHORT_FORMULA = 200  # characters; a longer text is no bare formula


@dataclass(frozen=True)
class Kind:
    """One kind of answer."""

    usable: Callable[[Problem], bool]
    """Whether the problem's reference can be compared with."""
    judge: Callable[[Problem, str, float], Judgement]
    """Compares an extracted answer with the reference, in at most that many seconds."""
    read: Callable[[Problem, str], bool]
    """Whether a text as a whole is an answer of this kind."""
    find: Callable[[Problem, str], tuple[str, str] | None]
    """The fallback: an answer anywhere in a text, with how it was found (`Grade.reason`)."""
    detail: Callable[[Problem, str], Mapping[str, float]] = lambda problem, answer: {}
    """Further measures of an extracted answer."""
    lead: Callable[[Problem, str], str | None] = lambda problem, text: None
    """The answer that a statement begins with; empty if the statement goes on to revoke it."""


def canonical(answer: str) -> str:
    """One text for equal answers, for counting votes: the exact value of a number, else words
    in lower case, with single spaces, unwrapped."""
    value = read_number(answer)
    return str(value) if value is not None else folded(unwrapped(answer))


def understood(problem: Problem) -> bool:
    """Whether answers can be compared with the reference by value, not only by text."""
    if problem.kind != "expression" or problem.reference is None:
        return True
    if latex.read(problem.reference) is not None:
        return True
    return worker.equivalent(problem.reference, problem.reference) == "same"


def _judge_number(problem: Problem, answer: str, limit: float) -> Judgement:
    value = read_number(answer)
    if value is None:
        return "unreadable"
    tolerance = Fraction(str(problem.tolerance or 0))  # exact: 0.01 of 100 includes 101
    for text, wanted in zip(references(problem), _reference_numbers(problem), strict=True):
        near = wanted is not None and abs(value - wanted) <= tolerance * abs(wanted)
        if near and not contradict(text, answer):
            return "same"
    return "different"


def _reference_numbers(problem: Problem) -> list[Fraction | None]:
    return [read_number(in_points(problem, text)) for text in references(problem)]


def _judge_expression(problem: Problem, answer: str, limit: float) -> Judgement:
    judgements: list[Judgement] = []
    for reference in references(problem):
        judgements.append(expressions.compare(reference, answer, limit))
        if judgements[-1] == "same":
            return "same"
    return next((found for found in judgements if found != "different"), "different")


def _judge_choice(problem: Problem, answer: str, limit: float) -> Judgement:
    """Options are compared by text, because some benchmarks repeat one."""
    letter = choices.chosen(problem, answer)
    if letter is None:
        return "unreadable"
    assert problem.reference is not None
    chosen, wanted = (problem.choices[LETTERS.index(x)] for x in (letter, problem.reference))
    right = letter == problem.reference or chosen.split() == wanted.split()
    return "same" if right else "different"


def _judge_procedural(problem: Problem, answer: str, limit: float) -> Judgement:
    return worker.procedural(problem.meta["dataset"], dict(problem.meta["entry"]), answer, limit)


def _judge_countdown(problem: Problem, answer: str, limit: float) -> Judgement:
    if countdown.sides(answer) is None:
        return "unreadable"
    meta, exactly = problem.meta, not problem.meta.get("at_most_once", False)
    solved = countdown.solves(answer, meta["numbers"], meta["target"], exactly=exactly)
    return "same" if solved else "different"


def _judge_puzzle(problem: Problem, answer: str, limit: float) -> Judgement:
    return puzzles.verdict(problem.meta["puzzle"], answer)


def _read_puzzle(problem: Problem, text: str) -> bool:
    return puzzles.verdict(problem.meta["puzzle"], text) != "unreadable"


def _usable_number(problem: Problem) -> bool:
    return problem.reference is not None and None not in _reference_numbers(problem)


def _usable_choice(problem: Problem) -> bool:
    letters, reference = LETTERS[: len(problem.choices)], problem.reference
    return reference is not None and len(reference) == 1 and reference in letters


def _usable_text(problem: Problem) -> bool:
    return bool(problem.reference and problem.reference.strip())


def _usable_instructions(problem: Problem) -> bool:
    from ratiocine.grading.instructions import checkable

    names = problem.meta.get("instruction_id_list") or []
    arguments = problem.meta.get("kwargs") or []
    return checkable(names, arguments)


def _usable_countdown(problem: Problem) -> bool:
    given, target = problem.meta.get("numbers"), problem.meta.get("target")
    if not isinstance(given, list | tuple) or not given or type(target) is not int:
        return False
    return all(type(number) is int and number >= 0 for number in given)


def _read_text(problem: Problem, text: str) -> bool:
    """A text without a statement such as "the answer is …" is itself the answer."""
    return STATED.search(text[:SEARCHED]) is None


def _read_expression(problem: Problem, text: str) -> bool:
    if len(text) > SHORT_FORMULA or STATED.search(text) is not None:
        return False
    return latex.read(text) is not None


def _read_choice(problem: Problem, text: str) -> bool:
    return _read_text(problem, text) and choices.chosen(problem, text) is not None


def _find_nothing(problem: Problem, text: str) -> None:
    return None


KINDS: dict[str, Kind] = {
    "number": Kind(
        usable=_usable_number,
        judge=_judge_number,
        read=lambda problem, text: read_number(text) is not None,
        find=lambda problem, text: numbers.last_number(text),
        lead=lambda problem, text: numbers.first_number(text),
    ),
    "expression": Kind(
        usable=_usable_text,
        judge=_judge_expression,
        read=_read_expression,
        find=lambda problem, text: expressions.last_formula(text),
    ),
    "choice": Kind(
        usable=_usable_choice,
        judge=_judge_choice,
        read=_read_choice,
        find=choices.only_letter,
        lead=choices.first_letter,
    ),
    "span": Kind(
        usable=_usable_text,
        judge=judge_span,
        read=_read_text,
        find=_find_nothing,
        detail=span_detail,
    ),
    "string": Kind(usable=_usable_text, judge=judge_string, read=_read_text, find=_find_nothing),
    "instructions": Kind(
        usable=_usable_instructions, judge=judge_string, read=_read_text, find=_find_nothing
    ),
    "procedural": Kind(
        usable=_usable_text, judge=_judge_procedural, read=_read_text, find=_find_nothing
    ),
    "countdown": Kind(
        usable=_usable_countdown,
        judge=_judge_countdown,
        read=lambda problem, text: countdown.sides(text) is not None,
        find=lambda problem, text: countdown.last_expression(text),
    ),
    "puzzle": Kind(
        usable=lambda problem: puzzles.known(problem.meta.get("puzzle")),
        judge=_judge_puzzle,
        read=_read_puzzle,
        find=_find_nothing,
    ),
}
