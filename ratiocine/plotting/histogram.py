"""The distribution of token counts of a set of pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ratiocine.plotting.panels import panel_grid
from ratiocine.plotting.style import SERIES, SOFT, figure_style
from ratiocine.plotting.vector import to_svg

BINS = 24
COLOURS = {"ift": SOFT, "reasoning": SERIES[0]}


def length_histogram(tokens: Mapping[str, Sequence[int]]) -> str:
    """An SVG of the token counts of both answers of the pairs, by mode, on one logarithmic axis."""
    most = max(max(values) for values in tokens.values())
    edges = [(most + 1) ** (at / BINS) for at in range(BINS + 1)]
    with figure_style():
        figure, grid = panel_grid(list(tokens), False, columns=1, height=90, below=38)
        for (mode, values), axes in zip(tokens.items(), grid, strict=True):
            axes.hist(values, bins=edges, color=COLOURS[mode], rwidth=0.9)
        tallest = max(axes.get_ylim()[1] for axes in grid)
        for axes in grid:
            axes.set_xscale("log")
            axes.set_xlim(1, most + 1)
            axes.set_ylim(0, tallest)
            ticks = [10**power for power in range(len(str(most)))]
            axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
            axes.set_ylabel("pairs")
        grid[-1].set_xlabel("tokens (logarithmic)")
        return to_svg(figure)
