"""Curves of single training runs: losses, and what reinforcement learning logs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ratiocine.plotting.panels import panel_grid, percent_axis
from ratiocine.plotting.style import DASHES, SERIES, figure_style
from ratiocine.plotting.vector import to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = Mapping[str, Any]
WINDOW = 9  # steps of the moving average


@dataclass(frozen=True)
class Panel:
    """Training metrics that share an axis."""

    title: str
    metrics: tuple[str, ...]
    share: bool = False
    """Whether the metrics are shares, drawn from 0 to 1."""
    validation: bool = False
    """Whether the validation accuracy is drawn beside."""
    points: tuple[str, ...] = ()
    """Further metrics, which only some rows have."""
    from_zero: bool = True
    """Whether the y axis begins at 0."""
    noisy: bool = True
    """Whether a moving average is drawn."""


PANELS = (
    Panel("reward", ("reward",)),
    Panel("accuracy: rollouts, validation (95 %)", ("accuracy",), share=True, validation=True),
    Panel("format", ("format",), share=True),
    Panel("completion tokens", ("length",)),
    Panel("token entropy: all (estimate), trained on", ("surprisal", "entropy")),
    Panel("groups all right, all wrong", ("all_right", "all_wrong"), share=True),
)
# Of `train`, and of `rl` as far as its rows have them.
LOSS_PANELS = (
    Panel("loss", ("loss",), from_zero=False),
    Panel("loss by mode: ift, reasoning", ("loss_ift", "loss_reasoning"), from_zero=False),
    Panel(
        "validation loss: ift, reasoning",
        (),
        points=("val_loss_ift", "val_loss_reasoning"),
        from_zero=False,
    ),
    Panel("learning rate", ("lr",), noisy=False),
    Panel("gradient norm", ("grad_norm",)),
)
CURVE_METRICS = tuple(name for panel in PANELS for name in panel.metrics)


def training_curves(
    rows: Sequence[Row], val_accuracy: Sequence[Row], *, narrow: bool = False
) -> str:
    """An SVG of six panels over optimizer steps.

    `rows` are those of `metrics.jsonl`: thin lines are steps, thick ones moving averages.
    `val_accuracy` holds `step`, `accuracy` and `ci95`.
    """
    return _figure(PANELS, rows, val_accuracy, narrow, left=46)


def loss_curves(rows: Sequence[Row], *, narrow: bool = False) -> str:
    """An SVG of losses, learning rate and gradient norm over optimizer steps, with a panel for
    each that the rows of `metrics.jsonl` have; thin lines are steps, thick ones moving averages."""
    known = {name for row in rows for name, value in row.items() if value is not None}
    panels = [panel for panel in LOSS_PANELS if known & {*panel.metrics, *panel.points}]
    return _figure(panels or LOSS_PANELS[:1], rows, (), narrow, left=58)


def _figure(
    panels: Sequence[Panel],
    rows: Sequence[Row],
    val_accuracy: Sequence[Row],
    narrow: bool,
    left: float,
) -> str:
    with figure_style():
        titles = [panel.title for panel in panels]
        figure, grid = panel_grid(titles, narrow, columns=2, height=130, below=34, left=left)
        last = max([1, *(row["step"] for row in (*rows, *val_accuracy))])
        for panel, axes in zip(panels, grid, strict=True):
            validation = val_accuracy if panel.validation else ()
            _draw(axes, panel, rows, validation)
            axes.set_xlim(0, last)
            axes.set_xlabel("step")
        return to_svg(figure)


def _draw(axes: Axes, panel: Panel, rows: Sequence[Row], validation: Sequence[Row]) -> None:
    for colour, dash, name in zip(SERIES, DASHES, panel.metrics, strict=False):
        known = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
        if known:
            if panel.noisy:
                axes.plot(*zip(*known, strict=True), color=colour, linewidth=1, alpha=0.35)
            known = smoothed(known) if panel.noisy else known
            axes.plot(*zip(*known, strict=True), color=colour, linestyle=dash)
    for colour, dash, name in zip(SERIES, DASHES, panel.points, strict=False):
        known = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
        if known:
            axes.plot(*zip(*known, strict=True), color=colour, linestyle=dash, marker="o")
    for row in validation:
        axes.vlines(row["step"], *row["ci95"], color=SERIES[1], linewidth=1, clip_on=False)
        axes.plot(row["step"], row["accuracy"], color=SERIES[1], marker="o", clip_on=False)
    if panel.share:
        axes.set_ylim(0, 1.03)
        percent_axis(axes.yaxis)
    elif panel.from_zero:
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))


def smoothed(points: Sequence[tuple[int, float]], width: int = WINDOW) -> list[tuple[int, float]]:
    """The centred moving average over at most `width` points."""
    found = []
    for at, (step, _) in enumerate(points):
        near = [value for _, value in points[max(0, at - width // 2) : at + width // 2 + 1]]
        found.append((step, sum(near) / len(near)))
    return found
