"""References that are compared as texts: those in a source whose others are numbers, and whole
sentences."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from ratiocine.data.row_shapes import is_short
from ratiocine.grading import may_have_decimal_comma
from ratiocine.records import Decimal, Problem

LISTED = 5
THOUSANDS = re.compile(r"(?<![\d.,])[1-9]\d{0,2}(?:\.\d{3})+(?![\d.,])")
LONGEST = 40  # characters of a reference that are printed


class TextReferences:
    """Counts the references of a source by kind, and finds texts among numbers (most are numbers in
    a form that the grader does not read) and sentences, which no answer matches."""

    def __init__(self, problems: Iterable[Problem] = (), decimal: Decimal | None = None) -> None:
        """`decimal` as it is stated for the source."""
        self.stated = decimal is not None
        self.as_thousands, self.as_decimals = list[str](), 0
        self.counts: Counter[str] = Counter()
        self.with_comma = 0
        self.first: list[str] = []
        self.sentences: list[str] = []
        for problem in problems:
            self.add(problem)

    def add(self, problem: Problem) -> None:
        if not problem.reference:
            return
        self.counts[problem.kind] += 1
        if problem.kind == "number" and "." in problem.reference:
            if THOUSANDS.search(problem.reference):
                self.as_thousands.append(problem.reference[:LONGEST])
            else:
                self.as_decimals += 1
        if problem.kind == "string":
            self.with_comma += may_have_decimal_comma(problem.reference)
            place = problem.place or problem.id
            if len(self.first) < LISTED:
                self.first.append(f"{place}: {problem.reference[:LONGEST]!r}")
            if not is_short(problem.reference):
                self.sentences.append(place)

    @property
    def warnings(self) -> list[str]:
        """Lines for people."""
        return [
            line for line in (self._among_numbers(), self._thousands(), self._sentences()) if line
        ]

    def _thousands(self) -> str | None:
        """Where all points are before exactly three digits, as a thousands point would be."""
        if self.stated or self.as_decimals or not (n := len(self.as_thousands)):
            return None
        are = "reference has" if n == 1 else "references have"
        return (
            f"{n} {are} exactly three digits after a point, read as decimals "
            f"({'; '.join(self.as_thousands[:LISTED])}); data.decimal=comma (eval: decimal=comma) "
            "reads thousands, and decimal=point ends this line"
        )

    def _sentences(self) -> str | None:
        if not (n := len(self.sentences)):
            return None
        are = "reference is a sentence" if n == 1 else "references are sentences"
        listed = "; ".join(self.sentences[:LISTED]) + (" …" if n > LISTED else "")
        return f"{n} {are}, right only as the same text: {listed}; give short answers"

    def _among_numbers(self) -> str | None:
        """None where most are no numbers, or all are."""
        texts, numbers = self.counts["string"], self.counts["number"]
        if not texts or (numbers <= texts and not self.with_comma):
            return None
        are = "reference is" if texts == 1 else "references are"
        listed = "; ".join(self.first) + (" …" if texts > LISTED else "")
        hint = ""
        if self.with_comma:
            hint = f"; data.decimal=comma (eval: decimal=comma) reads {self.with_comma} as numbers"
        return f"{texts} {are} compared as text, {numbers} as numbers ({listed}){hint}"
