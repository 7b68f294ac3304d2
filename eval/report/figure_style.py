"""What the pictures of a study share: colours, markers and dashes, panels on a sheet, and a sheet as SVG and PNG.

Sizes are CSS pixels. A picture uses a few reserved colours, which the page replaces by its own for light and dark; the
files keep them on white. Lines differ by marker and dash too, never by colour alone.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log10
from typing import TYPE_CHECKING, Any

from eval.report.study import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, SOFT, LINE, PAPER = "#1c2330", "#5a6475", "#dde2ea", "#ffffff"
WIDE, SINGLE, NARROW = 900, 680, 340

Rows = Sequence[Mapping[str, Any]]
Tables = Mapping[str, Table]
SERIES = ("#0b6bbf", "#b4530a", "#0a7a53", "#7a3fb3", "#b3264b", "#5b6575")
STEPS = (
    "#b37a00",
    "#1f9464",
    "#1b7884",
    "#3a528b",
    "#5a1a6b",
)  # ratios, from low to high; lightness falls with them
VARIABLES = {
    INK: "fg",
    SOFT: "soft",
    LINE: "line",
    PAPER: "bg",
    **dict(zip(SERIES, ("c3", "c1", "c4", "c2", "c5", "c0"), strict=True)),
    **{colour: f"r{at}" for at, colour in enumerate(STEPS)},
}
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "h")
DASHES: tuple[Any, ...] = (
    "solid",
    (0, (5, 2)),
    (0, (6, 2, 1, 2)),
    (0, (9, 3)),
    (0, (3, 1, 1, 1, 1, 1)),
)  # dots: untrained
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
STYLE = {
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
    """How a line of arms is drawn: colour by model (or by line where there is one model), a marker of its own, and a dash among
    the lines of its model."""

    colour: str
    marker: str
    dash: Any


def looks(arms: Table) -> dict[str, LineStyle]:
    """The look of each line of trained arms, the same in every picture."""
    lines = list(
        dict.fromkeys((row["model"], row["line"]) for row in arms if row["scenario"] is not None)
    )
    models = list(dict.fromkeys(row["model"] for row in arms))
    found, of_model = {}, dict.fromkeys(models, 0)
    for at, (model, line) in enumerate(lines):
        colour = models.index(model) if len(models) > 1 else at
        dash = DASHES[of_model[model] % len(DASHES)]
        found[line] = LineStyle(SERIES[colour % len(SERIES)], MARKERS[at % len(MARKERS)], dash)
        of_model[model] += 1
    return found


@dataclass(frozen=True)
class Picture:
    """One picture: for the page, wide and narrow, and on its own with a title, as SVG and as PNG."""

    wide: str
    narrow: str
    svg: str
    png: bytes


def as_svg(figure: Figure) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()


def inlined(svg: str, own: str) -> str:
    """The picture as a part of the page: its colours are the page's, its text in its font, its names begin with `own`; and what
    says nothing is left out."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.S)
    head, rest = svg.split(">", 1)
    width = re.findall(r'viewBox="0 0 (\d+)', head)[0]
    svg = (
        re.sub(r' (width|height|version)="[^"]*"', "", head)
        + f' style="max-width: {width}px">'
        + rest
    )
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda m: f' id="{own}{m[1]}"' if m[1] in used else "", svg)
    svg = re.sub(r'(href="|url\()#', rf"\1#{own}", svg)
    svg = re.sub(r"<[^>]*>", lambda tag: _shorter(tag[0]), svg)
    for nothing in SAYS_NOTHING:
        svg = re.sub(nothing, "", svg)
    return re.sub(r"\s*\n\s*", "\n", _without_bare_groups(svg)).strip()


def _shorter(tag: str) -> str:
    """A tag with the page's colours and numbers of two decimals."""
    for colour, variable in VARIABLES.items():
        tag = tag.replace(colour, f"var(--{variable})")
    return re.sub(r"\d+\.\d{3,}", lambda m: f"{float(m[0]):.2f}".rstrip("0").rstrip("."), tag)


SAYS_NOTHING = (  # the page's style sheet has it, or it is so anyway
    r"font-family: 'DejaVu Sans', sans-serif; ",
    r"font-size: 11px; ",
    r' transform="rotate\(-?0 [^"]*\)"',
    r"; stroke-linecap: square",
    r"stroke-linecap: square; ",
    r"; stroke-linejoin: miter",
    r"stroke-linejoin: miter; ",
    r"<defs>\s*</defs>",
)


def _without_bare_groups(svg: str) -> str:
    """The same elements without the groups that have no attribute."""
    parts, bare = [], list[bool]()
    for part in re.split(r"(<g\b[^>]*>|</g>)", svg):
        if part.startswith("<g"):
            bare.append(part == "<g>")
            parts += [] if bare[-1] else [part]
        elif part == "</g>":
            parts += [] if bare.pop() else [part]
        else:
            parts.append(part)
    return "".join(parts)


def entitle(figure: Figure, title: str) -> None:
    width, height = (float(72 * inches) for inches in figure.get_size_inches())
    lines = textwrap.wrap(title, int(width / 7.6))
    more = 18 * len(lines) + 10
    grow(figure, more)
    figure.text(
        8 / width,
        1 - 6 / (height + more),
        "\n".join(lines),
        va="top",
        fontsize=13,
        fontweight="bold",
    )


def grow(figure: Figure, more: float) -> None:
    """Room above all there is."""
    width, inches = figure.get_size_inches()
    height = 72 * float(inches)
    figure.set_size_inches(width, (height + more) / 72)
    for axes in figure.axes:
        box = axes.get_position()
        axes.set_position(
            (
                box.x0,
                box.y0 * height / (height + more),
                box.width,
                box.height * height / (height + more),
            )
        )
    for legend in figure.legends:
        legend.set_bbox_to_anchor((4 / (72 * float(width)), 1 - (more + 4) / (height + more)))


def laid_out(
    panels: Sequence[str],
    narrow: bool,
    *,
    height: float = 170,
    left: float = 46,
    inner: float | None = None,
    columns: int = 3,
    legend: Sequence[tuple[str, Mapping[str, Any]]] = (),
    below: float = 42,
) -> tuple[Figure, list[Axes]]:
    """Axes of such a height with their titles above, in a grid; on a phone one below the other. `left` is the room for labels
    in the first column, `inner` in the others."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    columns = 1 if narrow else min(columns, len(panels))
    width = NARROW if narrow else WIDE if columns > 1 else SINGLE
    inner = left if inner is None else inner
    above, right = (24, 12) if panels[0] else (8, 12)
    cell = (width - left - inner * (columns - 1)) / columns - right
    rows = -(-len(panels) // columns)
    labels = [textwrap.fill(label, max(20, int((width - 60) / 6.4))) for label, _ in legend]
    across = max(
        1,
        int(
            width
            / (
                max((len(line) for label in labels for line in label.split("\n")), default=1) * 6.6
                + 52
            )
        ),
    )
    head = 19.0 * sum(
        1 + max(label.count("\n") for label in labels[at : at + across])
        for at in range(0, len(labels), across)
    )
    total = head + rows * (above + height + below)
    figure = Figure(figsize=(width / 72, total / 72))
    if legend:
        # Legends fill columns first: hand them over so that rows read in order.
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
    found = []
    for at, name in enumerate(panels):
        row, column = divmod(at, columns)
        x = left + column * (cell + right + inner)
        y = total - head - row * (above + height + below) - above - height
        axes = figure.add_axes((x / width, y / total, cell / width, height / total))
        if name:
            axes.set_title(name, loc="left", fontsize=11, fontweight="bold")
        axes.grid(axis="y", color=LINE, linewidth=0.8)
        axes.tick_params(length=3)
        found.append(axes)
    return figure, found


def in_percent(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))


def power_of_ten(value: float) -> str:
    """Such as 10¹², without the mathematical markup that names of data could break."""
    return "10" + f"{log10(value):.0f}".translate(RAISED)


def in_points(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{100 * value:+g}".replace("+0", "0").replace("-", "−"))
    )


def label_points(
    axes: Axes,
    points: Sequence[tuple[float, float, str]],
    others: Sequence[tuple[float, float]] = (),
) -> None:
    """Words beside points, each where it hides neither a point nor other words; what finds no room is in the table."""
    figure = axes.get_figure()
    assert figure is not None
    scale = 72 / figure.dpi
    places = [axes.transData.transform((x, y)) * scale for x, y, _ in points]
    hidden = [axes.transData.transform(place) * scale for place in others]
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in (*places, *hidden)]
    window = axes.get_window_extent()
    for (x, y, words), at in zip(points, places, strict=True):
        wide = 5.6 * len(words)
        for dx, dy in (
            (-5 - wide, 4),
            (6, -12),
            (6, 4),
            (-5 - wide, -12),
            (-wide / 2, 8),
            (-wide / 2, -17),
            (-5 - wide, 14),
        ):
            box = (at[0] + dx, at[1] + dy, at[0] + dx + wide, at[1] + dy + 9)
            inside = (
                scale * window.x0 < box[0]
                and box[2] < scale * window.x1
                and scale * window.y0 < box[1]
            )
            free = all(
                box[2] < b[0] or b[2] < box[0] or box[3] < b[1] or b[3] < box[1] for b in taken
            )
            if inside and free:
                taken.append(box)
                axes.annotate(
                    words, (x, y), (dx, dy), textcoords="offset points", fontsize=9, color=INK
                )
                break


def bounded(axes: Axes, values: Sequence[float]) -> None:
    low, high = min(values), max(values)
    room = 0.06 * max(high - low, 0.05)
    axes.set_ylim(max(-0.02, low - room), min(1.03, high + room))
