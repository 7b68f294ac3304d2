"""Exhaustive solver of Countdown and 24 over whole, positive intermediate results."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations


@dataclass(frozen=True)
class Step:
    """One operation on two numbers."""

    left: int
    operator: str
    right: int
    value: int
    expression: str
    """The value as an expression over the given numbers."""

    def __str__(self) -> str:
        return f"{self.left} {self.operator} {self.right} = {self.value}"


Number = tuple[int, str]  # a value, as an expression


@lru_cache(maxsize=100_000)
def solve_numbers(numbers: tuple[int, ...], target: int) -> list[Step] | None:
    """Steps that use each number exactly once and end in the target; None if there are none."""
    return _search([(number, str(number)) for number in numbers], target)


def _search(numbers: list[Number], target: int) -> list[Step] | None:
    if len(numbers) == 1:
        return [] if numbers[0][0] == target else None
    for i, j in combinations(range(len(numbers)), 2):
        rest = [number for at, number in enumerate(numbers) if at not in (i, j)]
        for step in _steps(numbers[i], numbers[j]):
            if not rest and step.value != target:
                continue
            found = _search([*rest, (step.value, step.expression)], target)
            if found is not None:
                return [step, *found]
    return None


def _steps(one: Number, other: Number) -> Iterator[Step]:
    """The operations on two numbers with a whole, positive result."""
    (a, left), (b, right) = sorted((one, other), key=lambda number: -number[0])
    left, right = (f"({text})" if " " in text else text for text in (left, right))
    yield Step(a, "+", b, a + b, f"{left} + {right}")
    yield Step(a, "*", b, a * b, f"{left} * {right}")
    if a > b:
        yield Step(a, "-", b, a - b, f"{left} - {right}")
    if b > 1 and a % b == 0:
        yield Step(a, "/", b, a // b, f"{left} / {right}")
