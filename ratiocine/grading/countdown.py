"""Countdown: an arithmetic expression over given numbers, each used exactly once, that equals a
target. Read through Python's own parser as a tree and reckoned exactly; nothing is evaluated that
is not a sum, difference, product or quotient of whole numbers."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

from ratiocine.grading.wording import unwrapped

LONGEST = 400  # characters
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


def reckoned(text: str) -> tuple[Fraction, Counter[int]] | None:
    """The value of an expression and the whole numbers in it; None where it is none, or divides by
    zero."""
    if len(text) > LONGEST or not ALLOWED.fullmatch(text):
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
    raise ValueError("no operation of this game")


def sides(text: str) -> list[tuple[Fraction, Counter[int]]] | None:
    """The sides of an equation, or the expression alone; None where one of them cannot be read."""
    if len(text) > LONGEST:
        return None
    text = unwrapped(text).removesuffix(".")
    for sign, plain in SIGNS.items():
        text = text.replace(sign, plain)
    found = [reckoned(side) for side in text.split("=")]
    return None if None in found else [side for side in found if side is not None]


def solves(text: str, numbers: Sequence[int], target: int) -> bool:
    """Whether an expression uses every number exactly once, and no other, and equals the target; an
    equation must be true, and one of its sides be such an expression."""
    found = sides(text)
    return (
        found is not None
        and all(v == target for v, _ in found)
        and any(used == Counter(numbers) for _, used in found)
    )


def last_expression(text: str) -> tuple[str, str] | None:
    """The last expression with an operation in a text, and how it was found."""
    formulas = [
        match[0]
        for match in FORMULA.finditer(text[-4000:])
        if re.search(r"\d\s*[-+*/×·÷−–]", match[0])
    ]
    return (formulas[-1], "last_formula") if formulas else None
