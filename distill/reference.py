"""The reference teacher: the human worked solutions of a data set, as reasoning traces."""

from __future__ import annotations

import re

from ratiocine.completion_parts import CLOSE, OPEN, one_block
from ratiocine.grading import NUMBER_IN_TEXT, in_points, read_number
from ratiocine.records import Problem

THOUSANDS = re.compile(r"(?<=\d)[ \u00a0\u202f](?=\d{3}(?!\d))")  # 1 234,5
CALCULATOR = re.compile(r"<<[^<>]*>>")  # gsm8k's calculator annotations, `<<48/2=24>>`


def trace(problem: Problem) -> str:
    """The worked solution without calculator annotations; of one in a think block, the inside."""
    text = one_block(CALCULATOR.sub("", str(problem.meta.get("solution") or "")).strip())
    head, tag, _ = text.rpartition(CLOSE)
    return (head if tag else text).strip().removeprefix(OPEN).strip()


def fault(problem: Problem, text: str) -> str | None:
    """Why a worked solution is no trace: it is missing or lacks a numeric reference; else None."""
    if not text:
        return "no_solution"
    assert problem.reference is not None
    wanted = read_number(in_points(problem, problem.reference))
    plain = in_points(problem, THOUSANDS.sub("", text))
    # Lines too: a mixed number or a fraction of one character is no number within a text.
    found = [*NUMBER_IN_TEXT.findall(plain), *plain.splitlines()]
    known = wanted is None or wanted in map(read_number, found)
    return None if known else "solution_misses_reference"
