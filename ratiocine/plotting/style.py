"""The figure style: colours, markers and dashes, and matplotlib's settings.

Sizes are CSS pixels. A figure uses the colours below only, which a page replaces by its own for
light and dark; files keep them, on white. Lines differ by marker and dash, never by colour alone.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

INK, SOFT, LINE, PAPER = "#1c2330", "#5a6475", "#dde2ea", "#ffffff"
SERIES = ("#0b6bbf", "#b4530a", "#0a7a53", "#7a3fb3", "#b3264b", "#5b6575")
# Ratios from low to high; lightness falls with them.
STEPS = ("#b37a00", "#1f9464", "#1b7884", "#3a528b", "#5a1a6b")
# CSS variables of a page, by colour.
VARIABLES = {
    INK: "fg",
    SOFT: "soft",
    LINE: "line",
    PAPER: "bg",
    **dict(zip(SERIES, ("c3", "c1", "c4", "c2", "c5", "c0"), strict=True)),
    **{colour: f"r{at}" for at, colour in enumerate(STEPS)},
}
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "h")
Dash = str | tuple[int, tuple[int, ...]]
UNTRAINED_DASH: Dash = (0, (1, 2))
FRONT_DASH: Dash = (0, (4, 2))
DASHES: tuple[Dash, ...] = (
    "solid",
    (0, (5, 2)),
    (0, (6, 2, 1, 2)),
    (0, (9, 3)),
    (0, (3, 1, 1, 1, 1, 1)),
)
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "ratiocine",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 11,
    "figure.dpi": 72,
    "text.color": INK,
    "axes.labelcolor": SOFT,
    "axes.edgecolor": SOFT,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.5,
    "axes.unicode_minus": True,
    "figure.facecolor": PAPER,
    "axes.facecolor": "none",
    "path.simplify": False,
    "text.parse_math": False,
}


@dataclass(frozen=True)
class LineStyle:
    """Colour, marker and dash of a line."""

    colour: str
    marker: str
    dash: Dash


def figure_style() -> AbstractContextManager[None]:
    """The context in which figures are drawn and saved."""
    import matplotlib

    return matplotlib.rc_context(STYLE)  # type: ignore[arg-type]
