"""Figures of intervals in rows: differences, accuracy by benchmark, lengths; and extra tokens."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from eval.report.csv_table import Row, Tables
from eval.report.group_names import panel_titles
from eval.report.line_styles import (
    UNTRAINED,
    draw_mark,
    line_styles,
    marker_entry,
    series_styles,
)
from eval.report.study import FEW_PROBLEMS
from ratiocine.plotting import (
    LINE,
    PAPER,
    SOFT,
    LegendEntry,
    LineStyle,
    label_points,
    panel_grid,
    percent_axis,
    points_axis,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
SOLID = {"marker": "o", "linestyle": "solid"}
HOLLOW = {**SOLID, "markerfacecolor": PAPER}
RIGHT_OR_WRONG: tuple[LegendEntry, ...] = (
    ("right", {"marker": "o", "linestyle": "none"}),
    ("wrong", {"marker": "s", "linestyle": "none", "markerfacecolor": PAPER}),
)


def row_labels(labels: Sequence[str], width: int) -> tuple[list[str], float, float]:
    """Labels with line breaks, the height of their rows and the room at the left."""
    wrapped = [textwrap.fill(label, width) for label in labels]
    height = 20 + 13 * max(label.count("\n") for label in wrapped)
    left = 14 + 6.3 * max(len(line) for label in wrapped for line in label.split("\n"))
    return wrapped, height, left


def set_rows(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=LINE, linewidth=0.8)


def _interval(axes: Axes, row: Row, column: str, y: float, style: LineStyle, face: str) -> None:
    axes.plot([row["low"], row["high"]], [y, y], color=style.colour, linewidth=1.6)
    draw_mark(axes, row[column], y, style.colour, style.marker, face)


def differences(name: str) -> Callable[[Tables, bool], Figure]:
    """Paired differences with intervals, a row per pair and a panel per group."""

    def draw(tables: Tables, narrow: bool) -> Figure:
        table, styles = tables[name], line_styles(tables)
        lines = {row["arm"]: row["line"] for row in tables["arms"]}
        panels = table.values("group")
        pairs = list(dict.fromkeys((row["arm"], row["against"]) for row in table))
        several = len({arm for arm, _ in pairs}) < len(pairs)
        labels, height, left = row_labels(
            [f"{arm} − {against}" if several else arm for arm, against in pairs],
            30 if narrow else 34,
        )
        figure, grid = panel_grid(
            panel_titles(panels),
            narrow,
            height=height * len(pairs) + 8,
            left=left,
            inner=14,
            legend=[("conclusive", SOLID), ("inconclusive: the interval includes 0", HOLLOW)],
        )
        reach = 1.05 * max(max(abs(row["low"]), abs(row["high"])) for row in table) or 0.1
        for at, (axes, panel) in enumerate(zip(grid, panels, strict=True)):
            for row in table.where(group=panel):
                style = styles[lines[row["arm"]]]
                face = PAPER if row["conclusion"] == "inconclusive" else style.colour
                y = pairs.index((row["arm"], row["against"]))
                _interval(axes, row, "difference", y, style, face)
            axes.axvline(0, color=SOFT, linewidth=1)
            set_rows(axes, labels if narrow or at % COLUMNS == 0 else [""] * len(pairs))
            axes.set_xlim(-min(1, reach), min(1, reach))
            points_axis(axes.xaxis)
            axes.set_xlabel("difference, points")
        return figure

    return draw


def benchmarks(tables: Tables, narrow: bool) -> Figure:
    """Accuracy with intervals, a row per arm and a panel per benchmark."""
    table, styles = tables["accuracy_by_benchmark"], line_styles(tables)
    panels, arms = table.values("group"), table.values("arm")
    labels, height, left = row_labels(arms, 30 if narrow else 34)
    figure, grid = panel_grid(
        panels, narrow, height=height * len(arms) + 8, left=left, inner=14, below=30
    )
    for at, (axes, panel) in enumerate(zip(grid, panels, strict=True)):
        for row in table.where(group=panel):
            style = styles.get(row["line"], UNTRAINED)
            _interval(axes, row, "accuracy", arms.index(row["arm"]), style, style.colour)
        set_rows(axes, labels if narrow or at % COLUMNS == 0 else [""] * len(arms))
        axes.set_xlim(-0.02, 1.02)
        percent_axis(axes.xaxis)
    return figure


def lengths(tables: Tables, narrow: bool) -> Figure:
    """Mean tokens of right and of wrong answers, a row per arm."""
    styles = line_styles(tables)
    rows = [
        row for row in tables["lengths"] if row["right"] is not None or row["wrong"] is not None
    ]
    labels, height, left = row_labels([row["arm"] for row in rows], 27 if narrow else 40)
    figure, (axes,) = panel_grid(
        [""], narrow, height=height * len(rows) + 8, left=left, legend=RIGHT_OR_WRONG
    )
    for y, row in enumerate(rows):
        colour = styles.get(row["line"], UNTRAINED).colour
        known = [row[name] for name in ("right", "wrong") if row[name] is not None]
        axes.plot(known, [y] * len(known), color=colour, linewidth=1.4)
        for name, marker, face in (("right", "o", colour), ("wrong", "s", PAPER)):
            if row[name] is not None:
                draw_mark(axes, row[name], y, colour, marker, face)
        _write_ratio(axes, row, y, narrow)
    most = max(row[name] or 0 for row in rows for name in ("right", "wrong"))
    set_rows(axes, labels)
    axes.set_xlim(0, most * 1.38)
    axes.set_xlabel("mean tokens" if narrow else "mean tokens (at the right: wrong to right)")
    return figure


def _write_ratio(axes: Axes, row: Row, y: float, narrow: bool) -> None:
    if row["wrong_to_right"] is None:
        return
    interval = "" if narrow else f" ({row['low']:.2f} to {row['high']:.2f})"
    axes.text(
        1.0,
        y,
        f"×{row['wrong_to_right']:.2f}{interval}",
        transform=axes.get_yaxis_transform(),
        ha="right",
        va="center",
        fontsize=9,
        color=SOFT,
    )


def extra_tokens(tables: Tables, narrow: bool) -> Figure:
    """Accuracy gained over extra tokens, a point per benchmark and a panel per model."""
    table = tables["extra_tokens"]
    panels = table.values("model")
    styles = series_styles(table.values("category"))
    legend = [marker_entry(name, style) for name, style in styles.items()]
    figure, grid = panel_grid(panels, narrow, height=250, columns=2, legend=legend)
    for axes, panel in zip(grid, panels, strict=True):
        rows = [row for row in table.where(model=panel) if row["n"] > FEW_PROBLEMS]
        for row in rows:
            style = styles[row["category"]]
            colour, x, y = style.colour, row["extra"], row["gain"]
            axes.hlines(y, row["extra_low"], row["extra_high"], color=colour, linewidth=1)
            axes.vlines(x, row["gain_low"], row["gain_high"], color=colour, linewidth=1)
            draw_mark(axes, x, y, colour, style.marker, colour)
        axes.axhline(0, color=SOFT, linewidth=1)
        left, right = axes.get_xlim()
        axes.set_xlim(left - 0.06 * (right - left), right + 0.14 * (right - left))
        label_points(axes, [(row["extra"], row["gain"], row["benchmark"]) for row in rows])
        points_axis(axes.yaxis)
        axes.set_xlabel("extra tokens per answer")
        axes.set_ylabel("points gained")
    return figure
