"""grade(problem, parts): the one grader. It filters teacher answers, scores students and will pay rewards.

The answer is looked for after the trace only, in this order: the last `\\boxed{}`; then, by kind of answer, the last number
(`number`), the only option letter or an option's text (`choice`), the whole answer (`string`). `Grade.reason` says which.
Fault decides the verdict: whatever the completion did is `wrong`; `ungradable` is a problem whose own reference is unusable.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from ratiocine.problems import LETTERS, Problem
from ratiocine.prompts import Parts

NUMBER = re.compile(r"-?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:/\d+)?")
NUMBER_IN_TEXT = re.compile(r"(?<![\w.])-?\$?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:/[1-9]\d*)?")
LETTER_IN_TEXT = re.compile(r"(?<![\w])\(?([A-J])\)?(?![\w'])")


@dataclass(frozen=True)
class Grade:
    """`extracted` is the answer that was judged, None where none was found; `reason` how it was found or why not."""

    verdict: Literal["right", "wrong", "ungradable"]
    extracted: str | None
    reason: str


def grade(problem: Problem, parts: Parts) -> Grade:
    """Judge one completion of one problem."""
    if problem.reference is None or _same(problem, problem.reference) is not True:
        return Grade("ungradable", None, "reference")
    if not parts.closed:
        return Grade("wrong", None, "unclosed")
    extracted: str | None
    if parts.boxed is not None:
        extracted, reason = parts.boxed, "boxed"
    else:
        extracted, reason = FALLBACKS[problem.kind](problem, parts.answer)
    if extracted is None:
        return Grade("wrong", None, "no_answer")
    same = _same(problem, extracted)
    if same is None:
        return Grade("wrong", extracted, f"{reason}_unreadable")
    return Grade("right" if same else "wrong", extracted, reason)


def _same(problem: Problem, answer: str) -> bool | None:
    """Whether `answer` is the reference; None where it cannot be read as an answer of this kind."""
    reader = READERS[problem.kind]
    assert problem.reference is not None
    value, wanted = reader(problem, answer), reader(problem, problem.reference)
    return None if value is None or wanted is None else value == wanted


def read_number(text: str) -> Fraction | None:
    """The exact value of a plain number: sign, thousands commas, decimals, a fraction; `$`, `%` and a final stop do not
    count. None for anything else."""
    plain = re.sub(r"\\[$%!, ]|[$%\s]", "", text.replace("\\$", "").replace("\\%", "")).rstrip(".").lstrip("+")
    if not plain or not any(c.isdigit() for c in plain) or not NUMBER.fullmatch(plain):
        return None
    top, _, bottom = plain.replace(",", "").partition("/")
    if bottom and int(bottom) == 0:
        return None
    return Fraction(top) / Fraction(bottom or 1)


def _read_choice(problem: Problem, text: str) -> str | None:
    """The letter of the option meant: `B`, `(B)`, `B.`, `B. its text`, or the option's text."""
    letters = LETTERS[: len(problem.choices)]
    plain = _plain(text)
    for letter, choice in zip(letters, problem.choices, strict=True):
        if plain in {_plain(choice), _plain(f"{letter}. {choice}"), _plain(f"({letter}) {choice}")}:
            return letter
    match = re.fullmatch(r"\(?([A-Ja-j])\)?[.:]?", text.strip())
    return match[1].upper() if match and match[1].upper() in letters else None


def _plain(text: str) -> str:
    """Case, spacing and a final stop do not matter."""
    return " ".join(text.casefold().split()).rstrip(".")


def _read_string(problem: Problem, text: str) -> str | None:
    return _plain(text) or None


def _last_number(problem: Problem, answer: str) -> tuple[str | None, str]:
    found = NUMBER_IN_TEXT.findall(answer)
    return (found[-1] if found else None), "last_number"


def _stated_choice(problem: Problem, answer: str) -> tuple[str | None, str]:
    if _read_choice(problem, answer) is not None:
        return answer, "whole_answer"
    stated = {letter for letter in LETTER_IN_TEXT.findall(answer) if letter in LETTERS[: len(problem.choices)]}
    return (stated.pop() if len(stated) == 1 else None), "only_letter"


def _whole_answer(problem: Problem, answer: str) -> tuple[str | None, str]:
    return (answer or None), "whole_answer"


READERS = {"number": lambda problem, text: read_number(text), "choice": _read_choice, "string": _read_string}
FALLBACKS = {"number": _last_number, "choice": _stated_choice, "string": _whole_answer}
