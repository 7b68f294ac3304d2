"""Multiple choice: the option that an answer means, by letter, text or value."""

from __future__ import annotations

import re

from ratiocine.grading import latex
from ratiocine.grading.characters import LETTER as CHARACTER
from ratiocine.grading.characters import UNSPACED, ascii_forms
from ratiocine.grading.numbers import read_number
from ratiocine.grading.values import same
from ratiocine.grading.wording import STATED, folded, unwrapped
from ratiocine.records import LETTERS, Problem

SIZING = re.compile(r"\\(?:left|right|[bB]igg?[lr]?)(?![A-Za-z])")
LETTER = re.compile(r"(?:\\\{|[(\[{<\"'“‘`])?([A-Ja-j])(?:\\\}|[)\]}>\"'”’`])?[.:,;!]?")
LETTER_AND_TEXT = re.compile(
    r"[(\[]?([A-J])([)\]][.:,]?|\s*[.:,](?!\d)|\s+[-–—]|(?=\s))\s*(\S.*)", re.DOTALL
)
LETTER_IN_TEXT = re.compile(
    rf"(?<!{CHARACTER})(?<!['’])(\(?)([A-J])(?!{CHARACTER})(?!['’])(\)?)(?=([.,:;*]|\s*$)?(?:\s+([a-z]+))?)",
    re.MULTILINE,
)
MAX_LENGTH = 4000  # characters of an answer
AFTER_A_LETTER = ("or", "and", "is", "because", "since", "as", "but", "for")
OPTIONS = (  # "option" in the languages of `wording.ANSWERS`
    "opción|opcao|opção|opzione|optie|option|antwort|alternativ|вариант|відповідь|seçenek|şık|pilihan"
    "|đáp án|lựa chọn|विकल्प|الخيار|选项|選項|選択肢|选择|보기|선택지|ตัวเลือก"
)
LETTERS_OF = dict(zip("أبجدঅবডঢ", "ABCDABCD", strict=True))
"""Option letters of Arabic and Bengali benchmarks."""
COPULA = re.compile(r"(?:です|だ|である|입니다|이다|ครับ|ค่ะ)[.!]?\s*$")
NAMED = re.compile(
    r"^(?:the\s+)?(?:correct\s+)?(?:option|choice|answer)\s*(?:is\b|:)?\s*(?=\W?[A-J]\b)"
    rf"|^(?:{OPTIONS})\s*:?\s*(?=\W?[A-J](?!{CHARACTER}))|^\{{?\s*\\(?:bf|rm|it|sf|tt)\s+(?=[^}}]*\}}?$)",
    re.IGNORECASE,
)
TAKEN_BACK = re.compile(
    r"^\W*(?:or|and|no|not|nor|but|actually|wait|maybe|perhaps|instead)\b|\b(?:wrong|incorrect"
    r"|not (?:right|correct|true))\b",
    re.IGNORECASE,
)
WITH_ANOTHER = re.compile(r"\W{0,3}(?:(?i:or|and|nor)|&|/|,)\W{0,3}[A-J](?![\w'’])")
DENIED_LETTER = re.compile(
    r"(?i:\b(?:not|never|neither|cannot|but|except|eliminate|exclude|rule out)"
    r"|n['’]t)\s+(?:\w+\s+){0,2}\(?([A-J])\b"
    r"|\b([A-J])\)?\s+(?:is|are|seems|looks)\s+(?:wrong|incorrect|false|not|out|eliminated)\b"
    r"|\b([A-J])\)?\s+(?:cannot|can['’]t|isn['’]t)\b"
    r"|(?:不是|不选|不選|并非|排除)\s*\(?([A-J])"
    r"|([A-J])\)?\s*(?:ではない|じゃない|不对|不對|错|錯|[이가은는] 아니)"
)


def chosen(problem: Problem, text: str) -> str | None:
    """The letter of the option that an answer means: `B`, `(B)`, `B.`, `B. its text`, or the
    option's text or value."""
    if len(text) > MAX_LENGTH:
        return None
    text = SIZING.sub("", unwrapped(ascii_forms(text))).replace("\\ ", " ").strip()
    text = COPULA.sub("", NAMED.sub("", text)).strip()
    text = LETTERS_OF.get(text.strip("(). "), text.removesuffix("}") if "{" not in text else text)
    letters = LETTERS[: len(problem.choices)]
    if (match := LETTER.fullmatch(text)) and match[1].upper() in letters:
        return match[1].upper()
    # As written; without case and wrapping; without spacing.
    for form in (str.strip, _option, _squeezed):
        wanted = form(text)
        named = [
            letter
            for letter, c in zip(letters, problem.choices)
            if wanted in (form(c), form(_without_letter(c, letter)))
        ]
        if len(named) == 1 or (named and form is str.strip):
            return named[0]
    if (match := LETTER_AND_TEXT.fullmatch(text)) and match[1] in letters:
        explained = _explains(problem, letters.index(match[1]), match[3], bare=not match[2])
        return match[1] if explained else None
    # By value: as written, then as a percentage or with its unit.
    for equal in (_equal_number, _equal):
        meant = [
            letter
            for letter, c in zip(letters, problem.choices)
            if equal(_without_letter(c, letter), text)
        ]
        if len(meant) == 1:
            return meant[0]
    return None


def _without_letter(choice: str, letter: str) -> str:
    """The text of an option that begins with its own letter, as in `B. London`."""
    return re.sub(rf"^\(?{letter}[).:]\s*(?=\S)", "", choice)


def _explains(problem: Problem, index: int, text: str, *, bare: bool) -> bool:
    """Whether the text after an option's letter is that option's, or, after punctuation, words that
    do not contradict it."""
    if _matches(problem, index, text):
        return True
    if bare or "\n" in text or STATED.search(text) or TAKEN_BACK.search(text):
        return False
    if read_number(text) is not None:
        return False
    others = {*LETTERS[: len(problem.choices)]} - {LETTERS[index]}
    if any(match[2] in others for match in LETTER_IN_TEXT.finditer(text)):
        return False
    words = f" {_option(text)} "
    for i, choice in enumerate(problem.choices):
        option = _option(choice)
        names = len(option) > 1 and f" {option} " in words
        if i != index and (_matches(problem, i, text) or names):
            return False
    return True


def _matches(problem: Problem, index: int, text: str) -> bool:
    """Whether the text after a letter is that option's, by words or by value."""
    choice = _without_letter(problem.choices[index], LETTERS[index])
    forms = (text, re.sub(r"^\((.*)\)$", r"\1", text.strip()))
    return any(_option(choice) == _option(form) or _equal(choice, form) for form in forms)


def _equal_number(choice: str, text: str) -> bool:
    """Whether both are one number as written, units aside."""
    a, b = read_number(choice), read_number(text)
    return a is not None and a == b and ("%" in choice) == ("%" in text)


def _equal(choice: str, text: str) -> bool:
    """Whether both have one value."""
    if _equal_number(choice, text):
        return True
    x, y = latex.read(choice), latex.read(text)
    return x is not None and y is not None and same(x, y) is True


def _option(text: str) -> str:
    return folded(unwrapped(ascii_forms(text)).replace("$", ""))


def _squeezed(text: str) -> str:
    return "".join(_option(text).split())


def only_letter(problem: Problem, text: str) -> tuple[str, str] | None:
    """The first line, if it names an option, else the only option letter in the text; with how it
    was found (`Grade.reason`)."""
    first, _, rest = text.strip().partition("\n")
    first = first.strip(" *")
    lists_options = re.search(r"^\W{0,3}[A-J][.):]", rest, re.MULTILINE)
    if first and "\n" in text.strip() and not lists_options and chosen(problem, first) is not None:
        return first, "first_line"
    denied = {
        letter for match in DENIED_LETTER.finditer(text) for letter in match.groups() if letter
    }
    stated = set()
    for left, letter, right, after, following in LETTER_IN_TEXT.findall(text):
        bare = not (left and right) and not after
        word = letter in "AI" and bare and following not in ("", *AFTER_A_LETTER)  # "A stone"
        if letter in LETTERS[: len(problem.choices)] and letter not in denied and not word:
            stated.add(letter)
    return (stated.pop(), "only_letter") if len(stated) == 1 else None


def first_letter(problem: Problem, text: str) -> str | None:
    """The letter that a statement begins with; empty if it names another option too, None if it
    begins otherwise. `A` and `I` may be words."""
    match = re.match(
        rf"(?:option\s+|choice\s+|(?:{OPTIONS})\s*)?(\(?)([A-J])(\)?)(?=[\s.,:;*]|[{UNSPACED}]|$)\s*(\w*)",
        text,
    )
    if match is None or match[2] not in LETTERS[: len(problem.choices)]:
        return None
    if WITH_ANOTHER.match(text, match.end(3)):
        return ""
    word = match[2] in "AI" and not match[1] and match[4] and match[4] not in AFTER_A_LETTER
    return None if word and text[match.end(2)] == " " else match[2]
