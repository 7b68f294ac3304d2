"""The digits of values at points: double precision, or within `precise()` 60 digits without
overflow or underflow."""

from __future__ import annotations

import cmath
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import inf
from typing import Any


@dataclass(frozen=True)
class Precision:
    """How values at points are computed and compared."""

    functions: Any
    """`cmath`, or a context of mpmath: sin, exp, log, pi, …"""
    element: Callable[[Any], Any]
    """A complex number from a fraction, a float or a constant."""
    near: float
    """Relative distance below which values are equal."""
    far: float
    """Relative distance above which they differ; between the two they are undecided."""
    zero: float = 0.0
    """Magnitude below which a value may be 0 but for rounding."""
    smallest: float = -inf
    """Magnitude up to which near values are undecided."""
    largest: float = inf
    """Magnitude from which near values are undecided."""


def _double(value: Any) -> complex:
    return complex(float(value)) if isinstance(value, Fraction) else complex(value)


DOUBLE = Precision(cmath, _double, 1e-11, 1e-7, zero=1e-9, smallest=1e-9, largest=1e9)
_precision: ContextVar[Precision] = ContextVar("precision", default=DOUBLE)


@cache
def _sixty_digits() -> Precision:
    from mpmath import mp

    digits = mp.clone()
    digits.dps = 60

    def element(value: Any) -> Any:
        if isinstance(value, Fraction):
            return digits.mpc(digits.mpf(value.numerator) / value.denominator)
        return digits.mpc(value)

    return Precision(digits, element, 1e-45, 1e-38, zero=1e-45)


@contextmanager
def precise() -> Iterator[None]:
    """Within this context values are computed with 60 digits."""
    token = _precision.set(_sixty_digits())
    try:
        yield
    finally:
        _precision.reset(token)


def precision() -> Precision:
    """The precision of the current context."""
    return _precision.get()
