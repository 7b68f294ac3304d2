"""Accuracy under caps on the completion, for the page of `python -m eval.budgets`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eval.report.line_styles import line_entry, series_styles
from ratiocine.plotting import (
    figure_style,
    inline_svg,
    panel_grid,
    percent_axis,
    set_share_limits,
    to_svg,
)

CapPoint = tuple[float, float, float, float]
"""Cap in tokens, accuracy, and the ends of its 95 % interval."""


def cap_figure(curves: Mapping[str, Sequence[CapPoint]], capped: str, *, narrow: bool) -> str:
    """An SVG element of a page, a line per label; `capped` names what the caps are on."""
    return line_figure(curves, f"cap on the {capped}, tokens", "caps", narrow=narrow)


def line_figure(
    curves: Mapping[str, Sequence[CapPoint]], xlabel: str, name: str, *, narrow: bool
) -> str:
    """An SVG element of a page: accuracy with intervals over a number, a line per label. `name`
    begins the ids in it."""
    with figure_style():
        styles = series_styles(curves)
        legend = [line_entry(label, style) for label, style in styles.items()]
        figure, (axes,) = panel_grid([""], narrow, height=220, legend=legend)
        for label, points in curves.items():
            style, (caps, values, lows, highs) = styles[label], zip(*points, strict=True)
            axes.plot(caps, values, color=style.colour, marker=style.marker, linestyle=style.dash)
            axes.vlines(caps, lows, highs, color=style.colour, linewidth=1.2)
        set_share_limits(axes, [0.0, *(point[3] for of in curves.values() for point in of)])
        axes.set_xlim(left=0)
        percent_axis(axes.yaxis)
        axes.set_xlabel(xlabel)
        return inline_svg(to_svg(figure), f"{name}-{'n' if narrow else 'w'}-")
