"""A parser of short mathematical answers, in LaTeX or plain text, without a computer algebra
system.

`read` covers most final answers: numbers, closed forms, polynomials, points, intervals, lists,
sets, matrices and equations. `values.same` compares two of them. Where either returns None,
`worker.equivalent` decides.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from ratiocine.grading.arithmetic import Arithmetic
from ratiocine.grading.characters import ascii_forms
from ratiocine.grading.cleaning import CURRENCY, as_words, indexed, normal, unitless
from ratiocine.grading.digits import Precision, precision
from ratiocine.grading.values import (
    INFINITE,
    Equation,
    Group,
    NotUnderstood,
    Number,
    Text,
    Value,
    rational,
    variable,
)

MAX_LENGTH = 1000  # characters; a longer final answer is not read


def read(text: str) -> Value | None:
    """The value of a final answer, in the current `precision`; None outside of the grammar."""
    return None if len(text) > MAX_LENGTH else _read(text, precision())


def reads_as_formula(text: str) -> bool:
    """Whether a text as a whole is a mathematical answer; words are none."""
    return not isinstance(read(text), Text | None)


@lru_cache(maxsize=4096)
def _read(text: str, _: Precision) -> Value | None:
    plain = _outward(normal(CURRENCY.sub(r"\1", ascii_forms(text))))
    if not plain:
        return None
    if match := SET_BUILDER.fullmatch(plain):
        plain = match[1]
    if match := re.fullmatch(r"\\text\{([^{}]*)\}|([A-Za-z]{2,}(?: [A-Za-z]+)*)", plain):
        if match[1] is not None and re.match(r"\s*\d", match[1]):
            return read(match[1])
        words = as_words(match[1] if match[1] is not None else match[2])
        if (
            match[2] is None or len(words) > 3 or SMALL_WORDS.fullmatch(words)
        ):  # else letters side by side: a product
            return Text(words) if words else None
    if match := re.fullmatch(r"(\d[0-9A-Fa-f]*|[0-9A-Fa-f]{2,})_\{?(\d+)\}?", plain):
        return Text(f"{match[1].upper()}_{match[2]}")
    if SPACED.fullmatch(plain):
        return rational(Fraction(plain.replace(" ", "")))
    if SCIENTIFIC.fullmatch(plain):
        return rational(Fraction(plain))
    if match := MIXED.fullmatch(plain):
        whole, part = Fraction(match[2]), Fraction(int(match[3]), int(match[4]))
        return rational(-whole - part if match[1] else whole + part)
    if match := REPEATING.fullmatch(plain):
        return _repeating(*match.groups())
    if (interval := _inequality(plain)) is not None:
        return interval
    plain = indexed(unitless(plain))
    if WORD.search(plain):
        return None
    try:
        matrix = ENVIRONMENT.fullmatch(plain)
        return _matrix(matrix[2]) if matrix else _Answer(plain).whole()
    except (NotUnderstood, ArithmeticError, ValueError, RecursionError):
        return None


def _outward(text: str) -> str:
    """`]0, 1[` as `(0, 1)`."""

    def turned(match: re.Match[str]) -> str:
        if match[1] == "[" and match[3] == "]":
            return match[0]
        opening, closing = "(" if match[1] == "]" else "[", ")" if match[3] == "[" else "]"
        return f"{opening}{match[2]}{closing}"

    return BRACKETS.sub(turned, text)


def _matrix(body: str) -> Group:
    rows = [row.split("&") for row in re.split(r"\\\\", body) if row.strip()]
    if not rows or len({len(row) for row in rows}) != 1:
        raise NotUnderstood
    items = [Arithmetic(cell.strip()).number() for row in rows for cell in row]
    return Group("matrix", tuple(items), rows=len(rows))


def _repeating(sign: str, whole: str, fixed: str, period: str) -> Number:
    nines = (10 ** len(period) - 1) * 10 ** len(fixed)
    value = Fraction(f"{whole}.{fixed or 0}") + Fraction(int(period), nines)
    return rational(-value if sign else value)


def _inequality(text: str) -> Value | None:
    """`x > 3` and `1 ≤ x < 2` as intervals, several with `or` as a union; None for anything
    else."""
    parts = re.split(r"\s*(?:\\text\s*\{\s*or\s*\}|\bor\b)\s*", text)
    found = [_interval(part) for part in parts]
    if None in found or len(found) > 6:
        return None
    return (
        found[0]
        if len(found) == 1
        else Group("union", tuple(value for value in found if value is not None))
    )


def _interval(text: str) -> Value | None:
    text = text.replace("\\lt", "<").replace("\\gt", ">")
    if match := re.fullmatch(r"([^<>≤≥=,]+)([<≤])\s*[A-Za-z]\s*([<≤])([^<>≤≥=,]+)", text):
        low, high, ends = match[1], match[4], (match[2], match[3])
    elif match := re.fullmatch(r"([^<>≤≥=,]+)([>≥])\s*[A-Za-z]\s*([>≥])([^<>≤≥=,]+)", text):
        low, high, ends = match[4], match[1], (match[3], match[2])
    elif match := re.fullmatch(r"[A-Za-z]\s*([<>≤≥])([^<>≤≥=,]+)", text):
        low, high, ends = (
            (match[2], "\\infty", (match[1], "<"))
            if match[1] in ">≥"
            else ("-\\infty", match[2], ("<", match[1]))
        )
    else:
        return None
    values = tuple(read(side) for side in (low, high))
    if not all(isinstance(value, Number) and not value.variables - INFINITE for value in values):
        return None
    opening, closing = ("(" if ends[0] in "<>" else "["), (")" if ends[1] in "<>" else "]")
    return Group("tuple", values, opening, closing)  # type: ignore[arg-type]


BRACKETS = re.compile(r"([\[\]])([^\[\](),;]*[,;][^\[\](),;]*)([\[\]])")
SET_BUILDER = re.compile(
    r"\\\{\s*[A-Za-z]\s*(?:\\in\s*(?:\\mathbb\s*\{?\s*R\s*\}?|R|ℝ)\s*)?(?:\\mid|\\vert|\||:)"
    r"\s*(.*?)\s*\\\}"
)
# 2e-1 and 3e+2 may speak of Euler's number.
SCIENTIFIC = re.compile(
    r"[-+]?\d{1,40}(?:\.\d{1,40})?[eE](?:\d{1,3}|[-+]\d{2,3}|-[3-9])"
    r"|[-+]?\d{1,40}\.\d{1,40}[eE][-+]\d"
)
MIXED = re.compile(r"(-?)\s*(\d{1,9}) (\d{1,9})/([1-9]\d{0,8})")
REPEATING = re.compile(r"(-?)(\d{1,9})\.(\d{0,20})\s*\\(?:overline|bar)\s*\{(\d{1,20})\}")
SPACED = re.compile(r"-?\d{1,3}(?: \d{3})+(?:\.\d+)?")
WORD = re.compile(
    r"(?<![A-Za-z\\«])[A-Za-z]{4,}"
)  # letters side by side are a product, but a word is none
SMALL_WORDS = re.compile(r"yes|no|all|odd|one|two|six|ten|am|pm|is|it|on|in|or|and|sin|cos|tan")
ENVIRONMENT = re.compile(r"\\begin\s*\{([pbvBV]?matrix)\}(.*)\\end\s*\{\1\}", re.DOTALL)


class _Answer(Arithmetic):
    """The grammar above expressions: equations, unions, lists, tuples, intervals, sets and
    matrices."""

    def whole(self) -> Value:
        value = self.equation()
        if self.peek():
            raise NotUnderstood
        return value

    def equation(self) -> Value:
        left = self.union()
        if not self.take("="):
            return left
        right = self.union()
        if self.peek() == "=":
            raise NotUnderstood
        name = None
        if (
            isinstance(left, Number)
            and len(left.variables) == 1
            and left == variable(next(iter(left.variables)))
        ):
            name = next(iter(left.variables))
        difference = (
            left - right if isinstance(left, Number) and isinstance(right, Number) else None
        )
        return Equation(name, right, difference)

    def union(self) -> Value:
        items = [self.list()]
        while self.take("\\cup", "∪"):
            items.append(self.list())
        return items[0] if len(items) == 1 else Group("union", tuple(items))

    def list(self) -> Value:
        items = [self.item()]
        while self.take(",", ";"):
            items.append(self.item())
        return items[0] if len(items) == 1 else Group("list", tuple(items))

    def item(self) -> Value:
        start = self.at
        if self.peek() in ("(", "[", "\\{"):
            opening = self.peek()
            group = self._bracketed(opening)
            if group is not None and self.peek() in (
                "",
                ",",
                ";",
                "\\cup",
                "∪",
                "=",
                ")",
                "]",
                "\\}",
            ):
                return group
            self.at = start
        return self._with_both_signs()

    def _bracketed(self, opening: str) -> Group | None:
        """A tuple or interval of two or more items, or a set; None for brackets around one
        expression."""
        self.at += 1
        self._deeper()
        items = [self.item()]
        while self.take(",", ";"):
            items.append(self.item())
        self.depth -= 1
        closing = self.peek()
        if opening == "\\{":
            self.need("\\}")
            return Group("set", tuple(items))
        if closing not in (")", "]"):
            raise NotUnderstood
        self.at += 1
        return Group("tuple", tuple(items), opening, closing) if len(items) > 1 else None

    def _with_both_signs(self) -> Value:
        """`a ± b` is the set of both values."""
        start = self.at
        value = self.sum(1)
        if not any(token in ("\\pm", "±") for _, token in self.tokens[start : self.at]):
            return value
        self.at = start
        return Group("set", (value, self.sum(-1)))
