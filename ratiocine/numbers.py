"""Numbers as people write them, read exactly: no rounding, and no arithmetic done for the writer."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from ratiocine import latex
from ratiocine.values import Number
from ratiocine.wording import unwrapped

NUMBER = re.compile(r"-?(?=[.\d])(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:/\d+)?")
NUMBER_IN_TEXT = re.compile(
    r"(?<![\w.^_{/:\\])[-−]?\$?(?:\d{1,3}(?:,\d{3})+|\d+|(?=\.\d))(?:\.\d+)?(?:\s?/\s?[1-9]\d*)?(?!\d|\s*\^|[,:/]\d)"
)
MATH_IN_TEXT = re.compile(r"\$\$?([^$]{1,400})\$|\\\(([^\n]{1,400}?)\\\)|\\\[(.{1,400}?)\\\]", re.DOTALL)
DIGITS_OF = r"(?:\d{1,3}(?:,\d{3})+|\d{1,3}(?: \d{3})+|\d+)"
LITERAL = re.compile(
    rf"(?P<sign>[-+]?)\s*(?P<money>[£€¥]|USD|US)?\s*(?P<inner>-?)(?:(?P<whole>\d+)?\s*\\frac\s*\{{?(?P<top>-?\d+)\}}?\s*\{{?(?P<bottom>\d+)\}}?"
    rf"|(?P<mixed>\d+)\s+(?P<above>\d+)/(?P<below>\d+)|(?P<over>{DIGITS_OF}(?:\.\d+)?)\s*/\s*(?P<under>\d+)"
    rf"|(?P<plain>{DIGITS_OF}(?:\.\d+)?|\.\d+)(?:\s*[*x]\s*10\s*\^\s*\{{?(?P<tens>[-+]?\d{{1,3}})\}}?|[eE](?P<e>[-+]?\d{{1,3}}))?)(?P<tail>.*)",
    re.DOTALL,
)
TIMES = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
UNITS = re.compile(r"(?:\s*(?:[%°'’\"]|[A-Za-z²³-][A-Za-z²³'’-]*(?:\s*\^\s*\{?-?\d\}?)?|[/.·*](?=\s*[A-Za-z])))*\s*\.?")
NO_UNIT = re.compile(
    r"\b(?:or|and|minus|plus|times|half|halves|thirds?|quarters?|fourths?|fifths?|squared|cubed|to|not|if|because|since|over|divided"
    r"|percent of)\b",
    re.IGNORECASE,
)
RELATION = re.compile(r"[<>≤≥≠]|!=|\\n?eq?(?![A-Za-z])|\\[lg]eq?(?![A-Za-z])|\\(?:not|in|approx)(?![A-Za-z])")
DIGITS = 4000  # more than these are no number (nor does Python convert them)


def read_number(text: str) -> Fraction | None:
    """The exact value of a number: sign, thousands commas, decimals, a fraction, plain or in LaTeX; currency, per cent, a unit
    and a final stop do not count, nor does the name, or the right calculation, before a `=`. None for anything else: no sum
    is done for the writer."""
    plain = text.strip().rstrip(".")
    if len(plain) <= DIGITS and plain and plain[-1].isdecimal() and plain.isascii() and NUMBER.fullmatch(plain):
        top, _, bottom = plain.replace(",", "").partition("/")
        if not bottom:
            return Fraction(top)
        return Fraction(top) / int(bottom) if int(bottom) else None
    return _read_number(text)


@lru_cache(maxsize=4096)
def _read_number(text: str) -> Fraction | None:
    if len(text) > latex.MAX_LENGTH:
        return None
    text = re.sub(r"^(?:\\approx|≈|about|approximately|exactly|only)\s*", "", unwrapped(text))
    return _literal(text) if "=" not in text else None if (right := right_side(text)) is None else _literal(right)


def _literal(text: str) -> Fraction | None:
    """A number as it is written, with what may stand around it: no arithmetic is done for the writer."""
    plain = latex.DEGREES.sub("", latex.normal(text)).replace("\\%", "%").replace("\\ ", " ")
    match = LITERAL.fullmatch(re.sub(r"\\text\s*\{([^{}]*)\}", r" \1 ", plain).strip())
    if match is None or (match["sign"] and match["inner"]):
        return None
    part = match.groupdict()
    if part["bottom"] or part["below"] or part["under"]:
        bottom = int(part["bottom"] or part["below"] or part["under"])
        top = part["top"] or part["above"] or part["over"]
        if not bottom:
            return None
        value = Fraction(re.sub("[, ]", "", top)) / bottom + int(part["whole"] or part["mixed"] or 0)
    else:
        value = Fraction(re.sub("[, ]", "", part["plain"])) * Fraction(10) ** int(part["tens"] or part["e"] or 0)
    tail = match["tail"].strip()
    for word, times in TIMES.items():
        if re.match(rf"{word}s?\b", tail, re.IGNORECASE):
            value, tail = value * times, tail[len(word) :].removeprefix("s").strip()
            break
    if not UNITS.fullmatch(tail) or NO_UNIT.search(tail) or any(re.search(rf"\b{word}", tail, re.I) for word in TIMES):
        return None
    return -value if "-" in (match["sign"], match["inner"]) else value


def right_side(text: str) -> str | None:
    """What an equation says a name is, or a calculation comes to; None where it is neither, or comes to something else."""
    if RELATION.search(text) or re.search(r"[,;]\s|\b(?:or|and)\b|\\text", text):
        return None
    *left, right = text.split("=")
    for side in left:
        if re.search(r"[\d^+*/]", side):
            value, result = latex.read(side), latex.read(right)
            if not isinstance(value, Number) or not isinstance(result, Number) or value.exact is None:
                return None
            if value.exact != result.exact:
                return None
        elif len(side) > 60:
            return None
    return right


def last_number(text: str) -> tuple[str, str] | None:
    formulas, numbers = list(MATH_IN_TEXT.finditer(text)), list(NUMBER_IN_TEXT.finditer(text))
    if formulas and (not numbers or formulas[-1].end() >= numbers[-1].end()):
        formula = next(part for part in formulas[-1].groups() if part)
        return (formula, "last_formula") if read_number(formula) is not None else None
    return (numbers[-1][0], "last_number") if numbers else None


def first_number(text: str) -> str | None:
    """The number that a statement begins with, where no calculation follows."""
    match = NUMBER_IN_TEXT.match(text)
    if match is None or re.match(r"\s*(?:[-+*/=^×<>!]|\\)", text[match.end() :]):
        return None
    words = re.match(r"\s*([A-Za-z]+)", text[match.end() :])
    return None if words and (words[1].lower() in TIMES or NO_UNIT.fullmatch(words[1])) else match[0]
