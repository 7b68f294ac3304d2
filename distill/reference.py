"""The reference teacher: the human worked solutions of a data set, as reasoning traces."""

from __future__ import annotations

import re

from ratiocine.grading import NUMBER_IN_TEXT, in_points, read_number
from ratiocine.records import Problem

CALCULATOR = re.compile(r"<<[^<>]*>>")  # gsm8k's calculator annotations, `<<48/2=24>>`


def trace(problem: Problem) -> str:
    """The worked solution without calculator annotations."""
    return CALCULATOR.sub("", str(problem.meta.get("solution") or "")).strip()


def fault(problem: Problem, text: str) -> str | None:
    """Why a worked solution is no trace: it is missing or lacks a numeric reference; else None."""
    if not text:
        return "no_solution"
    assert problem.reference is not None
    wanted = read_number(in_points(problem, problem.reference))
    reached = {read_number(found) for found in NUMBER_IN_TEXT.findall(in_points(problem, text))}
    return None if wanted is None or wanted in reached else "solution_misses_reference"
