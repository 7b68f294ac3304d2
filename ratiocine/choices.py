"""Multiple choice: which option an answer means, by its letter or by its text."""

from __future__ import annotations

import re

from ratiocine import latex
from ratiocine.problems import LETTERS, Problem
from ratiocine.values import same
from ratiocine.wording import STATED, folded, unwrapped

LETTER = re.compile(r"[(\[\"'“]?([A-Ja-j])[)\]\"'”]?[.:]?")
LETTER_AND_TEXT = re.compile(r"[(\[]?([A-J])(?:[)\]][.:,]?|[.:,]|\s+[-–—])\s*(\S.*)", re.DOTALL)
LETTER_IN_TEXT = re.compile(r"(?<![\w'’])(\(?)([A-J])(?![\w'’])(\)?)(?=([.,:;*]|\s*$)?(?:\s+([a-z]+))?)", re.MULTILINE)
AFTER_A_LETTER = ("or", "and", "is", "because", "since", "as", "but", "for")
NAMED = re.compile(r"^(?:the\s+)?(?:correct\s+)?(?:option|choice|answer)\s+(?=\W?[A-J]\b)", re.IGNORECASE)


def chosen(problem: Problem, text: str) -> str | None:
    """The letter of the option meant: `B`, `(B)`, `B.`, `B. its text`, or the option's text or value."""
    if len(text) > 4000:
        return None
    text = NAMED.sub("", unwrapped(text).replace("\\ ", " ").strip())
    letters = LETTERS[: len(problem.choices)]
    if match := LETTER.fullmatch(text):
        return match[1].upper() if match[1].upper() in letters else None
    for form in (str.strip, _option):  # as it stands, then without case and wrapping
        named = [letter for letter, choice in zip(letters, problem.choices, strict=False) if form(choice) == form(text)]
        if named and (
            form is str.strip or len({problem.choices[letters.index(x)].casefold() for x in named}) == len(named) == 1
        ):
            return named[0]
    if (match := LETTER_AND_TEXT.fullmatch(text)) and match[1] in letters:
        others = [i for i in range(len(letters)) if letters[i] != match[1] and _matches(problem, i, match[2])]
        explained = not others and "\n" not in match[2] and STATED.search(match[2]) is None
        return match[1] if explained or _matches(problem, letters.index(match[1]), match[2]) else None
    value = latex.read(text)
    if value is None:
        return None
    meant = [letter for letter, choice in zip(letters, map(latex.read, problem.choices)) if choice and same(choice, value)]
    return meant[0] if len(meant) == 1 else None


def _matches(problem: Problem, index: int, text: str) -> bool:
    """Whether `text` after a letter is that option's text, in words or in value."""
    choice = problem.choices[index]
    a, b = latex.read(choice), latex.read(text)
    return _option(choice) == _option(text) or (a is not None and b is not None and same(a, b) is True)


def _option(text: str) -> str:
    return folded(unwrapped(text).replace("$", ""))


def only_letter(problem: Problem, text: str) -> tuple[str, str] | None:
    first = text.strip().partition("\n")[0].strip(" *")
    listed = re.search(r"^\W{0,3}[A-J][.):]", text.strip().partition("\n")[2], re.MULTILINE)  # the options once more
    if first and "\n" in text.strip() and not listed and chosen(problem, first) is not None:
        return first, "first_line"
    stated = set()
    for left, letter, right, after, following in LETTER_IN_TEXT.findall(text):
        word = letter in "AI" and not (left and right) and not after and following not in ("", *AFTER_A_LETTER)  # "A stone"
        if letter in LETTERS[: len(problem.choices)] and not word:
            stated.add(letter)
    return (stated.pop(), "only_letter") if len(stated) == 1 else None


def first_letter(problem: Problem, text: str) -> str | None:
    """The letter that a statement begins with; `A` and `I` may be words."""
    match = re.match(r"(?:option\s+|choice\s+)?(\(?)([A-J])(\)?)(?=[\s.,:;*]|$)\s*(\w*)", text)
    if match is None or match[2] not in LETTERS[: len(problem.choices)]:
        return None
    word = match[2] in "AI" and not match[1] and match[4] and match[4] not in AFTER_A_LETTER
    return None if word and text[match.end(2)] == " " else match[2]
