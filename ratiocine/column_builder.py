"""Columns of scored completions, built row by row."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ratiocine.columns import NONE, VERDICTS, Columns, ProblemTable
from ratiocine.grading import canonical
from ratiocine.records import ScoredCompletion, is_answered, is_truncated
from ratiocine.stores import sized_rows

FLAGS = ("expected", "looping")  # which may be unknown
CODES = {verdict: code for code, verdict in enumerate(VERDICTS)}


class ColumnsBuilder:
    """Columns of rows, one row after the other."""

    def __init__(self) -> None:
        self.problems = ProblemTable([], [], [], [], [])
        self._numbers: dict[str, int] = {}
        self._references: dict[str, int] = {}
        self._small = [array("b") for _ in range(6)]
        self._counts = [array("i") for _ in range(8)]
        self._offsets = array("q")
        self._stops: dict[str, tuple[bool, bool]] = {}
        self._reasons: dict[str, int] = {}
        self._votes: dict[str, int] = {}
        self._texts: dict[str, int] = {}
        self._same: dict[str, tuple[int, int]] = {}
        self._efficiency = array("i"), array("d")
        self._calls: dict[int, Any] = {}
        self._detail: dict[str, tuple[array[int], array[float]]] = {}

    def add(self, row: Mapping[str, Any], offset: int) -> None:
        """Add a row as `ScoredCompletion.row` gives it, at this offset in its file."""
        number = self._numbers.get(row["key"])
        if number is None:
            number = self._problem(row)
        at, stop = len(self._offsets), row["stop"]
        ended = self._stops.get(stop)
        if ended is None:
            ended = self._stops[stop] = is_truncated(stop), is_answered(stop)
        vote, text = self._answer(row["extracted"], at)
        reason = self._reasons.setdefault(row["reason"], len(self._reasons))
        small = (
            *(CODES[row["verdict"]], *ended, row["thought"]),
            *(NONE if flag is None else flag for flag in map(row.get, FLAGS)),
        )
        for of, value in zip(self._small, small, strict=True):
            of.append(value)
        counts = (row["n_prompt"], row["n_completion"], row["n_think"], row["n_answer"])
        for column, value in zip(self._counts, (*counts, vote, text, reason, number), strict=True):
            column.append(value)
        self._offsets.append(offset)
        if (efficiency := row.get("efficiency")) is not None:
            self._efficiency[0].append(at)
            self._efficiency[1].extend(efficiency)
        if (calls := row.get("calls")) is not None:
            self._calls[at] = calls
        for name, measure in (row.get("detail") or {}).items():
            rows, values = self._detail.setdefault(name, (array("i"), array("d")))
            rows.append(at)
            values.append(measure)

    def _problem(self, row: Mapping[str, Any]) -> int:
        table, number = self.problems, len(self._numbers)
        self._numbers[row["key"]] = number
        level, reference = row.get("level"), row["reference"]
        table.keys.append(row["key"])
        table.benchmarks.append(sys.intern(row["benchmark"]))
        table.categories.append(sys.intern(row["category"]))
        table.levels.append(None if level is None else sys.intern(level))
        same = NONE
        if reference is not None:
            same = self._references.setdefault(reference.strip().casefold(), number)
        table.references.append(same)
        return number

    def _answer(self, extracted: str | None, at: int) -> tuple[int, int]:
        """`vote` and `text` of an answer."""
        if extracted is None:
            return NONE, NONE
        known = self._same.get(extracted)
        if known is None:
            vote = self._votes.setdefault(canonical(extracted), at)
            text = self._texts.setdefault(extracted.strip().casefold(), at)
            known = self._same[extracted] = vote, text
        return known

    def columns(self) -> Columns:
        """All rows so far."""
        import numpy as np

        numbers = np.array(self._counts[-1])
        order = np.argsort(numbers, kind="stable")
        new = np.empty(len(order), dtype=np.int32)
        new[order] = np.arange(len(order))
        starts = np.append(0, np.cumsum(np.bincount(numbers, minlength=len(self._numbers))))
        small = [np.array(one)[order] for one in self._small]
        counts = [np.array(one)[order] for one in self._counts[:-1]]
        # Rows are numbered anew in the order of their problems.
        for at in (4, 5):
            counts[at] = np.where(counts[at] == NONE, NONE, new[counts[at]]) if len(new) else new
        # A measure keeps the order of the rows, which does not change its mean.
        efficiency = (
            new[np.array(self._efficiency[0], dtype=np.int32)],
            np.array(self._efficiency[1]).reshape(-1, 2),
        )
        truncated, answered, thought = (one.astype(bool) for one in small[1:4])
        return Columns(
            problems=self.problems,
            starts=starts.astype(np.int64),
            offsets=np.array(self._offsets)[order],
            verdict=small[0],
            truncated=truncated,
            answered=answered,
            thought=thought,
            expected=small[4],
            looping=small[5],
            n_prompt=counts[0],
            n_completion=counts[1],
            n_think=counts[2],
            n_answer=counts[3],
            vote=counts[4],
            text=counts[5],
            reason=counts[6].astype(np.int16),
            reasons=list(self._reasons),
            efficiency=efficiency,
            detail={
                name: (new[np.array(rows, dtype=np.int32)], np.array(values))
                for name, (rows, values) in sorted(self._detail.items())
            },
            calls={int(new[at]): calls for at, calls in self._calls.items()},
        )


def read_columns(path: Path) -> Columns:
    """The columns of a file of scored completions, read once and in bounded memory; raises BadInput
    as `read_completions`."""
    builder, offset = ColumnsBuilder(), 0
    for row, size in sized_rows(path):
        builder.add(row, offset)
        offset += size
    return builder.columns()


def columns_of(rows: Iterable[ScoredCompletion]) -> Columns:
    """The columns of rows in memory."""
    builder = ColumnsBuilder()
    for row in rows:
        builder.add(vars(row), 0)
    return builder.columns()
