"""The figures of a study, each drawn from its tables: for a page, wide and narrow, and as files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eval.report import (
    contrast_figures,
    cost_figures,
    interval_figures,
    ratio_figures,
    verdict_figures,
)
from eval.report.csv_table import Tables
from ratiocine.plotting import add_title, figure_style, inline_svg, to_png, to_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DRAWN: Mapping[str, Callable[[Tables, bool], Figure]] = {
    "verdicts": verdict_figures.verdicts,
    "forest": contrast_figures.forest,
    "gain_by_level": contrast_figures.gain_by_level,
    "more_seeds": verdict_figures.more_seeds,
    "accuracy": ratio_figures.accuracy,
    "benchmarks": interval_figures.benchmarks,
    "accuracy_equal_cost": ratio_figures.accuracy_equal_cost,
    "differences_ratio": interval_figures.differences("differences_ratio"),
    "differences_scenario": interval_figures.differences("differences_scenario"),
    "differences_compute": interval_figures.differences("differences_compute"),
    "differences_rewards": interval_figures.differences("differences_rewards"),
    "differences_strategy": interval_figures.differences("differences_strategy"),
    "pareto_training": cost_figures.pareto_front("training"),
    "pareto_inference": cost_figures.pareto_front("inference"),
    "extra_tokens": interval_figures.extra_tokens,
    "lengths": interval_figures.lengths,
    "budgets": cost_figures.budgets,
    "thinking": ratio_figures.thinking,
}


@dataclass(frozen=True)
class Picture:
    """One figure as SVG elements for a page, wide and narrow, and as files with a title."""

    wide: str
    narrow: str
    svg: str
    png: bytes


def picture(name: str, tables: Tables, title: str) -> Picture:
    draw = DRAWN[name]
    with figure_style():
        narrow = inline_svg(to_svg(draw(tables, True)), f"{name}-n-")
        figure = draw(tables, False)
        wide = inline_svg(to_svg(figure), f"{name}-w-")
        add_title(figure, title)
        return Picture(wide, narrow, to_svg(figure), to_png(figure))
