"""The curves of a training run, from logs that may still be written to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from eval.browse.file_cache import FileCache
from eval.browse.run_folders import VAL_ACCURACY
from eval.browse.run_progress import METRICS
from ratiocine.plotting import inline_svg, length_histogram, loss_curves, training_curves
from ratiocine.records import JsonObject

if TYPE_CHECKING:
    from markupsafe import Markup

LARGEST = 1e30  # of a number in a figure
POINTS = 400  # steps in a figure, about
KEPT = 32  # figures in memory
_drawing = Lock()  # matplotlib's settings are those of the process


@dataclass(frozen=True)
class Figure:
    """A figure for wide and for narrow screens."""

    title: str
    wide: Markup
    narrow: Markup


@dataclass(frozen=True)
class RunCurves:
    """The figures of a run, what is damaged in its logs, and its last row."""

    figures: Sequence[Figure]
    problems: Sequence[str]
    last: JsonObject


@dataclass(frozen=True)
class Log:
    """The rows of a log with a whole-numbered `step`, and the line that cannot be read."""

    rows: tuple[JsonObject, ...]
    problem: str | None = None


def read_log(file: Path) -> Log:
    """The readable rows, each with its finite numbers; a last line without its end is being
    written, and left out."""
    found, problem = list[JsonObject](), None
    try:
        with open(file, "rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    break
                if (row := _numbers(line)) is None:
                    problem = problem or f"{file.name}: line {number} is damaged"
                else:
                    found.append(row)
    except OSError as error:
        problem = f"{file.name} cannot be read: {error.strerror}"
    return Log(tuple(found), problem)


def _numbers(line: bytes) -> JsonObject | None:
    try:
        row = json.loads(line)
        if type(row["step"]) is not int or not _finite(row["step"]):
            return None
        found: JsonObject = {name: value for name, value in row.items() if _finite(value)}
        ends = row.get("ci95")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    if isinstance(ends, list) and len(ends) == 2 and all(map(_finite, ends)):
        found["ci95"] = ends
    return found


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) < LARGEST  # which NaN is not


def _thinned(rows: Sequence[JsonObject]) -> list[JsonObject]:
    """About `POINTS` of these rows, and as many of those with a validation loss."""
    validated = [row for row in rows if "val_loss" in row]
    chosen = {row["step"]: row for row in (*_some(rows), *_some(validated))}
    return [chosen[step] for step in sorted(chosen)]


def _some(rows: Sequence[JsonObject]) -> list[JsonObject]:
    every = 1 + len(rows) // POINTS
    return [*rows[::every], *rows[-1:]]


class Curves:
    """The figures of training runs, drawn again once a log has changed."""

    def __init__(self) -> None:
        self._kept = FileCache[RunCurves](KEPT)

    def of(self, folder: Path, verb: str) -> RunCurves:
        """Those of a run of `train` or `rl`, finished or not."""
        files = [folder / METRICS, *(folder / name for name in VAL_ACCURACY)]
        return self._kept.get(folder, files, partial(_drawn, folder, verb))


def _drawn(folder: Path, verb: str) -> RunCurves:
    log, figures = read_log(folder / METRICS), list[Figure]()
    problems = [log.problem] if log.problem else []
    rows = _thinned(log.rows)
    if verb == "rl" and rows:
        files = [folder / name for name in VAL_ACCURACY if (folder / name).exists()]
        validation = read_log(files[0]) if files else Log(())
        problems += [validation.problem] if validation.problem else []
        known = [row for row in validation.rows if {"accuracy", "ci95"} <= row.keys()]
        figures.append(_figure("Rewards and accuracy", "rl", training_curves, rows, known))
    if rows:
        figures.append(_figure("Loss", "loss", loss_curves, rows))
    return RunCurves(figures, problems, log.rows[-1] if log.rows else {})


def _figure(title: str, prefix: str, draw: Any, *data: Any) -> Figure:
    import markupsafe

    with _drawing:
        wide, narrow = (
            markupsafe.Markup(inline_svg(draw(*data, narrow=is_narrow), f"{prefix}-{is_narrow}-"))
            for is_narrow in (False, True)
        )
    return Figure(title, wide, narrow)


def lengths(tokens: dict[str, list[int]]) -> Markup:
    """The histogram of the token counts of pairs, by mode."""
    import markupsafe

    with _drawing:
        return markupsafe.Markup(inline_svg(length_histogram(tokens), "lengths-"))
