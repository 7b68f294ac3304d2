"""Figures over the reasoning ratio: accuracy and the share of completions that think."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from eval.report.csv_table import Row, Table, Tables
from eval.report.group_names import panel_titles
from eval.report.line_styles import line_entry, line_styles, untrained_entry, untrained_rows
from ratiocine.plotting import (
    SOFT,
    UNTRAINED_DASH,
    LegendEntry,
    LineStyle,
    panel_grid,
    percent_axis,
    set_share_limits,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CHANCE: dict[str, Any] = {"linestyle": (0, (8, 3, 1, 3)), "linewidth": 1}
SEED: dict[str, Any] = {"marker": ".", "linestyle": "none", "markersize": 4}
PUBLISHED = {"general-purpose training": "P", "math-centric training": "X"}  # markers


def accuracy(tables: Tables, narrow: bool) -> Figure:
    table = tables["accuracy"]
    rows = [row for row in table if row["ratio"] is not None and row["equalize"] == "examples"]
    published = list(tables["published"]) if "published" in tables else []
    return _RatioFigure(table, rows, tables, "accuracy", published, *_around(tables)).draw(
        table.values("group"), narrow
    )


def accuracy_equal_cost(tables: Tables, narrow: bool) -> Figure:
    table = tables["accuracy"]
    rows = [row for row in table if row["ratio"] is not None and row["equalize"] != "examples"]
    return _RatioFigure(table, rows, tables, "accuracy", (), *_around(tables)).draw(
        table.values("group"), narrow
    )


def _around(tables: Tables) -> tuple[list[Row], dict[str, float]]:
    """Accuracies of seeds, where there are several, and the levels of chance."""
    seeds = list(tables["accuracy_by_seed"])
    several = max((row["seeds"] for row in tables["accuracy"]), default=1) > 1
    chance = {row["group"]: row["chance"] for row in tables["chance"]}
    return seeds if several else [], chance


def thinking(tables: Tables, narrow: bool) -> Figure:
    table = tables["thinking"]
    rows = [row for row in table if row["ratio"] is not None]
    return _RatioFigure(table, rows, tables, "thought").draw([""], narrow)


@dataclass
class _RatioFigure:
    """Lines over the ratio with bands and seeds, dotted levels of starting models and of chance."""

    table: Table
    rows: Sequence[Row]
    """Of the trained arms that are drawn."""
    tables: Tables
    column: str
    """The share on the y axis."""
    published: Sequence[Row] = ()
    seeds: Sequence[Row] = ()
    """Of accuracies."""
    chance: Mapping[str, float] = field(default_factory=dict)
    """By panel."""
    styles: dict[str, LineStyle] = field(init=False)
    colours: dict[str, str] = field(init=False)
    """By model."""

    def __post_init__(self) -> None:
        self.styles = line_styles(self.tables)
        self.colours = {row["model"]: self.styles[row["line"]].colour for row in self.rows}

    def draw(self, panels: Sequence[str], narrow: bool) -> Figure:
        figure, grid = panel_grid(panel_titles(panels), narrow, legend=self._legend())
        for axes, panel in zip(grid, panels, strict=True):
            self._panel(axes, panel)
        return figure

    def _legend(self) -> list[LegendEntry]:
        lines = list(dict.fromkeys(row["line"] for row in self.rows))
        found = [line_entry(line, self.styles[line]) for line in lines]
        untrained = untrained_rows(self.table)
        models = [model for model in self.colours if any(r["model"] == model for r in untrained)]
        for model in models:
            name = f"{model} (untrained)" if len(models) > 1 else "untrained"
            found.append(untrained_entry(name, self.colours[model]))
        if self.seeds:
            found.append(("a seed", {**SEED, "color": SOFT}))
        if any(self.chance.values()):
            found.append(("chance", {**CHANCE, "color": SOFT}))
        trainings = {row["training"] for row in self.published}
        for training, marker in PUBLISHED.items():
            if training in trainings:
                style = {"color": SOFT, "marker": marker, "linestyle": "none", "alpha": 0.7}
                found.append((f"published, {training}", style))
        return found

    def _panel(self, axes: Axes, panel: str) -> None:
        ratios = {row["ratio"] for row in (*self.rows, *self.published)}
        seen = list[float]()
        for line in dict.fromkeys(row["line"] for row in self.rows):
            rows = _by_ratio(r for r in self.rows if r["line"] == line and _in(r, panel))
            if rows:
                whole = _by_ratio([*rows, *(r for r in self._ends(rows) if _in(r, panel))])
                ratios |= {row["ratio"] for row in whole}
                seen += [row[name] for row in whole for name in (self.column, "low", "high")]
                self._line(axes, self.styles[line], rows, whole)
        for row in untrained_rows(self.table):
            if row["model"] in self.colours and _in(row, panel):
                axes.axhline(
                    row[self.column],
                    color=self.colours[row["model"]],
                    linestyle=UNTRAINED_DASH,
                    linewidth=1.3,
                )
                seen.append(row[self.column])
        seen += [*self._seeds(axes, panel), *self._published(axes, panel)]
        if chance := self.chance.get(panel):
            axes.axhline(chance, color=SOFT, **CHANCE)
            seen.append(chance)
        axes.set_xticks(sorted(ratios), [f"{ratio:g}" for ratio in sorted(ratios)])
        axes.set_xlabel("reasoning ratio")
        if seen:
            set_share_limits(axes, seen)
        percent_axis(axes.yaxis)

    def _line(self, axes: Axes, style: LineStyle, rows: list[Row], whole: list[Row]) -> None:
        """A line with its band; `whole` also holds the ends that it shares with another line."""
        values = [row[self.column] for row in whole]
        axes.plot([r["ratio"] for r in whole], values, color=style.colour, linestyle=style.dash)
        x = [row["ratio"] for row in rows]
        marks = [row[self.column] for row in rows]
        axes.plot(x, marks, color=style.colour, marker=style.marker, linestyle="none")
        low, high = [row["low"] for row in rows], [row["high"] for row in rows]
        if len(rows) == 1:
            axes.vlines(x, low, high, color=style.colour, linewidth=1.2)
            return
        axes.fill_between(x, low, high, color=style.colour, alpha=0.1, linewidth=0)
        for edge in (low, high):
            axes.plot(x, edge, color=style.colour, linestyle=style.dash, linewidth=0.8, alpha=0.4)

    def _seeds(self, axes: Axes, panel: str) -> list[float]:
        arms = {row["arm"]: row for row in self.rows}
        rows = [row for row in self.seeds if row["arm"] in arms and _in(row, panel)]
        for row in rows:
            arm = arms[row["arm"]]
            colour = self.styles[arm["line"]].colour
            axes.plot(arm["ratio"], row["accuracy"], color=colour, zorder=1, **SEED)
        return [row["accuracy"] for row in rows]

    def _published(self, axes: Axes, panel: str) -> list[float]:
        rows = [r for r in self.published if r["model"] in self.colours and _in(r, panel)]
        for row in rows:
            axes.plot(
                row["ratio"],
                row["accuracy"],
                color=self.colours[row["model"]],
                marker=PUBLISHED[row["training"]],
                linestyle="none",
                alpha=0.6,
                markersize=6.5,
                fillstyle="none",
                clip_on=False,
            )
        return [row["accuracy"] for row in rows]

    def _ends(self, rows: list[Row]) -> list[Row]:
        """Ends that a line shares with the mixed one of its model: scenarios coincide at ratios 0
        and 1, and at ratio 1 so does what is held equal."""
        first, present = rows[0], {row["ratio"] for row in rows}
        found = list[Row]()
        for ratio in sorted({0.0, 1.0} - present):
            ends = [
                row
                for row in self.table
                if (row["scenario"], row["equalize"], row["ratio"]) == ("mixed", "examples", ratio)
                and row["model"] == first["model"]
                and row.get("group") == first.get("group")
                and (ratio == 1.0 or row["equalize"] == first["equalize"])
                and row["line"] != first["line"]
            ]
            found += ends if len(ends) == 1 else []
        return found


def _by_ratio(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: row["ratio"])


def _in(row: Row, panel: str) -> bool:
    return bool(row.get("group", panel) == panel)
