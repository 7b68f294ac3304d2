"""Arithmetic in LaTeX or plain text: recursive descent from one expression to a `Number`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from ratiocine.grading.digits import precision
from ratiocine.grading.values import (
    NotUnderstood,
    Number,
    constant,
    infinity,
    rational,
    valued,
    variable,
)

TOKEN = re.compile(
    r"\s*(?:(?P<number>\d{1,3}(?:,\d{3})+(?![\d,])(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
    r"|(?P<command>\\[A-Za-z]+|\\[{}%\\])|(?P<letter>[A-Za-zπθ∞√])|(?P<index>_«[^»]*»)"
    r"|(?P<sign>[-+*/^_(){}\[\],;=&|!%∪±°]))"
)
CONSTANTS = ("\\pi", "π")
NAMES = (
    "alpha beta gamma delta epsilon varepsilon zeta eta theta kappa lambda mu nu xi rho sigma tau "
    "phi varphi chi psi omega"
    " Gamma Delta Theta Lambda Phi Psi Omega hbar ell"
)
GREEK = {f"\\{name}": name for name in NAMES.split()}
ACCENTS = ("\\dot", "\\ddot", "\\vec", "\\hat", "\\bar", "\\tilde", "\\mathcal")
# Of the functions of a precision (`cmath`, or those of mpmath) and an argument.
FUNCTIONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "\\sin": lambda m, z: m.sin(z),
    "\\cos": lambda m, z: m.cos(z),
    "\\tan": lambda m, z: m.tan(z),
    "\\ln": lambda m, z: m.log(z),
    "\\log": lambda m, z: m.log(z) / m.log(10),
    "\\exp": lambda m, z: m.exp(z),
    "\\sinh": lambda m, z: m.sinh(z),
    "\\cosh": lambda m, z: m.cosh(z),
    "\\tanh": lambda m, z: m.tanh(z),
    "\\cot": lambda m, z: 1 / m.tan(z),
    "\\sec": lambda m, z: 1 / m.cos(z),
    "\\csc": lambda m, z: 1 / m.sin(z),
    "\\arctan": lambda m, z: m.atan(z),
    "\\arcsin": lambda m, z: m.asin(z),
    "\\arccos": lambda m, z: m.acos(z),
}
INVERSE = {"\\sin": "\\arcsin", "\\cos": "\\arccos", "\\tan": "\\arctan"}
MAX_FACTORIAL = 5000
CALLED = ("f", "g")  # functions, if brackets follow
MAX_DEPTH = 40  # of nested sums
OPENING, CLOSING = ("(", "[", "\\{"), (")", "]", "\\}")
FACTORS = {"\\frac", "\\sqrt", *CONSTANTS, *GREEK, *FUNCTIONS, *ACCENTS}


class Arithmetic:
    """The tokens of one answer, and the grammar from sums down to atoms.

    Every method of the grammar raises NotUnderstood outside of it.
    """

    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        self.at = self.depth = self.angles = 0
        position = brackets = 0
        while position < len(text):
            match = TOKEN.match(text, position)
            if match is None:
                raise NotUnderstood
            assert match.lastgroup is not None
            kind, token, position = match.lastgroup, match[match.lastgroup], match.end()
            if brackets and kind == "number" and "," in token:
                # (100,200) is a point, not a number in brackets
                position -= len(token) - token.index(",")
                token = token[: token.index(",")]
            brackets += (token in OPENING) - (token in CLOSING)
            self.tokens.append((kind, token))

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

    def number(self) -> Number:
        """The whole text as one expression."""
        value = self.sum()
        if self.peek():
            raise NotUnderstood
        return value

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
                first = self.at - 1 == start and kind == "number"
                if first and self.peek() == "\\frac" and value.exact is not None:
                    part = self.power()  # 3\frac{1}{2} is a mixed number
                    proper = part.exact is not None and 0 < part.exact < 1
                    mixed = proper and value.exact.denominator == 1
                    value = value + part if mixed else value * part
                elif self.tokens[self.at][0] == "number":  # nobody writes a product as 2 3
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
            n = value.exact
            if n is None or not 0 <= n <= MAX_FACTORIAL or n.denominator != 1:
                raise NotUnderstood
            value = rational(math.factorial(int(n)))
        if self.take("^"):
            value = value ** self._argument(signed=True)
        if self.take("°") and self.angles:  # converted inside a function, else a mere unit
            value = value * constant(precision().functions.pi) / rational(180)
        if self.take("\\%", "%"):
            value = Number(value.exact, value.values, value.variables, percent=True)
        return value

    def _argument(self, *, signed: bool = False) -> Number:
        """`{…}`, or the one digit, letter or command in its place."""
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
            return constant(precision().functions.pi)
        if token in ("\\infty", "∞"):
            return infinity()
        if token in ("i", "e"):
            return constant(1j if token == "i" else precision().functions.e)
        if kind == "letter" or token in GREEK:
            return self._letter(GREEK.get(token, token))
        if token in ACCENTS:
            return self._accented(token)
        if token == "\\frac":
            return self._argument() / self._argument()
        if token == "\\sqrt":
            return self._root()
        if token in FUNCTIONS:
            return self._function(token)
        if token in ("(", "{", "["):
            value = self.sum()
            self.need({"(": ")", "{": "}", "[": "]"}[token])
            return value
        raise NotUnderstood

    def _letter(self, name: str) -> Number:
        if name == "√":
            return self.atom().root(2)
        if name in CALLED and self.peek() == "(":
            return self._call(name)
        return variable(name + self._index())

    def _accented(self, accent: str) -> Number:
        """`\\dot{x}` is a variable of its own."""
        inner = self._argument()
        if len(inner.variables) != 1 or inner != variable(name := next(iter(inner.variables))):
            raise NotUnderstood
        return variable(f"{accent} {name}{self._index()}")

    def _root(self) -> Number:
        degree = 2
        if self.take("["):
            order = self.sum().exact
            self.need("]")
            if order is None or not 2 <= order <= 50 or order.denominator != 1:
                raise NotUnderstood
            degree = int(order)
        return self._argument().root(degree)

    def _function(self, name: str) -> Number:
        """`\\sin^2 x` is a power of the value, `\\sin^{-1} x` the inverse function."""
        base = self._base() if name == "\\log" else None
        raised = self._argument(signed=True) if self.take("^") else None
        inner = self._operand()
        inverse = raised is not None and raised.exact == -1 and name in INVERSE
        if base is None:
            value = _applied(INVERSE[name] if inverse else name, inner)
        else:
            value = _applied("\\ln", inner) / _applied("\\ln", base)
        return value if raised is None or inverse else value**raised

    def _base(self) -> Number | None:
        """The base of a logarithm, after a `_`; None without one."""
        kind, token = self.tokens[self.at] if self.at < len(self.tokens) else ("", "")
        if kind == "index":  # `_{10}` (`cleaning.indexed`)
            self.at += 1
            return Arithmetic(token[2:-1]).number()
        return self._argument() if self.take("_") else None

    def _call(self, name: str) -> Number:
        """An unknown function, as one that agrees only where name and argument do."""
        inner, function, sin = self.atom(), variable(name), precision().functions.sin
        return valued(
            (sin(z * a + a) + z * z / 7 for z, a in zip(inner.at, function.at, strict=True)),
            inner.variables | function.variables,
        )

    def _index(self) -> str:
        """The index after a name, as part of the name; empty if there is none."""
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
        """The argument of a function: brackets, or adjacent factors up to the next function (sin 2x
        cos x)."""
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
        if self.depth > MAX_DEPTH:
            raise NotUnderstood


def _applied(name: str, inner: Number) -> Number:
    function, functions = FUNCTIONS[name], precision().functions
    return valued((function(functions, z) for z in inner.at), inner.variables)
