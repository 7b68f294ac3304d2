"""Countdown: an arithmetic expression over given numbers, each used exactly once, that equals a target. Read through Python's
own parser as a tree and reckoned exactly; nothing is evaluated that is not a sum, difference, product or quotient of whole
numbers."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

LONGEST = 400  # characters; nested deeper than the parser can go is not possible within them
SIGNS = {
    "×": "*", "·": "*", "÷": "/", "−": "-", "\\times": "*", "\\cdot": "*", "\\div": "/", "\\left": "", "\\right": "", "$": "",
}  # fmt: skip
ALLOWED = re.compile(r"[\d+\-*/()\s]+")
OPERATIONS: Mapping[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: lambda a, b: a + b, ast.Sub: lambda a, b: a - b, ast.Mult: lambda a, b: a * b, ast.Div: lambda a, b: a / b,
}  # fmt: skip


def reckoned(text: str) -> tuple[Fraction, Counter[int]] | None:
    """The value of an expression and the numbers in it; None where it is none, or divides by zero. What stands behind a last
    equals sign is left out: `3 * 4 = 12` is read as `3 * 4`."""
    if len(text) > LONGEST:
        return None
    for sign, plain in SIGNS.items():
        text = text.replace(sign, plain)
    expression = text.strip().removesuffix(".").rpartition("=")[0] or text.strip().removesuffix(".")
    if not ALLOWED.fullmatch(expression):
        return None
    used: Counter[int] = Counter()
    try:
        return _value(ast.parse(expression.strip(), mode="eval").body, used), used
    except (SyntaxError, ValueError, ArithmeticError, MemoryError, RecursionError):
        return None


def _value(node: ast.expr, used: Counter[int]) -> Fraction:
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATIONS:
        return OPERATIONS[type(node.op)](_value(node.left, used), _value(node.right, used))
    if isinstance(node, ast.Constant) and type(node.value) is int:
        used[node.value] += 1
        return Fraction(node.value)
    raise ValueError("no operation of this game")


def solves(text: str, numbers: Sequence[int], target: Fraction | int) -> bool:
    """Whether an expression uses every number exactly once, and no other, and equals the target."""
    found = reckoned(text)
    return found is not None and found[0] == target and found[1] == Counter(numbers)
