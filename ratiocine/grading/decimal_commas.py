"""Numbers with decimal commas (`12,50 €`, `1.234,5`), rewritten with decimal points."""

from __future__ import annotations

import re

from ratiocine.grading.numbers import read_number
from ratiocine.records import Problem

TOKEN = re.compile(r"(?<!\d)(?<!\d[.,])\d+(?:[.,]\d+)+(?![\d]|[.,]\d)")
WITH_COMMA = re.compile(r"\d+,\d+|[1-9]\d{0,2}(?:\.\d{3})+,\d+")
WITH_POINT = re.compile(r"\d+\.\d+|[1-9]\d{0,2}(?:,\d{3})+\.\d+")
THOUSANDS = re.compile(r"[1-9]\d{0,2}(?:[.,]\d{3})+")
NO_CENTS = re.compile(  # 12,- €
    r"(?<=\d),[-–—]+(?=\s*(?:$|[€£¥₹₩₽₺₦₫$]|(?:EUR|CHF|Euro|Fr|DM|kr)\b))", re.IGNORECASE
)
IN_LATEX = re.compile(r"\{,\}|,\\!")
APOSTROPHES = re.compile(r"(?<=\d)['’](?=\d{3}(?!\d))")  # 1'234,5
# A list of two numbers (2,5) has no such decimals, and no unit.
CERTAIN = re.compile(
    r",0\d+(?!\d)|\.\d{3},|,\d+\s*(?:[^\W\d_]|[%°€£¥₹₩₽₺₦₫$])|[€£¥₹₩₽₺₦₫$]\s*\d+,\d"
)


def with_decimal_points(text: str) -> str:
    """The text with the decimal commas of its numbers as points, and without their thousands
    points. `1,234` is 1.234 and `1.234` is 1234; what can only be a decimal point (`12.5`,
    `1,234.5`) stays one."""
    text = APOSTROPHES.sub("", IN_LATEX.sub(",", text))
    return TOKEN.sub(lambda match: _with_point(match[0]), NO_CENTS.sub("", text))


def _with_point(token: str) -> str:
    if WITH_COMMA.fullmatch(token):
        return token.replace(".", "").replace(",", ".")
    if THOUSANDS.fullmatch(token) and "," not in token:
        return token.replace(".", "")
    return token


def in_points(problem: Problem, text: str) -> str:
    """A text about a problem, with its numbers in decimal points."""
    return with_decimal_points(text) if problem.decimal == "comma" else text


def may_have_decimal_comma(text: str) -> bool:
    """Whether a text that is no number with points, or has a thousands comma only, is one with a
    decimal comma."""
    return any(map(WITH_COMMA.fullmatch, TOKEN.findall(text))) and (
        read_number(with_decimal_points(text)) is not None
    )


def has_decimal_comma(text: str) -> bool:
    """Whether a text is a number whose comma can only be a decimal one: beside a unit or currency
    (`52,0 m`), after thousands points, or before a zero (`3,05`)."""
    if text.strip().startswith("$") and text.strip().endswith("$"):
        return False  # mathematics: perhaps a pair
    if NO_CENTS.search(text):
        return read_number(with_decimal_points(text)) is not None
    commas = (one for one in TOKEN.findall(text) if WITH_COMMA.fullmatch(one))
    return bool(
        CERTAIN.search(text)
        and any(not THOUSANDS.fullmatch(one) for one in commas)
        and read_number(with_decimal_points(text)) is not None
    )


def has_decimal_point(text: str) -> bool:
    """Whether a text has a number whose point can only be a decimal one (`12.5`, `1,234.5`)."""
    return any(
        WITH_POINT.fullmatch(one) and not THOUSANDS.fullmatch(one) for one in TOKEN.findall(text)
    )
