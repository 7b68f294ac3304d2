"""Line styles of arms, the same in every figure of a study, and of other series."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from eval.report.csv_table import Row, Table, Tables
from ratiocine.plotting import (
    DASHES,
    MARKERS,
    SERIES,
    SOFT,
    UNTRAINED_DASH,
    LegendEntry,
    LineStyle,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UNTRAINED = LineStyle(SOFT, "*", "solid")


def line_styles(tables: Tables) -> dict[str, LineStyle]:
    """Line styles by `Arm.line`, of trained arms: a colour per model (per line if there is one
    model), a marker per line, and a dash pattern per line within a model."""
    arms = tables["arms"]
    lines = list(
        dict.fromkeys((row["model"], row["line"]) for row in arms if row["scenario"] is not None)
    )
    models = arms.values("model")
    found: dict[str, LineStyle] = {}
    of_model = dict.fromkeys(models, 0)
    for at, (model, line) in enumerate(lines):
        colour = models.index(model) if len(models) > 1 else at
        dash = DASHES[of_model[model] % len(DASHES)]
        found[line] = LineStyle(SERIES[colour % len(SERIES)], MARKERS[at % len(MARKERS)], dash)
        of_model[model] += 1
    return found


def series_styles(labels: Iterable[str]) -> dict[str, LineStyle]:
    """A colour, a marker and a dash pattern per label."""
    return {
        label: LineStyle(
            SERIES[at % len(SERIES)], MARKERS[at % len(MARKERS)], DASHES[at % len(DASHES)]
        )
        for at, label in enumerate(labels)
    }


def draw_mark(axes: Axes, x: float, y: float, colour: str, marker: str, face: str) -> None:
    """A single mark, filled with `face`."""
    axes.plot(x, y, color=colour, marker=marker, markerfacecolor=face, linestyle="none")


def marker_entry(label: str, style: LineStyle) -> LegendEntry:
    return label, {"color": style.colour, "marker": style.marker, "linestyle": "none"}


def line_entry(label: str, style: LineStyle) -> LegendEntry:
    return label, {"color": style.colour, "marker": style.marker, "linestyle": style.dash}


def untrained_entry(label: str, colour: str) -> LegendEntry:
    return label, {"color": colour, "linestyle": UNTRAINED_DASH, "linewidth": 1.3}


def untrained_rows(table: Table) -> list[Row]:
    return [row for row in table if row["scenario"] is None]
