"""How far an unfinished run is, from the files that it writes as it runs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from eval.config import Config as EvalConfig
from ratiocine import cli
from ratiocine.data import DataConfig
from ratiocine.errors import BadInput
from ratiocine.records import JsonObject
from ratiocine.stores import COMPLETIONS, PARTIAL_COMPLETIONS, read_object

METRICS = "metrics.jsonl"
CHUNK = 1 << 20  # bytes
TAIL = 1 << 16  # bytes that hold the last row of a log


@dataclass(frozen=True)
class Progress:
    """How far a run is, in `unit`s of its own."""

    done: int
    total: int | None
    """None where it is unknown."""
    unit: str
    seconds_left: float | None = None
    exact: bool = True
    """Whether `total` is more than an estimate."""


def progress_of(verb: str, folder: Path, config: JsonObject) -> Progress | None:
    """The progress of an unfinished run; None where its files do not tell."""
    if verb == "eval":
        written = (folder / COMPLETIONS).exists()  # just before its end
        file = folder / (COMPLETIONS if written else PARTIAL_COMPLETIONS)
        return Progress(_lines(file), _completions(config), "completions", exact=False)
    if verb in ("train", "rl"):
        total = config.get("max_steps") if verb == "rl" else _steps(folder)
        return _of_training(folder / METRICS, total if isinstance(total, int) else None)
    return None


def _of_training(file: Path, total: int | None) -> Progress:
    row = last_row(file)
    done, seconds = row.get("step", 0), row.get("seconds")
    if not isinstance(done, int) or not done:
        return Progress(0, total, "steps")
    left = None
    if isinstance(seconds, int | float) and total is not None:
        left = (total - done) * seconds / done
    return Progress(done, total, "steps", left)


def last_row(file: Path) -> JsonObject:
    """The last whole row of a log; empty where there is none."""
    try:
        with open(file, "rb") as log:
            log.seek(max(0, log.seek(0, 2) - TAIL))
            lines = log.read().split(b"\n")[:-1]  # what follows the last newline is being written
    except OSError:
        return {}
    for line in reversed(lines):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            return row
    return {}


def _steps(folder: Path) -> int | None:
    """Optimizer steps of a run of `train`."""
    try:
        stages = read_object(folder / "mixture.json")["stages"]
        return sum(int(stage["steps"]) for stage in stages)
    except (BadInput, LookupError, TypeError, ValueError):
        return None


def _lines(file: Path) -> int:
    try:
        with open(file, "rb") as rows:
            return sum(chunk.count(b"\n") for chunk in iter(lambda: rows.read(CHUNK), b""))
    except OSError:
        return 0


def _completions(stored: JsonObject) -> int | None:
    """Completions of an evaluation, where its benchmarks state how many problems they have; rows
    that are dropped count too."""
    try:
        config = cli.check(EvalConfig, stored)
        problems = [_problems(data, config.limit) for data in config.sources()]
    except BadInput:
        return None
    known = [n for n in problems if n is not None]
    return sum(known) * config.samples if len(known) == len(problems) else None


def _problems(data: DataConfig, limit: int | None) -> int | None:
    by_source = [family.test for family in data.families.values()]
    if data.hub is not None and data.hub.count is not None:
        by_source.append(data.hub.count)
    if not by_source or data.mix is not None:
        return None
    return sum(n if limit is None else min(n, limit) for n in by_source)
