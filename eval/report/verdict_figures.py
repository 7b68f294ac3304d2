"""Figures of the main contrasts: the matrix of verdicts, and what more seeds would decide."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from eval.report.csv_table import Row, Table, Tables
from eval.report.group_names import panel_titles
from eval.report.line_styles import marker_entry, series_styles
from eval.report.phrases import factor, signed
from eval.report.verdict_tables import PROBABLE
from ratiocine.plotting import (
    INK,
    LINE,
    SERIES,
    SOFT,
    blank_figure,
    panel_grid,
    percent_axis,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACROSS, ACROSS_NARROW = 4, 2  # contrasts side by side
CHARACTER = 6.2  # width of a letter of a note
LABEL = 160  # width of the categories' names
WIDEST = 270  # width of a cell
GAP, CELL, LINE_HEIGHT = 4, 62, 15
MARKS = {
    "gain": ("▲", SERIES[2]),
    "cost": ("▼", SERIES[4]),
    "no gain shown": ("=", SERIES[0]),
    "inconclusive": ("?", SOFT),
    "too few problems": ("–", LINE),
}


def verdicts(tables: Tables, narrow: bool) -> Figure:
    """A row per category and a column per contrast; many contrasts in several blocks."""
    table = tables["verdicts"]
    pairs = list(dict.fromkeys((row["arm"], row["against"]) for row in table))
    groups = table.values("group")
    most = ACROSS_NARROW if narrow else ACROSS
    across = -(-len(pairs) // -(-len(pairs) // most))  # blocks of about one width
    left = 0 if narrow else LABEL
    total = 340 if narrow else 900
    width = min(WIDEST if len(pairs) > 1 else 340, (total - left) / across)
    blocks = [pairs[at : at + across] for at in range(0, len(pairs), across)]
    heads = [[_head(table, pair, width) for pair in block] for block in blocks]
    tall = CELL + GAP + (LINE_HEIGHT + 3 if narrow else 0)
    heights = [LINE_HEIGHT * max(map(len, of)) + 20 + tall * len(groups) for of in heads]
    figure, axes = blank_figure(left + across * width, sum(heights) + 4)
    top = 0.0
    for block, of_block, height in zip(blocks, heads, heights, strict=True):
        y = top + LINE_HEIGHT * max(map(len, of_block)) + 8
        for at, lines in enumerate(of_block):
            _text(axes, left + at * width + 8, top + 11, lines)
        for group, name in zip(groups, panel_titles(groups), strict=True):
            code = f" ({group})" if name not in (group, "All problems") else ""
            if narrow:
                axes.text(2, y + 11, name + code, fontweight="bold", va="baseline")
                y += LINE_HEIGHT + 3
            else:
                _category(axes, y, name + code)
            for at, (arm, against) in enumerate(block):
                (row,) = table.where(group=group, arm=arm, against=against)
                _cell(axes, left + at * width, y, width - GAP, row)
            y += CELL + GAP
        top += height
    return figure


def _head(table: Table, pair: tuple[str, str], width: float) -> list[str]:
    """Of a column: the model, the contrast and its training cost."""
    row = table.where(arm=pair[0], against=pair[1])[0]
    arm, against = (name.removeprefix(row["model"]).strip() or name for name in pair)
    room = max(10, int(width / 7.4))
    lines = textwrap.wrap(row["model"], room) + textwrap.wrap(f"{arm} against {against}", room)
    times = row["training_times"]
    return [*lines, f"training FLOPs {factor(times)}"] if times else lines


def _text(axes: Axes, x: float, y: float, lines: Sequence[str]) -> None:
    for at, line in enumerate(lines):
        weight, colour = ("bold", INK) if at == 0 else ("normal", SOFT)
        axes.text(x, y + at * LINE_HEIGHT, line, fontweight=weight, color=colour, va="baseline")


def _category(axes: Axes, y: float, name: str) -> None:
    lines = [
        part
        for half in name.split(", ")
        for part in textwrap.wrap(half, LABEL // 7, break_on_hyphens=False)
    ]
    start = y + CELL / 2 - LINE_HEIGHT * (len(lines) - 1) / 2 + 4
    for at, line in enumerate(lines):
        weight = "bold" if at == 0 else "normal"
        axes.text(2, start + at * LINE_HEIGHT, line, fontweight=weight, va="baseline")


def _cell(axes: Axes, x: float, y: float, width: float, row: Row) -> None:
    from matplotlib.patches import Rectangle

    mark, colour = MARKS[row["verdict"]]
    axes.add_patch(Rectangle((x, y), width, CELL, facecolor=colour, alpha=0.13, linewidth=0))
    axes.add_patch(Rectangle((x, y), 4, CELL, facecolor=colour, linewidth=0))
    verdict, declared, wide = row["verdict"], row["declared"], width > 190
    noted, other = "", ""
    if (verdict, declared) in (("gain", "gain"), ("no gain shown", "no_gain")):
        noted = " (declared)"
    elif declared is not None:
        other = "gain declared" if declared == "gain" else "no gain declared"
    if verdict == "no gain shown":
        beyond = f"{100 * row['margin']:g}"
        short = not wide or other
        verdict = f"no gain ±{beyond}" if short else f"no gain beyond {beyond} points"
    title = f"{verdict}{noted}{f' ({other})' if other and wide else ''}"
    axes.text(x + 10, y + 17, f"{mark} {title}", fontweight="bold", va="baseline")
    if row["verdict"] != "too few problems":
        value, low, high = (signed(row[name]) for name in ("difference", "low", "high"))
        points = f"{value} points ({low} to {high})" if wide else f"{value} ({low} to {high})"
        axes.text(x + 10, y + 34, points, va="baseline")
    limit = "token limit may decide" if row["token_limit_may_decide"] else row["floor"] or ""
    price = [
        f"{word} {factor(row[name])}"
        for word, name in (("tokens", "tokens_times"), ("FLOPs", "flops_times"))
        if row[name]
    ]
    notes = [one for one in (limit, "" if wide else other) if one]
    held = [*notes[:1], *price] if wide else notes[:1] or price
    while len(", ".join(held)) > (width - 20) / CHARACTER and len(held) > 1:
        held.pop()
    note = ", ".join(held)
    axes.text(x + 10, y + 51, note, color=SOFT, va="baseline")


def more_seeds(tables: Tables, narrow: bool) -> Figure:
    """Power by seeds, a line per inconclusive contrast and a panel per category."""
    table = tables["more_seeds"]
    panels, arms = table.values("group"), table.values("arm")
    styles = series_styles(arms)
    legend = [
        *(marker_entry(arm, style) for arm, style in styles.items()),
        ("80 %", {"color": SOFT, "linewidth": 1}),
    ]
    figure, grid = panel_grid(panel_titles(panels), narrow, height=150, legend=legend)
    for axes, panel in zip(grid, panels, strict=True):
        for arm in arms:
            rows = table.where(group=panel, arm=arm)
            if rows:
                style = styles[arm]
                x, y = ([row[name] for row in rows] for name in ("with_seeds", "power"))
                axes.plot(x, y, color=style.colour, linestyle=style.dash)
                now = [row for row in rows if row["with_seeds"] == row["seeds"]]
                axes.plot(
                    [row["with_seeds"] for row in now],
                    [row["power"] for row in now],
                    color=style.colour,
                    marker=style.marker,
                    linestyle="none",
                )
        axes.axhline(PROBABLE, color=SOFT, linewidth=1)
        axes.set_ylim(-0.02, 1.03)
        percent_axis(axes.yaxis)
        axes.set_xticks(_seed_ticks(table.values("with_seeds")))
        axes.set_xlabel("seeds per arm (mark: now)")
    return figure


def _seed_ticks(seeds: Sequence[int]) -> list[int]:
    step = max(2, 2 * round(max(seeds) / 12))
    return list(range(2, max(seeds) + 1, step))
