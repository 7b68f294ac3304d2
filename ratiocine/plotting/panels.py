"""Panels of a figure: a grid of axes with titles and one legend, axis formats and point labels."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from math import floor, log10
from typing import TYPE_CHECKING, Any

from ratiocine.plotting.style import INK, LINE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

LegendEntry = tuple[str, Mapping[str, Any]]  # label, and what matplotlib's Line2D takes
WIDE, SINGLE, NARROW = 900, 680, 340
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
RIGHT = 12  # margin of a panel
LEGEND_LINE = 19.0
# Offsets of a label from its point, as (share of the label's width, x, y), the preferred first.
LABEL_OFFSETS = (
    (1, -5, 4),
    (0, 6, -12),
    (0, 6, 4),
    (1, -5, -12),
    (0.5, 0, 8),
    (0.5, 0, -17),
    (1, -5, 14),
)


def panel_grid(
    titles: Sequence[str],
    narrow: bool,
    *,
    height: float = 170,
    left: float = 46,
    inner: float | None = None,
    columns: int = 3,
    legend: Sequence[LegendEntry] = (),
    below: float = 42,
) -> tuple[Figure, list[Axes]]:
    """A figure with axes of this height in a grid, in one column if `narrow` (a phone).

    `left` is the room for tick labels in the first column, `inner` in the others, `below` that for
    the x axis.
    """
    from matplotlib.figure import Figure

    columns = 1 if narrow else min(columns, len(titles))
    width = NARROW if narrow else WIDE if columns > 1 else SINGLE
    inner = left if inner is None else inner
    above = 24 if titles[0] else 8
    cell = (width - left - inner * (columns - 1)) / columns - RIGHT
    rows = -(-len(titles) // columns)
    labels, across = _wrapped([label for label, _ in legend], width)
    head = LEGEND_LINE * sum(
        1 + max(label.count("\n") for label in labels[at : at + across])
        for at in range(0, len(labels), across)
    )
    total = head + rows * (above + height + below)
    figure = Figure(figsize=(width / 72, total / 72))
    if legend:
        _add_legend(figure, legend, labels, across, width, total)
    found = []
    for at, title in enumerate(titles):
        row, column = divmod(at, columns)
        x = left + column * (cell + RIGHT + inner)
        y = total - head - row * (above + height + below) - above - height
        axes = figure.add_axes((x / width, y / total, cell / width, height / total))
        if title:
            axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
        axes.grid(axis="y", color=LINE, linewidth=0.8)
        axes.tick_params(length=3)
        found.append(axes)
    return figure, found


def blank_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of this size in pixels, with axes without frame in pixels from the top left."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 72, height / 72))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    return figure, axes


def _wrapped(labels: Sequence[str], width: float) -> tuple[list[str], int]:
    """Legend labels with line breaks, and how many of them fit side by side."""
    wrapped = [textwrap.fill(label, max(20, int((width - 60) / 6.4))) for label in labels]
    longest = max((len(line) for label in wrapped for line in label.split("\n")), default=1)
    return wrapped, max(1, int(width / (longest * 6.6 + 52)))


def _add_legend(
    figure: Figure,
    legend: Sequence[LegendEntry],
    labels: Sequence[str],
    across: int,
    width: float,
    total: float,
) -> None:
    from matplotlib.lines import Line2D

    # matplotlib fills columns first; in this order the rows read from left to right.
    down = -(-len(legend) // across)
    order = [row * across + column for column in range(across) for row in range(down)]
    handles = [
        Line2D([], [], **{"color": INK, **legend[at][1], "label": labels[at]})
        for at in order
        if at < len(legend)
    ]
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(4 / width, 1 - 4 / total),
        ncols=across,
        frameon=False,
        borderaxespad=0,
        handlelength=2.6,
        columnspacing=1.4,
        borderpad=0,
        labelspacing=0.4,
    )


def add_title(figure: Figure, title: str) -> None:
    """A title above everything, in added room."""
    width, height = (float(72 * inches) for inches in figure.get_size_inches())
    lines = textwrap.wrap(title, int(width / 7.6))
    added = 18 * len(lines) + 10
    _add_room_above(figure, added)
    figure.text(
        8 / width,
        1 - 6 / (height + added),
        "\n".join(lines),
        va="top",
        fontsize=13,
        fontweight="bold",
    )


def _add_room_above(figure: Figure, added: float) -> None:
    width, inches = figure.get_size_inches()
    height = 72 * float(inches)
    total = height + added
    figure.set_size_inches(width, total / 72)
    for axes in figure.axes:
        box = axes.get_position()
        y, tall = box.y0 * height / total, box.height * height / total
        axes.set_position((box.x0, y, box.width, tall))
    for legend in figure.legends:
        legend.set_bbox_to_anchor((4 / (72 * float(width)), 1 - (added + 4) / total))


def percent_axis(axis: Axis) -> None:
    """Ticks of shares in percent."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))


def points_axis(axis: Axis) -> None:
    """Ticks of differences of shares in signed percentage points."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    def signed(value: float, _: object) -> str:
        return f"{100 * value:+g}".replace("+0", "0").replace("-", "−")

    axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(signed))


def power_of_ten(value: float) -> str:
    """Such as 10¹² or 3·10¹², without the mathematical markup that names of data could break."""
    exponent = floor(log10(value) + 1e-9)
    first = f"{value / 10.0**exponent:.2g}"
    return ("" if first == "1" else f"{first}·") + "10" + str(exponent).translate(RAISED)


def set_share_limits(axes: Axes, values: Sequence[float]) -> None:
    """Limits of the y axis around shares, within about 0 and 1."""
    low, high = min(values), max(values)
    room = 0.06 * max(high - low, 0.05)
    axes.set_ylim(max(-0.02, low - room), min(1.03, high + room))


def label_points(
    axes: Axes,
    points: Sequence[tuple[float, float, str]],
    others: Sequence[tuple[float, float]] = (),
) -> None:
    """Labels beside points, where they hide neither a point (also of `others`) nor another label;
    a label without room is left out."""
    figure = axes.get_figure()
    assert figure is not None
    scale = 72 / figure.dpi
    places = [axes.transData.transform((x, y)) * scale for x, y, _ in points]
    hidden = [axes.transData.transform(place) * scale for place in others]
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in (*places, *hidden)]
    window = axes.get_window_extent()
    for (x, y, label), at in zip(points, places, strict=True):
        width = 5.6 * len(label)
        for share, right, up in LABEL_OFFSETS:
            dx, dy = right - share * width, up
            box = (at[0] + dx, at[1] + dy, at[0] + dx + width, at[1] + dy + 9)
            inside = (
                scale * window.x0 < box[0]
                and box[2] < scale * window.x1
                and scale * window.y0 < box[1]
            )
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                axes.annotate(
                    label, (x, y), (dx, dy), textcoords="offset points", fontsize=9, color=INK
                )
                break


Box = tuple[float, float, float, float]


def _overlap(a: Box, b: Box) -> bool:
    return not (a[2] < b[0] or b[2] < a[0] or a[3] < b[1] or b[3] < a[1])
