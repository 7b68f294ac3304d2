"""Reading short mathematical answers, in LaTeX or plain text, without a computer algebra system.

`read` understands what most final answers are: numbers, closed forms, polynomials, points, intervals, lists, sets, matrices
and equations. `same` compares two of them: rational values exactly, other expressions by their values at fixed points. Where
either does not understand, it says None, and `symbolic` is asked.
"""

from __future__ import annotations

import cmath
import math
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Literal

MAX_LENGTH = 1000  # characters; a longer final answer is not read
MAX_BITS = 4096  # of an exact integer
NEAR, FAR = 1e-11, 1e-7  # relative: closer is equal, farther is different, between the two is not decided here
POINTS = 4


@dataclass(frozen=True)
class Number:
    """An expression: its exact value where it is rational, and its values at `POINTS` fixed assignments of its variables."""

    exact: Fraction | None
    at: tuple[complex, ...]
    variables: frozenset[str] = frozenset()
    percent: bool = False


@dataclass(frozen=True)
class Group:
    """Several values. `open` and `close` are the brackets of a tuple or interval, empty for a list without any; a `set`
    (in braces, or of ±) has no order; `rows` counts those of a matrix."""

    kind: Literal["tuple", "list", "set", "union", "matrix"]
    items: tuple[Value, ...]
    open: str = ""
    close: str = ""
    rows: int = 0


@dataclass(frozen=True)
class Equation:
    """`name` is the variable alone on the left, where there is one; `difference` is left minus right."""

    name: str | None
    right: Value
    difference: Number | None


@dataclass(frozen=True)
class Text:
    """Words, or a numeral in another base (`52_8`)."""

    text: str


Value = Number | Group | Equation | Text


class NotUnderstood(Exception):
    """The text is outside of the grammar."""


def read(text: str) -> Value | None:
    """The value of a final answer, or None where it is outside of the grammar."""
    return None if len(text) > MAX_LENGTH else _read(text)


@lru_cache(maxsize=4096)
def _read(text: str) -> Value | None:
    plain = normal(text)
    if not plain:
        return None
    if match := re.fullmatch(r"\\text\{([^{}]*)\}|([A-Za-z]{2,}(?: [A-Za-z]+)*)", plain):
        words = as_words(match[1] if match[1] is not None else match[2])
        return Text(words) if words else None
    if match := re.fullmatch(r"([0-9A-Fa-f]+)_\{?(\d+)\}?", plain):
        return Text(f"{match[1].upper()}_{match[2]}")
    plain = _unitless(plain)
    if WORD.search(plain):
        return None
    try:
        return _Reader(plain).whole()
    except (NotUnderstood, ArithmeticError, ValueError, RecursionError):
        return None


def as_words(text: str) -> str:
    """A text as words are compared: case, spacing, a final stop and brackets around a letter do not matter."""
    text = " ".join(text.casefold().split()).rstrip(".")
    return text[1:-1] if re.fullmatch(r"\([a-z]\)", text) else text


REWRITES = [
    (re.compile(r"\\(?:left|right|[bB]igg?[lr]?)(?![A-Za-z])\.?"), ""),
    (re.compile(r"\\(?:displaystyle|limits|quad|qquad|,|!|;|:|>|~)|~"), " "),
    (re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\\(?:mathrm|mathbf|mathit|textbf|textit|textrm|mbox|operatorname|boldsymbol)(?=\s*\{)"), r"\\text"),
    (re.compile(r"\\(?:cdot|times|ast)(?![A-Za-z])|[×·⋅∗]"), "*"),
    (re.compile(r"\\(?:le|leq|leqslant)(?![A-Za-z])"), "≤"),
    (re.compile(r"\\(?:ge|geq|geqslant)(?![A-Za-z])"), "≥"),
    (re.compile(r"\\(?:lbrace|\{)"), "\\\\{"),
    (re.compile(r"\\(?:rbrace|\})"), "\\\\}"),
    (re.compile(r"[−–]"), "-"),
    (re.compile(r"\s*\{,\}\s*"), ","),
]


def normal(text: str) -> str:
    """The text without what never matters: math delimiters, sizing, fine spacing, a final stop."""
    text = text.strip()
    text = re.sub(r"(\d) ?, ?(?:\\!\s*)+(?=\d{3}(?!\d))|(\d),\s*\\!(?=\d{3}(?!\d))", r"\1\2,", text)
    for pattern, new in REWRITES:
        text = pattern.sub(new, text)
    text = text.replace("\\$", "").replace("$", "").replace("\\(", "").replace("\\)", "").replace("\\[", "").replace("\\]", "")
    return " ".join(text.split()).rstrip(".").strip()


WORD = re.compile(r"(?<![A-Za-z\\])[A-Za-z]{4,}")  # letters side by side are a product, but a word is none
DEGREES = re.compile(r"\s*\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![A-Za-z]))|\s*(?:\\degree|°)")
UNIT = re.compile(r"(?<=[\d})])\s*(?:\\text\s*\{[^{}]*\}(?:\s*\^\s*\{?\d\}?)?|(?<=\d)\s+[a-z]{3,}(?: [a-z]+)*)$")
ELEMENT = re.compile(r"^[A-Za-z]\s*\\in\s*")


def _unitless(text: str) -> str:
    """A unit after a value does not count; nor does the name in `x \\in [0, 1]`."""
    text = ELEMENT.sub("", DEGREES.sub("", text))
    words = re.sub(r"\\text\s*\{\s*,?\s*(?:and|or)\s*\}|(?<=[\s\d}),])(?:and|or)(?=[\s\d\\(-])", ",", text)
    return UNIT.sub("", re.sub(r",\s*,", ",", words))


TOKEN = re.compile(
    r"\s*(?:(?P<number>\d{1,3}(?:,\d{3})+(?![\d,])(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
    r"|(?P<command>\\[A-Za-z]+|\\[{}%\\])|(?P<letter>[A-Za-zπθ∞√])|(?P<sign>[-+*/^_(){}\[\],;=&|!%∪±]))"
)
CONSTANTS = {"\\pi": math.pi, "π": math.pi}
GREEK = {f"\\{n}": n for n in ("alpha", "beta", "gamma", "delta", "theta", "lambda", "mu", "phi", "omega", "sigma", "rho")}
FUNCTIONS = {
    "\\sin": cmath.sin, "\\cos": cmath.cos, "\\tan": cmath.tan, "\\ln": cmath.log,
    "\\log": lambda z: cmath.log(z) / math.log(10),
    "\\exp": cmath.exp, "\\cot": lambda z: 1 / cmath.tan(z), "\\sec": lambda z: 1 / cmath.cos(z),
    "\\csc": lambda z: 1 / cmath.sin(z), "\\arctan": cmath.atan, "\\arcsin": cmath.asin, "\\arccos": cmath.acos,
}  # fmt: skip
INFINITY = 1.7e300
ENVIRONMENT = re.compile(r"\\begin\s*\{([pbvBV]?matrix)\}(.*)\\end\s*\{\1\}", re.DOTALL)


def _number(exact: Fraction | None, *at: complex, variables: frozenset[str] = frozenset()) -> Number:
    if exact is not None:
        if exact.numerator.bit_length() + exact.denominator.bit_length() > MAX_BITS:
            raise NotUnderstood
        at = (complex(float(exact)),) * POINTS
    values = at if len(at) == POINTS else at * POINTS
    if any(cmath.isnan(v) or cmath.isinf(v) for v in values):
        raise NotUnderstood
    return Number(exact, values, variables)


def _variable(name: str) -> Number:
    """Positive values that have nothing to do with each other, so that roots and logarithms have their usual branch."""
    seed = 1 + sum((i + 1) * ord(c) for i, c in enumerate(name))
    golden = (5**0.5 - 1) / 2  # multiples of it, modulo 1, lie far apart
    values = (0.6 + 1.9 * math.modf(seed * (k + 2) * golden)[0] for k in range(POINTS))
    return Number(None, tuple(complex(value) for value in values), frozenset({name}))


class _Reader:
    """Recursive descent over the tokens of one answer."""

    def __init__(self, text: str) -> None:
        self.matrix = ENVIRONMENT.fullmatch(text)
        self.tokens: list[tuple[str, str]] = []
        self.at = self.depth = 0
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
        if isinstance(left, Number) and len(left.variables) == 1 and left == _variable(next(iter(left.variables))):
            name = next(iter(left.variables))
        both = isinstance(left, Number) and isinstance(right, Number)
        return Equation(name, right, _minus(left, right) if both else None)  # type: ignore[arg-type]

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
            term = term if factor == 1 else _minus(_number(Fraction(0)), term)
            value = term if value is None else _plus(value, term)
        self.depth -= 1
        return value

    def product(self) -> Number:
        start = self.at
        value = self.power()
        while True:
            if self.take("*"):
                value = _times(value, self._signed())
            elif self.take("/", "\\div"):
                value = _over(value, self._signed())
            elif self._starts_a_factor():
                kind = self.tokens[self.at - 1][0]
                if self.peek() == "\\frac" and kind == "number" and self.at - 1 == start and value.exact is not None:
                    part = self.power()  # 3\frac{1}{2} is a mixed number
                    mixed = part.exact is not None and 0 < part.exact < 1 and value.exact.denominator == 1
                    value = _plus(value, part) if mixed else _times(value, part)
                elif self.tokens[self.at][0] == "number":  # 2 3 is no product anyone writes
                    raise NotUnderstood
                else:
                    value = _times(value, self.power())
            else:
                return value

    def _signed(self) -> Number:
        negative = self.take("-")
        value = self.power()
        return _minus(_number(Fraction(0)), value) if negative else value

    def _starts_a_factor(self) -> bool:
        if self.at >= len(self.tokens):
            return False
        kind, token = self.tokens[self.at]
        commands = {"\\frac", "\\sqrt", *CONSTANTS, *GREEK, *FUNCTIONS}
        return kind in ("number", "letter") or token in commands or token in ("(", "{")

    def power(self) -> Number:
        value = self.atom()
        if self.take("!"):
            if value.exact is None or not 0 <= value.exact <= 200 or value.exact.denominator != 1:
                raise NotUnderstood
            value = _number(Fraction(math.factorial(int(value.exact))))
        if self.take("^"):
            value = _to_the(value, self._argument(signed=True))
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
            return _minus(_number(Fraction(0)), self._argument())
        kind, token = self.tokens[self.at] if self.at < len(self.tokens) else ("", "")
        if kind == "number" and len(token) > 1 and not signed:  # \frac12
            if not token.isdigit():
                raise NotUnderstood
            self.tokens[self.at] = (kind, token[1:])
            return _number(Fraction(token[0]))
        return self.atom()

    def atom(self) -> Number:
        if self.at >= len(self.tokens):
            raise NotUnderstood
        kind, token = self.tokens[self.at]
        self.at += 1
        if kind == "number":
            return _number(Fraction(token.replace(",", "")))
        if token in CONSTANTS:
            return _number(None, complex(CONSTANTS[token]))
        if token in ("\\infty", "∞"):
            return Number(None, (complex(INFINITY),) * POINTS, frozenset({"\\infty"}))
        if token in ("i", "e"):
            return _number(None, 1j if token == "i" else complex(math.e))
        if kind == "letter" or token in GREEK:
            name = GREEK.get(token, token)
            if name == "√":
                return _root(self.atom(), 2)
            if self.take("_"):
                kind, index = self.tokens[self.at] if self.at < len(self.tokens) else ("", "")
                if kind not in ("number", "letter"):
                    raise NotUnderstood
                self.at += 1
                name = f"{name}_{index}"
            return _variable(name)
        if token == "\\frac":
            return _over(self._argument(), self._argument())
        if token == "\\sqrt":
            degree = 2
            if self.take("["):
                order = self.sum()
                self.need("]")
                if order.exact is None or not 2 <= order.exact <= 50 or order.exact.denominator != 1:
                    raise NotUnderstood
                degree = int(order.exact)
            return _root(self._argument(), degree)
        if token in FUNCTIONS:
            raised = self._argument(signed=True) if self.take("^") else None
            inner = self._operand()
            value = _number(None, *(FUNCTIONS[token](z) for z in inner.at), variables=inner.variables)
            return value if raised is None else _to_the(value, raised)
        if token in ("(", "{", "["):
            value = self.sum()
            self.need({"(": ")", "{": "}", "[": "]"}[token])
            return value
        raise NotUnderstood

    def _operand(self) -> Number:
        """What a function is applied to: brackets, or factors side by side up to the next function (sin 2x cos x)."""
        if self.peek() in ("(", "{"):
            return self.atom()
        value = self.power()
        while self._starts_a_factor() and self.peek() not in FUNCTIONS and self.peek() != "(":
            value = _times(value, self.power())
        return value

    def _deeper(self) -> None:
        self.depth += 1
        if self.depth > 40:
            raise NotUnderstood


def _plus(a: Number, b: Number) -> Number:
    if a.exact is not None and b.exact is not None:
        return _number(a.exact + b.exact)
    return _number(None, *(x + y for x, y in zip(a.at, b.at, strict=True)), variables=a.variables | b.variables)


def _minus(a: Number, b: Number) -> Number:
    if a.exact is not None and b.exact is not None:
        return _number(a.exact - b.exact)
    if a.exact == 0 and abs(b.at[0]) == INFINITY:
        return Number(None, tuple(-z for z in b.at), b.variables)
    return _number(None, *(x - y for x, y in zip(a.at, b.at, strict=True)), variables=a.variables | b.variables)


def _times(a: Number, b: Number) -> Number:
    if a.exact is not None and b.exact is not None:
        return _number(a.exact * b.exact)
    return _number(None, *(x * y for x, y in zip(a.at, b.at, strict=True)), variables=a.variables | b.variables)


def _over(a: Number, b: Number) -> Number:
    if a.exact is not None and b.exact is not None:
        return _number(a.exact / b.exact)
    return _number(None, *(x / y for x, y in zip(a.at, b.at, strict=True)), variables=a.variables | b.variables)


def _to_the(base: Number, exponent: Number) -> Number:
    power = exponent.exact
    if base.exact is not None and power is not None and power.denominator == 1:
        bits = max(base.exact.numerator.bit_length(), base.exact.denominator.bit_length())
        if abs(power) * bits > MAX_BITS:
            raise NotUnderstood
        return _number(base.exact ** int(power))
    values = (x**y for x, y in zip(base.at, exponent.at, strict=True))
    return _number(None, *values, variables=base.variables | exponent.variables)


def _root(value: Number, degree: int) -> Number:
    if value.exact is not None and value.exact >= 0:
        top, bottom = (round(n ** (1 / degree)) if n < 1 << 100 else 0 for n in value.exact.as_integer_ratio())
        if bottom and Fraction(top, bottom) ** degree == value.exact:
            return _number(Fraction(top, bottom))
    if value.exact is not None and value.exact < 0 and degree % 2:
        return _minus(_number(Fraction(0)), _root(_number(-value.exact), degree))
    return _number(None, *(z ** (1 / degree) for z in value.at), variables=value.variables)


def same(a: Value, b: Value) -> bool | None:
    """Whether two values are the same answer; None where that is not decided here. `a` is the reference."""
    try:
        return _same(a, b)
    except (NotUnderstood, ArithmeticError):  # values too large or too small to compare
        return None


def _same(a: Value, b: Value) -> bool | None:
    if isinstance(a, Equation) or isinstance(b, Equation):
        return _same_equation(a, b)
    if isinstance(a, Number) and isinstance(b, Number):
        return _same_number(a, b)
    if isinstance(a, Text) and isinstance(b, Text):
        return a.text == b.text
    if isinstance(a, Group) and isinstance(b, Group):
        return _same_group(a, b)
    groups = [value for value in (a, b) if isinstance(value, Group)]
    if len(groups) == 1 and (isinstance(a, Number) or isinstance(b, Number)):
        return None if len(groups[0].items) == 1 else False
    return None


def _same_equation(a: Value, b: Value) -> bool | None:
    if isinstance(a, Equation) and isinstance(b, Equation):
        if a.name is not None or b.name is not None:
            return same(a.right, b.right) if a.name == b.name else None
        if a.difference is None or b.difference is None:
            return None
        ratios = [x / y for x, y in zip(a.difference.at, b.difference.at, strict=True) if y]
        if len(ratios) < POINTS or a.difference.variables != b.difference.variables:
            return None
        return True if max(abs(r - ratios[0]) for r in ratios) <= NEAR * abs(ratios[0]) else None
    named, other = (a, b) if isinstance(a, Equation) else (b, a)
    assert isinstance(named, Equation)
    if named.name is None:
        return None
    return same(named.right, other) if named is a else same(other, named.right)


def _same_number(a: Number, b: Number) -> bool | None:
    if a.percent != b.percent:
        plain = (Number(a.exact, a.at, a.variables), Number(b.exact, b.at, b.variables))
        if _same_number(*plain):
            return True
        hundred = _number(Fraction(100))
        x, y = (_over(n, hundred) if given.percent else n for n, given in zip(plain, (a, b), strict=True))
        return _same_number(x, y)
    if a.exact is not None and b.exact is not None:
        return a.exact == b.exact
    if ("\\infty" in a.variables) != ("\\infty" in b.variables):
        return False
    distances = [abs(x - y) / max(abs(x), abs(y), 1e-300) for x, y in zip(a.at, b.at, strict=True) if x != y]
    if not distances or max(distances) < NEAR:
        small = max(map(abs, (*a.at, *b.at))) < 1e9 or not distances
        return True if small and min(map(abs, a.at)) > 1e-9 else None
    return False if max(distances) > FAR else None


def _same_group(a: Group, b: Group) -> bool | None:
    kinds = {a.kind, b.kind}
    if kinds == {"list", "set"} or kinds == {"list"} or kinds == {"set"}:
        return _same_unordered(a.items, b.items)
    if a.kind != b.kind:
        return False if kinds == {"tuple", "set"} else None
    if a.kind == "union":
        return _same_unordered(a.items, b.items)
    if len(a.items) != len(b.items) or a.rows != b.rows:
        return False
    if (a.open, a.close) != (b.open, b.close):
        half_open = {("(", "]"), ("[", ")")} & {(a.open, a.close), (b.open, b.close)}
        return False if half_open else None
    return _all(same(x, y) for x, y in zip(a.items, b.items, strict=True))


def _same_unordered(a: tuple[Value, ...], b: tuple[Value, ...]) -> bool | None:
    if len(a) != len(b):
        return None
    left = list(b)
    for x in a:
        found = [same(x, y) for y in left]
        if True in found:
            left.pop(found.index(True))
        else:
            return None if None in found else False
    return True


def _all(found: object) -> bool | None:
    results = list(found)  # type: ignore[call-overload]
    return False if False in results else None if None in results else True
