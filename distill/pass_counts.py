"""`pass_rates.jsonl`: right answers, and answers, of each problem and mode."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ratiocine.errors import BadInput
from ratiocine.records import Mode
from ratiocine.runs import check_finished

FILE = "pass_rates.jsonl"
FILE_BEFORE = "rates.jsonl"  # of schema version 1
PassCounts = Mapping[Mode, tuple[int, int]]  # right answers, and answers


def line(key: str, counts: PassCounts) -> str:
    """The counts of one problem, as they are stored."""
    return json.dumps({"key": key, **counts}) + "\n"


def read(run: Path, mode: Mode) -> dict[str, tuple[int, int]]:
    """The counts of one mode in a finished `distill` run, by problem. Raises BadInput if there are
    none."""
    counts: dict[str, tuple[int, int]] = {}
    if check_finished(run).verb == "distill":
        file = run / FILE if (run / FILE).exists() else run / FILE_BEFORE
        if not file.exists():
            raise BadInput(f"pass_rates: {run} has no {FILE}")
        with open(file, encoding="utf-8") as lines:
            for row in map(json.loads, lines):
                right, n = row[mode]
                counts[row["key"]] = right, n
    if not counts:
        raise BadInput(
            f"pass_rates: {run} holds no `distill` run of a model over problems with references"
        )
    return counts
