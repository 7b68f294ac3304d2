"""Reading short mathematical answers, in LaTeX or plain text, without a computer algebra system.

`read` understands what most final answers are: numbers, closed forms, polynomials, points, intervals, lists, sets, matrices
and equations. `values.same` compares two of them. Where either does not understand, it says None, and `judges` is asked.
"""

from __future__ import annotations

import cmath
import math
import re
from fractions import Fraction
from functools import lru_cache

from ratiocine.cleaning import as_words, indexed, normal, unitless
from ratiocine.values import (
    INFINITE,
    Equation,
    Group,
    NotUnderstood,
    Number,
    Text,
    Value,
    constant,
    infinity,
    rational,
    valued,
    variable,
)

MAX_LENGTH = 1000  # characters; a longer final answer is not read


def read(text: str) -> Value | None:
    """The value of a final answer, or None where it is outside of the grammar."""
    return None if len(text) > MAX_LENGTH else _read(text)


@lru_cache(maxsize=4096)
def _read(text: str) -> Value | None:
    plain = normal(text)
    if not plain:
        return None
    if match := re.fullmatch(r"\\text\{([^{}]*)\}|([A-Za-z]{2,}(?: [A-Za-z]+)*)", plain):
        if match[1] is not None and re.match(r"\s*\d", match[1]):
            return _read(match[1])
        words = as_words(match[1] if match[1] is not None else match[2])
        if match[2] is None or len(words) > 3 or SMALL_WORDS.fullmatch(words):  # else letters side by side: a product
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
        return _Reader(plain).whole()
    except (NotUnderstood, ArithmeticError, ValueError, RecursionError):
        return None


def _repeating(sign: str, whole: str, fixed: str, period: str) -> Number:
    nines = (10 ** len(period) - 1) * 10 ** len(fixed)
    value = Fraction(f"{whole}.{fixed or 0}") + Fraction(int(period), nines)
    return rational(-value if sign else value)


def _inequality(text: str) -> Value | None:
    """`x > 3` and `1 ≤ x < 2` as intervals, and several with `or` as their union; None for anything else."""
    parts = re.split(r"\s*(?:\\text\s*\{\s*or\s*\}|\bor\b)\s*", text)
    found = [_interval(part) for part in parts]
    if None in found or len(found) > 6:
        return None
    return found[0] if len(found) == 1 else Group("union", tuple(value for value in found if value is not None))


def _interval(text: str) -> Value | None:
    text = text.replace("\\lt", "<").replace("\\gt", ">")
    if match := re.fullmatch(r"([^<>≤≥=,]+)([<≤])\s*[A-Za-z]\s*([<≤])([^<>≤≥=,]+)", text):
        low, high, ends = match[1], match[4], (match[2], match[3])
    elif match := re.fullmatch(r"([^<>≤≥=,]+)([>≥])\s*[A-Za-z]\s*([>≥])([^<>≤≥=,]+)", text):
        low, high, ends = match[4], match[1], (match[3], match[2])
    elif match := re.fullmatch(r"[A-Za-z]\s*([<>≤≥])([^<>≤≥=,]+)", text):
        low, high, ends = (
            (match[2], "\\infty", (match[1], "<")) if match[1] in ">≥" else ("-\\infty", match[2], ("<", match[1]))
        )
    else:
        return None
    values = tuple(read(side) for side in (low, high))
    if not all(isinstance(value, Number) and not value.variables - INFINITE for value in values):
        return None
    opening, closing = ("(" if ends[0] in "<>" else "["), (")" if ends[1] in "<>" else "]")
    return Group("tuple", values, opening, closing)  # type: ignore[arg-type]


# 2e-1 and 3e+2 may speak of Euler's number.
SCIENTIFIC = re.compile(r"[-+]?\d{1,40}(?:\.\d{1,40})?[eE](?:\d{1,3}|[-+]\d{2,3}|-[3-9])|[-+]?\d{1,40}\.\d{1,40}[eE][-+]\d")
MIXED = re.compile(r"(-?)\s*(\d{1,9}) (\d{1,9})/([1-9]\d{0,8})")
REPEATING = re.compile(r"(-?)(\d{1,9})\.(\d{0,20})\s*\\(?:overline|bar)\s*\{(\d{1,20})\}")
SPACED = re.compile(r"-?\d{1,3}(?: \d{3})+(?:\.\d+)?")
WORD = re.compile(r"(?<![A-Za-z\\«])[A-Za-z]{4,}")  # letters side by side are a product, but a word is none
SMALL_WORDS = re.compile(r"yes|no|all|odd|one|two|six|ten|am|pm|is|it|on|in|or|and|sin|cos|tan")
TOKEN = re.compile(
    r"\s*(?:(?P<number>\d{1,3}(?:,\d{3})+(?![\d,])(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
    r"|(?P<command>\\[A-Za-z]+|\\[{}%\\])|(?P<letter>[A-Za-zπθ∞√])|(?P<index>_«[^»]*»)|(?P<sign>[-+*/^_(){}\[\],;=&|!%∪±°]))"
)
CONSTANTS = {"\\pi": math.pi, "π": math.pi}
NAMES = (
    "alpha beta gamma delta epsilon varepsilon zeta eta theta kappa lambda mu nu xi rho sigma tau phi varphi chi psi omega"
    " Gamma Delta Theta Lambda Phi Psi Omega hbar ell"
)
GREEK = {f"\\{name}": name for name in NAMES.split()}
ACCENTS = ("\\dot", "\\ddot", "\\vec", "\\hat", "\\bar", "\\tilde", "\\mathcal")
FUNCTIONS = {
    "\\sin": cmath.sin, "\\cos": cmath.cos, "\\tan": cmath.tan, "\\ln": cmath.log,
    "\\log": lambda z: cmath.log(z) / math.log(10),
    "\\exp": cmath.exp, "\\sinh": cmath.sinh, "\\cosh": cmath.cosh, "\\tanh": cmath.tanh,
    "\\cot": lambda z: 1 / cmath.tan(z), "\\sec": lambda z: 1 / cmath.cos(z),
    "\\csc": lambda z: 1 / cmath.sin(z), "\\arctan": cmath.atan, "\\arcsin": cmath.asin, "\\arccos": cmath.acos,
}  # fmt: skip
INVERSE = {"\\sin": cmath.asin, "\\cos": cmath.acos, "\\tan": cmath.atan}
CALLED = ("f", "g")  # letters that stand for functions where brackets follow
FACTORS = {"\\frac", "\\sqrt", *CONSTANTS, *GREEK, *FUNCTIONS, *ACCENTS}
ENVIRONMENT = re.compile(r"\\begin\s*\{([pbvBV]?matrix)\}(.*)\\end\s*\{\1\}", re.DOTALL)


class _Reader:
    """Recursive descent over the tokens of one answer."""

    def __init__(self, text: str) -> None:
        self.matrix = ENVIRONMENT.fullmatch(text)
        self.tokens: list[tuple[str, str]] = []
        self.at = self.depth = self.angles = 0
        if self.matrix:
            return
        position = brackets = 0
        while position < len(text):
            match = TOKEN.match(text, position)
            if match is None:
                raise NotUnderstood
            assert match.lastgroup is not None
            kind, token, position = match.lastgroup, match[match.lastgroup], match.end()
            if brackets and kind == "number" and "," in token:  # (100,200) is a point, not a number in brackets
                position -= len(token) - token.index(",")
                token = token[: token.index(",")]
            brackets += {"(": 1, "[": 1, "\\{": 1, ")": -1, "]": -1, "\\}": -1}.get(token, 0)
            self.tokens.append((kind, token))

    def whole(self) -> Value:
        if self.matrix:
            return self._matrix(self.matrix[2])
        value = self.equation()
        if self.peek():
            raise NotUnderstood
        return value

    def peek(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def take(self, *wanted: str) -> bool:
        if self.peek() in wanted and self.at < len(self.tokens):
            self.at += 1
            return True
        return False

    def need(self, wanted: str) -> None:
        if not self.take(wanted):
            raise NotUnderstood

    @staticmethod
    def _matrix(body: str) -> Group:
        rows = [row.split("&") for row in re.split(r"\\\\", body) if row.strip()]
        if not rows or len({len(row) for row in rows}) != 1:
            raise NotUnderstood
        items = [_Reader(cell.strip()).number() for row in rows for cell in row]
        return Group("matrix", tuple(items), rows=len(rows))

    def number(self) -> Number:
        """The whole text as one expression."""
        value = self.sum()
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
        if isinstance(left, Number) and len(left.variables) == 1 and left == variable(next(iter(left.variables))):
            name = next(iter(left.variables))
        difference = left - right if isinstance(left, Number) and isinstance(right, Number) else None
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
            if group is not None and self.peek() in ("", ",", ";", "\\cup", "∪", "=", ")", "]", "\\}"):
                return group
            self.at = start
        return self._with_both_signs()

    def _bracketed(self, opening: str) -> Group | None:
        """A tuple, interval or set of two or more items (a set also of one); None for brackets around one expression."""
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

    def sum(self, sign: int = 1) -> Number:
        self._deeper()
        value = None
        while True:
            if self.take("+"):
                factor = 1
            elif self.take("-"):
                factor = -1
            elif self.take("\\pm", "±"):
                factor = sign
            elif value is None:
                factor = 1
            else:
                break
            term = self.product()
            term = term if factor == 1 else -term
            value = term if value is None else value + term
        self.depth -= 1
        return value

    def product(self) -> Number:
        start = self.at
        value = self.power()
        while True:
            if self.take("*"):
                value = value * self._signed()
            elif self.take("/", "\\div"):
                value = value / self._signed()
            elif self._starts_a_factor():
                kind = self.tokens[self.at - 1][0]
                if self.peek() == "\\frac" and kind == "number" and self.at - 1 == start and value.exact is not None:
                    part = self.power()  # 3\frac{1}{2} is a mixed number
                    mixed = part.exact is not None and 0 < part.exact < 1 and value.exact.denominator == 1
                    value = value + part if mixed else value * part
                elif self.tokens[self.at][0] == "number":  # 2 3 is no product anyone writes
                    raise NotUnderstood
                else:
                    value = value * self.power()
            else:
                return value

    def _signed(self) -> Number:
        negative = self.take("-")
        value = self.power()
        return -value if negative else value

    def _starts_a_factor(self) -> bool:
        if self.at >= len(self.tokens):
            return False
        kind, token = self.tokens[self.at]
        return kind in ("number", "letter") or token in FACTORS or token in ("(", "{")

    def power(self) -> Number:
        value = self.atom()
        if self.take("!"):
            if value.exact is None or not 0 <= value.exact <= 200 or value.exact.denominator != 1:
                raise NotUnderstood
            value = rational(math.factorial(int(value.exact)))
        if self.take("^"):
            value = value ** self._argument(signed=True)
        if self.take("°") and self.angles:  # a unit, but for what is applied to it
            value = value * constant(math.pi / 180)
        if self.take("\\%", "%"):
            value = Number(value.exact, value.at, value.variables, percent=True)
        return value

    def _argument(self, *, signed: bool = False) -> Number:
        """`{…}`, or the one digit, letter or command that stands in its place."""
        if self.take("{"):
            value = self.sum()
            self.need("}")
            return value
        if signed and self.take("-"):
            return -self._argument()
        kind, token = self.tokens[self.at] if self.at < len(self.tokens) else ("", "")
        if kind == "number" and len(token) > 1 and not signed:  # \frac12
            if not token.isdigit():
                raise NotUnderstood
            self.tokens[self.at] = (kind, token[1:])
            return rational(Fraction(token[0]))
        return self.atom()

    def atom(self) -> Number:
        if self.at >= len(self.tokens):
            raise NotUnderstood
        kind, token = self.tokens[self.at]
        self.at += 1
        if kind == "number":
            return rational(Fraction(token.replace(",", "")))
        if token in CONSTANTS:
            return constant(CONSTANTS[token])
        if token in ("\\infty", "∞"):
            return infinity()
        if token in ("i", "e"):
            return constant(1j if token == "i" else math.e)
        if kind == "letter" or token in GREEK:
            name = GREEK.get(token, token)
            if name == "√":
                return self.atom().root(2)
            if name in CALLED and self.peek() == "(":
                return self._call(name)
            return variable(name + self._index())
        if token in ACCENTS:
            inner = self._argument()
            if len(inner.variables) != 1 or inner != variable(name := next(iter(inner.variables))):
                raise NotUnderstood
            return variable(f"{token} {name}{self._index()}")
        if token == "\\frac":
            return self._argument() / self._argument()
        if token == "\\sqrt":
            degree = 2
            if self.take("["):
                order = self.sum()
                self.need("]")
                if order.exact is None or not 2 <= order.exact <= 50 or order.exact.denominator != 1:
                    raise NotUnderstood
                degree = int(order.exact)
            return self._argument().root(degree)
        if token in FUNCTIONS:
            raised = self._argument(signed=True) if self.take("^") else None
            inner = self._operand()
            inverse = raised is not None and raised.exact == -1 and token in INVERSE
            apply = INVERSE[token] if inverse else FUNCTIONS[token]
            value = valued(map(apply, inner.at), inner.variables)
            return value if raised is None or inverse else value**raised
        if token in ("(", "{", "["):
            value = self.sum()
            self.need({"(": ")", "{": "}", "[": "]"}[token])
            return value
        raise NotUnderstood

    def _call(self, name: str) -> Number:
        """A function of which nothing is known but what it is applied to."""
        inner, own = self.atom(), variable(name)
        return valued(
            (cmath.sin(z * a + a) + z * z / 7 for z, a in zip(inner.at, own.at, strict=True)), inner.variables | own.variables
        )

    def _index(self) -> str:
        """The index that follows a name, as part of it; empty where there is none."""
        kind, token = self.tokens[self.at] if self.at < len(self.tokens) else ("", "")
        if kind == "index":
            self.at += 1
            return f"_{token[2:-1]}"
        if token != "_":
            return ""
        kind, token = self.tokens[self.at + 1] if self.at + 1 < len(self.tokens) else ("", "")
        if kind not in ("number", "letter"):
            raise NotUnderstood
        self.at += 2
        return f"_{token}"

    def _operand(self) -> Number:
        """What a function is applied to: brackets, or factors side by side up to the next function (sin 2x cos x)."""
        self.angles += 1
        if self.peek() in ("(", "{"):
            value = self.atom()
        else:
            value = self.power()
            while self._starts_a_factor() and self.peek() not in FUNCTIONS and self.peek() != "(":
                value = value * self.power()
        self.angles -= 1
        return value

    def _deeper(self) -> None:
        self.depth += 1
        if self.depth > 40:
            raise NotUnderstood
