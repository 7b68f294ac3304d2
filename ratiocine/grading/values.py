"""Values of mathematical answers, and their equality.

Rational numbers are exact; every other expression is represented by its values at `POINTS` fixed
assignments of its variables, so that equal forms agree up to rounding, in the current `precision`.
`same` returns None where that does not decide.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Any, Literal

from ratiocine.grading.digits import precision

MAX_BITS = 1 << 17  # of an exact integer
POINTS = 4


INFINITE = frozenset({"\\infty"})


@dataclass(frozen=True)
class Number:
    """A number, or an expression in variables."""

    exact: Fraction | None
    """Its value, if it is rational."""
    values: tuple[Any, ...] = ()
    """Its values at `POINTS` fixed assignments of its variables; empty if it is rational."""
    variables: frozenset[str] = frozenset()
    percent: bool = False

    @cached_property
    def at(self) -> tuple[Any, ...]:
        """Its values at the assignments, of a rational number too."""
        if self.exact is None:
            return self.values
        return (precision().element(self.exact),) * POINTS

    def __neg__(self) -> Number:
        if self.infinite:
            return Number(None, tuple(-z for z in self.values), self.variables)
        # 0 - z, not -z: the sign of a zero imaginary part would select another branch of a root.
        return rational(0) - self

    def __add__(self, other: Number) -> Number:
        return self._with(other, operator.add)

    def __sub__(self, other: Number) -> Number:
        return self._with(other, operator.sub)

    def __mul__(self, other: Number) -> Number:
        return self._with(other, operator.mul)

    def __truediv__(self, other: Number) -> Number:
        return self._with(other, operator.truediv)

    def __pow__(self, exponent: Number) -> Number:
        power = exponent.exact
        if self.exact is None or power is None or power.denominator != 1:
            return valued(
                map(operator.pow, self.at, exponent.at), self.variables | exponent.variables
            )
        bits = max(self.exact.numerator.bit_length(), self.exact.denominator.bit_length())
        if abs(power) * bits > MAX_BITS:
            raise NotUnderstood
        return rational(self.exact ** int(power))

    def _with(self, other: Number, apply: Callable[[Any, Any], Any]) -> Number:
        if self.exact is not None and other.exact is not None:
            return rational(apply(self.exact, other.exact))
        return valued(map(apply, self.at, other.at), self.variables | other.variables)

    def root(self, degree: int) -> Number:
        """The principal root; for a negative number and an odd degree the real root."""
        if self.exact is not None and self.exact >= 0:
            top, bottom = (
                round(n ** (1 / degree)) if n < 1 << 100 else 0
                for n in self.exact.as_integer_ratio()
            )
            if bottom and Fraction(top, bottom) ** degree == self.exact:
                return rational(Fraction(top, bottom))
        if self.exact is not None and self.exact < 0 and degree % 2:
            return -rational(-self.exact).root(degree)
        power = precision().element(Fraction(1, degree))
        return valued((z**power for z in self.at), self.variables)

    @property
    def infinite(self) -> bool:
        return self.variables >= INFINITE


@dataclass(frozen=True)
class Group:
    """Several values. A `tuple` may be a point or an interval; a `set` stands in braces or comes
    from ±."""

    kind: Literal["tuple", "list", "set", "union", "matrix"]
    items: tuple[Value, ...]
    open: str = ""
    """Opening bracket of a tuple or interval; empty for a list."""
    close: str = ""
    rows: int = 0
    """Of a matrix."""


@dataclass(frozen=True)
class Equation:
    """An equation."""

    name: str | None
    """The variable, if it is alone on the left."""
    right: Value
    difference: Number | None
    """Left minus right, if both are numbers."""


@dataclass(frozen=True)
class Text:
    """Words, or a numeral in another base (`52_8`)."""

    text: str


Value = Number | Group | Equation | Text


class NotUnderstood(Exception):
    """The text is outside of the grammar."""


def rational(exact: Fraction | int) -> Number:
    """An exact number. Raises NotUnderstood above `MAX_BITS`."""
    exact = Fraction(exact)
    if exact.numerator.bit_length() + exact.denominator.bit_length() > MAX_BITS:
        raise NotUnderstood
    return Number(exact)


def valued(at: Iterable[complex], variables: frozenset[str] = frozenset()) -> Number:
    """An expression from its values at the `POINTS` assignments. Raises NotUnderstood if one is not
    finite."""
    values = tuple(at)
    if not all(map(precision().functions.isfinite, values)):
        raise NotUnderstood
    return Number(None, values, variables)


def constant(value: Any) -> Number:
    return valued((precision().element(value),) * POINTS)


def variable(name: str) -> Number:
    """A variable. Its values are pseudo-random by name, so that only equal forms agree, and
    positive, so that roots and logarithms have their usual branch."""
    return Number(None, tuple(map(precision().element, _assigned(name))), frozenset({name}))


@lru_cache(maxsize=4096)
def _assigned(name: str) -> tuple[float, ...]:
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    return tuple(
        0.6 + 1.9 * int.from_bytes(digest[7 * k : 7 * k + 7]) / (1 << 56) for k in range(POINTS)
    )


def infinity() -> Number:
    """Infinity as a number, so that the ends of intervals can be compared."""
    return Number(None, (precision().element(1.7e300),) * POINTS, INFINITE)


def same(a: Value, b: Value) -> bool | None:
    """Whether two values are one answer; None if that is undecided. `a` is the reference."""
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
        near = precision().near * abs(ratios[0])
        return True if max(abs(r - ratios[0]) for r in ratios) <= near else None
    named, other = (a, b) if isinstance(a, Equation) else (b, a)
    assert isinstance(named, Equation)
    if named.name is None:
        return None
    return same(named.right, other) if named is a else same(other, named.right)


def _same_number(a: Number, b: Number) -> bool | None:
    if a.percent != b.percent:
        plain = (Number(a.exact, a.values, a.variables), Number(b.exact, b.values, b.variables))
        if _same_number(*plain):
            return True
        x, y = (
            n / rational(100) if given.percent else n
            for n, given in zip(plain, (a, b), strict=True)
        )
        return _same_number(x, y)
    if a.exact is not None and b.exact is not None:
        return a.exact == b.exact
    if a.infinite != b.infinite:
        return False
    within, pairs = precision(), list(zip(a.at, b.at, strict=True))
    if any(bool(x) != bool(y) and abs(x + y) < within.zero for x, y in pairs):
        return None  # a zero and a value that may be one but for rounding
    distances = [abs(x - y) / max(abs(x), abs(y)) for x, y in pairs if x != y]
    if distances and max(distances) >= within.near:
        return False if max(distances) > within.far else None
    small = not distances or max(map(abs, (*a.at, *b.at))) < within.largest
    return True if small and min(map(abs, a.at)) > within.smallest else None


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


def _all(found: Iterable[bool | None]) -> bool | None:
    results = list(found)
    return False if False in results else None if None in results else True
