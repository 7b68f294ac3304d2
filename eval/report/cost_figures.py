"""Figures of cost: Pareto fronts over FLOPs, accuracy within a token budget, and the strategies of
`python -m eval.strategies`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil, floor, log10
from typing import TYPE_CHECKING, Any

from eval.report.csv_table import Row, Table, Tables
from eval.report.group_names import panel_titles
from eval.report.line_styles import (
    UNTRAINED,
    draw_mark,
    line_entry,
    line_styles,
    marker_entry,
    series_styles,
    untrained_rows,
)
from ratiocine.plotting import (
    FRONT_DASH,
    INK,
    MARKERS,
    PAPER,
    SOFT,
    STEPS,
    UNTRAINED_DASH,
    LegendEntry,
    LineStyle,
    figure_style,
    inline_svg,
    label_points,
    panel_grid,
    percent_axis,
    power_of_ten,
    set_share_limits,
    to_svg,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

StrategyPoint = tuple[int, float, float, float, float]
"""Number in the table, cost, accuracy, and the ends of its 95 % interval."""
FRONT_LINE: dict[str, Any] = {"color": SOFT, "linestyle": "solid", "linewidth": 1.2}
FIT_LINE: dict[str, Any] = {"color": INK, "linestyle": FRONT_DASH, "linewidth": 1.1}


def pareto_front(kind: str) -> Callable[[Tables, bool], Figure]:
    """Accuracy over FLOPs with the Pareto front and its fit, a panel per group."""

    def draw(tables: Tables, narrow: bool) -> Figure:
        table, fits = tables[f"pareto_{kind}"], tables[f"pareto_{kind}_fits"]
        styles = line_styles(tables)
        panels = table.values("group")
        legend = _front_legend(table, styles, fitted=bool(fits.where(passes=True)))
        figure, grid = panel_grid(panel_titles(panels), narrow, height=220, legend=legend)
        for axes, panel in zip(grid, panels, strict=True):
            rows = table.where(group=panel)
            _points(axes, rows, styles)
            for fit in fits.where(group=panel, passes=True):
                _fit(axes, fit)
            _flops_axis(axes, [row["flops"] for row in rows])
            set_share_limits(axes, [row[name] for row in rows for name in ("low", "high")])
            _label_front(axes, rows)
            percent_axis(axes.yaxis)
            axes.set_xlabel("training FLOPs" if kind == "training" else "FLOPs per answer")
        return figure

    return draw


def _front_legend(table: Table, styles: dict[str, LineStyle], *, fitted: bool) -> list[LegendEntry]:
    lines = table.values("line")
    found = [marker_entry(line, styles[line]) for line in lines if line in styles]
    if any(line not in styles for line in lines):
        found.append(marker_entry("untrained", UNTRAINED))
    found.append(("Pareto front; filled, with ratio and support", FRONT_LINE))
    return [*found, ("fit through the front", FIT_LINE)] if fitted else found


def _points(axes: Axes, rows: Sequence[Row], styles: dict[str, LineStyle]) -> None:
    best = _on_front(rows)
    axes.plot(
        [row["flops"] for row in best],
        [row["accuracy"] for row in best],
        drawstyle="steps-post",
        zorder=1,
        **FRONT_LINE,
    )
    for row in rows:
        style = styles.get(row["line"], UNTRAINED)
        colour = style.colour
        axes.vlines(row["flops"], row["low"], row["high"], color=colour, linewidth=0.8, alpha=0.45)
        face = colour if row["on_front"] else PAPER
        draw_mark(axes, row["flops"], row["accuracy"], colour, style.marker, face)


def _on_front(rows: Sequence[Row]) -> list[Row]:
    return sorted((row for row in rows if row["on_front"]), key=lambda row: row["flops"])


def _fit(axes: Axes, fit: Row) -> None:
    import numpy as np

    x = np.geomspace(fit["from_flops"], fit["to_flops"], 60)
    scaled = fit["gamma"] * (x / fit["to_flops"]) ** fit["delta"]
    axes.plot(x, fit["alpha"] + fit["beta"] * (1 - np.exp(-scaled)), **FIT_LINE)


def strategy_figure(
    points: Mapping[str, Sequence[StrategyPoint]], cost: str, *, narrow: bool
) -> str:
    """An SVG element of a page: accuracy against `cost`, a marker per label, each point with its
    number in the table."""
    with figure_style():
        styles = series_styles(points)
        legend = [line_entry(label, style) for label, style in styles.items()]
        figure, (axes,) = panel_grid([""], narrow, height=260, legend=legend)
        for label, found in points.items():
            style = styles[label]
            for number, x, value, low, high in found:
                axes.plot([x], [value], color=style.colour, marker=style.marker, linestyle="none")
                axes.vlines([x], [low], [high], color=style.colour, linewidth=1.2)
                axes.annotate(
                    str(number), (x, value), xytext=(4, 4), textcoords="offset points", fontsize=8
                )
        set_share_limits(axes, [0.0, *(point[4] for of in points.values() for point in of)])
        _flops_axis(axes, [point[1] for of in points.values() for point in of])
        percent_axis(axes.yaxis)
        axes.set_xlabel(cost)
        return inline_svg(to_svg(figure), f"strategies-{'n' if narrow else 'w'}-")


def _flops_axis(axes: Axes, flops: Sequence[float]) -> None:
    from matplotlib.ticker import FuncFormatter, NullLocator

    axes.set_xscale("log")
    low, high = min(flops) / 2.6, max(flops) * 1.3
    axes.set_xlim(low, high)
    axes.set_xticks(_flops_ticks(low, high))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: power_of_ten(value)))
    axes.xaxis.set_minor_locator(NullLocator())


def _flops_ticks(low: float, high: float) -> list[float]:
    """Three to five round numbers in this range: powers of ten where there are enough."""
    found: list[float] = []
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)):
        exponents = range(floor(log10(low)), ceil(log10(high)) + 1)
        every = [digit * 10.0**exponent for exponent in exponents for digit in digits]
        found = [tick for tick in every if low <= tick <= high]
        if len(found) >= 3:
            break
    return found[:: -(-len(found) // 5)]


def _label_front(axes: Axes, rows: Sequence[Row]) -> None:
    """Ratio and support beside the points of the front."""
    labels = []
    for row in _on_front(rows):
        ratio = "" if row["ratio"] is None else f"{row['ratio']:g}, "
        label = f"{ratio}{100 * row['support']:.0f} %"
        labels.append((row["flops"], row["accuracy"], label))
    label_points(
        axes, labels, [(row["flops"], row["accuracy"]) for row in rows if not row["on_front"]]
    )


def budgets(tables: Tables, narrow: bool) -> Figure:
    """Right answers over the token budget, a panel per line and a curve per ratio."""
    table = tables["budgets"]
    trained = [row for row in table if row["scenario"] is not None]
    panels = list(dict.fromkeys(row["line"] for row in trained or table))
    ratios = sorted({row["ratio"] for row in trained if row["ratio"] is not None})
    legend = [(f"ratio {ratio:g}", _budget_style(ratio, ratios)) for ratio in ratios]
    if untrained_rows(table):
        legend.append(("untrained", _budget_style(None, ratios)))
    figure, grid = panel_grid(panels, narrow, height=210, columns=2, legend=legend)
    for axes, panel in zip(grid, panels, strict=True):
        model = table.where(line=panel)[0]["model"]
        shown = [
            row
            for row in table
            if row["line"] == panel or (row["scenario"] is None and row["model"] == model)
        ]
        for arm in dict.fromkeys(row["arm"] for row in shown):
            _curve(axes, [row for row in shown if row["arm"] == arm], ratios)
        axes.set_xscale("log")
        _token_ticks(axes, [row["tokens"] for row in shown])
        set_share_limits(axes, [0.0, *(row["accuracy"] for row in shown)])
        percent_axis(axes.yaxis)
        axes.set_xlabel("token budget")
    return figure


def _budget_style(
    ratio: float | None, ratios: Sequence[float], colour: str = SOFT
) -> dict[str, Any]:
    if ratio is None:
        return {"color": colour, "linestyle": UNTRAINED_DASH, "marker": ""}
    at = ratios.index(ratio)
    step = round(at * (len(STEPS) - 1) / max(1, len(ratios) - 1))
    return {"color": STEPS[step], "marker": MARKERS[at % len(MARKERS)], "linestyle": "solid"}


def _curve(axes: Axes, rows: Sequence[Row], ratios: Sequence[float]) -> None:
    colour = SOFT if rows[0]["scenario"] is None else INK
    axes.plot(
        [row["tokens"] for row in rows],
        [row["accuracy"] for row in rows],
        markevery=max(1, len(rows) // 6),
        markersize=4.5,
        linewidth=1.6,
        drawstyle="steps-post",
        **_budget_style(rows[0]["ratio"], ratios, colour),
    )


def _token_ticks(axes: Axes, tokens: Sequence[int]) -> None:
    from matplotlib.ticker import NullFormatter, NullLocator

    low, high = min(tokens), max(tokens)
    ticks = [2**power for power in range(32) if low <= 2**power <= high] or [low, high]
    ticks = ticks[:: 1 + len(ticks) // 7]
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
