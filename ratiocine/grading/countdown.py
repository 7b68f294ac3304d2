"""Countdown: an arithmetic expression over given numbers, each used exactly (or at most) once, that
equals a target.

Expressions are parsed by Python's own parser and evaluated exactly; only sums, differences,
products and quotients of whole numbers are evaluated at all.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

from ratiocine.grading.wording import unwrapped

MAX_LENGTH = 400  # characters
SIGNS = {
    "×": "*",
    "·": "*",
    "÷": "/",
    "−": "-",
    "–": "-",
    "\\times": "*",
    "\\cdot": "*",
    "\\div": "/",
    "\\left": "",
    "\\right": "",
    "`": "",
    "\\(": "",
    "\\)": "",
    "\\[": "",
    "\\]": "",
}
ALLOWED = re.compile(r"[\d+\-*/()\s]+")
FORMULA = re.compile(r"[-\d(][-\d+*/()×·÷−–=\s]{0,400}[\d)]")
OPERATIONS: Mapping[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
}


def evaluated(text: str) -> tuple[Fraction, Counter[int]] | None:
    """The value of an expression and its whole numbers; None if it is none, or divides by zero."""
    if len(text) > MAX_LENGTH or not ALLOWED.fullmatch(text):
        return None
    used: Counter[int] = Counter()
    try:
        return _value(ast.parse(text.strip(), mode="eval").body, used), used
    except (SyntaxError, ValueError, ArithmeticError, MemoryError, RecursionError):
        return None


def _value(node: ast.expr, used: Counter[int]) -> Fraction:
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATIONS:
        return OPERATIONS[type(node.op)](_value(node.left, used), _value(node.right, used))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand, used)
    if isinstance(node, ast.Constant) and type(node.value) is int:
        used[node.value] += 1
        return Fraction(node.value)
    raise ValueError("not an operation of Countdown")


def sides(text: str) -> list[tuple[Fraction, Counter[int]]] | None:
    """Value and whole numbers of each side of an equation, or of the expression alone; None if one
    cannot be read."""
    if len(text) > MAX_LENGTH:
        return None
    text = unwrapped(text).removesuffix(".")
    for sign, plain in SIGNS.items():
        text = text.replace(sign, plain)
    found = [evaluated(side) for side in text.split("=")]
    return None if None in found else [side for side in found if side is not None]


def solves(text: str, numbers: Sequence[int], target: int, *, exactly: bool = True) -> bool:
    """Whether an expression uses each number exactly once (else at most once), and no other, and
    equals the target. All sides of an equation must equal it, and one of them be such an
    expression."""
    found, given = sides(text), Counter(numbers)
    if found is None or not all(value == target for value, _ in found):
        return False
    return any(used == given if exactly else used <= given for _, used in found)


def last_expression(text: str) -> tuple[str, str] | None:
    """The last expression with an operation in a text, and how it was found."""
    formulas = [
        match[0]
        for match in FORMULA.finditer(text[-4000:])
        if re.search(r"\d\s*[-+*/×·÷−–]", match[0])
    ]
    return (formulas[-1], "last_formula") if formulas else None
