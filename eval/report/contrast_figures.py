"""Figures of all contrasts: a forest plot, and the main ones by level of difficulty."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from eval.report.contrast_tables import NAMES
from eval.report.csv_table import Row, Table, Tables
from eval.report.group_names import panel_titles, short
from eval.report.interval_figures import row_labels, set_rows
from eval.report.line_styles import UNTRAINED, line_styles, marker_entry, series_styles
from eval.report.study import FEW_PROBLEMS
from ratiocine.plotting import (
    PAPER,
    SOFT,
    panel_grid,
    points_axis,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEED: dict[str, Any] = {"marker": ".", "linestyle": "none", "color": SOFT, "markersize": 4}
LEGEND = (
    ("conclusive taken alone", {"marker": "o", "linestyle": "solid"}),
    ("interval includes 0", {"marker": "o", "linestyle": "solid", "markerfacecolor": PAPER}),
    ("declared before training", {"marker": "D", "linestyle": "solid"}),
    ("a seed", SEED),
)


def forest(tables: Tables, narrow: bool) -> Figure:
    """Every contrast, a row each under its kind, with its seeds; declared ones as diamonds."""
    table, by_seed, styles = tables["contrasts"], tables["contrasts_by_seed"], line_styles(tables)
    lines = {row["arm"]: row["line"] for row in tables["arms"]}
    rows = list(_rows(table))
    labels, height, left = row_labels(
        [one if isinstance(one, str) else _label(table, one) for one in rows], 24 if narrow else 44
    )
    figure, (axes,) = panel_grid(
        [""], narrow, height=height * len(rows) + 8, left=left, legend=LEGEND
    )
    for y, row in enumerate(rows):
        if isinstance(row, str):
            continue
        style = styles.get(lines[row["arm"]], UNTRAINED)
        colour, marker = style.colour, "D" if row["hypothesis"] else "o"
        face = PAPER if row["conclusion"] == "inconclusive" else colour
        axes.plot([row["low"], row["high"]], [y, y], color=colour, linewidth=1.6)
        names = ("contrast", "group", "arm", "against")
        seeds = by_seed.where(**{name: row[name] for name in names})
        if len(seeds) > 1:
            x = [one["difference"] for one in seeds]
            axes.plot(x, [y + 0.32] * len(x), clip_on=False, **SEED)
        axes.plot(
            row["difference"], y, color=colour, marker=marker, markerfacecolor=face, linestyle=""
        )
    set_rows(axes, labels)
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        if isinstance(row, str):
            label.set_fontweight("bold")
    axes.axvline(0, color=SOFT, linewidth=1)
    ends = [abs(row[end]) for row in rows if not isinstance(row, str) for end in ("low", "high")]
    reach = min(1.0, 1.05 * max(ends) or 0.1)
    axes.set_xlim(-reach, reach)
    points_axis(axes.xaxis)
    axes.set_xlabel("difference, points")
    return figure


def _rows(table: Table) -> Iterator[str | Row]:
    """The name of each kind of contrasts, and its rows of more than `FEW_PROBLEMS` problems."""
    for kind in table.values("contrast"):
        rows = [row for row in table.where(contrast=kind) if row["n"] > FEW_PROBLEMS]
        if rows:
            yield NAMES[kind]
            yield from rows


def _label(table: Table, row: Row) -> str:
    """The group and what tells the contrast from the others of its kind."""
    of_kind = table.where(contrast=row["contrast"], group=row["group"])
    arms = {one["model"]: one["arm"] for one in of_kind}
    if len(of_kind) == 1 and row["contrast"] not in ("training_flops", "inference_flops"):
        name = short(row["group"])
    elif len(arms) == len(of_kind):
        name = f"{short(row['group'])}: {row['model']}"
    else:
        name = f"{short(row['group'])}: {row['arm']} − {row['against']}"
    declared = {"gain": " (declared: gain)", "no_gain": " (declared: no gain)"}
    return name + declared.get(row["hypothesis"], "")


def gain_by_level(tables: Tables, narrow: bool) -> Figure:
    """Differences over the level of difficulty, a line per contrast and a panel per category."""
    table = tables["gain_by_level"]
    panels, arms = table.values("group"), table.values("arm")
    styles = series_styles(arms)
    legend = [marker_entry(arm, style) for arm, style in styles.items()]
    figure, grid = panel_grid(panel_titles(panels), narrow, height=150, left=56, legend=legend)
    for axes, panel in zip(grid, panels, strict=True):
        levels = list(dict.fromkeys(row["level"] for row in table.where(group=panel)))
        for at, (arm, style) in enumerate(styles.items()):
            rows = table.where(group=panel, arm=arm)
            aside = 0.12 * (at - (len(arms) - 1) / 2)
            x = [levels.index(row["level"]) + aside for row in rows]
            y = [row["difference"] for row in rows]
            low, high = ([row[end] for row in rows] for end in ("low", "high"))
            axes.vlines(x, low, high, color=style.colour, linewidth=1.2)
            axes.plot(x, y, color=style.colour, linestyle=style.dash, marker=style.marker)
        axes.axhline(0, color=SOFT, linewidth=1)
        axes.set_xticks(range(len(levels)), levels)
        axes.set_xlim(-0.5, len(levels) - 0.5)
        points_axis(axes.yaxis)
        axes.set_xlabel("level of difficulty")
        axes.set_ylabel("points gained")
    return figure
