"""The pictures of a study, each drawn from its tables alone: wide or for a phone, as SVG for the page or as files."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from eval.report.figure_style import (
    INK,
    LINE,
    MARKERS,
    PAPER,
    SERIES,
    SOFT,
    STEPS,
    STYLE,
    LineStyle,
    Picture,
    Rows,
    Tables,
    as_svg,
    bounded,
    entitle,
    in_percent,
    in_points,
    inlined,
    label_points,
    laid_out,
    looks,
    power_of_ten,
)
from eval.report.study import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def picture(name: str, tables: Tables, title: str) -> Picture:
    import matplotlib

    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        narrow, figure = (
            inlined(as_svg(DRAWN[name](tables, True)), f"{name}-n-"),
            DRAWN[name](tables, False),
        )
        wide = inlined(as_svg(figure), f"{name}-w-")
        entitle(figure, title)
        out = io.BytesIO()
        figure.savefig(out, format="png", dpi=144, metadata={"Software": None})
        return Picture(wide, narrow, as_svg(figure), out.getvalue())


def _against_ratio(
    rows: Rows,
    levels: Rows,
    joined: Rows,
    look: Mapping[str, LineStyle],
    panels: Sequence[str],
    value: str,
    narrow: bool,
    marks: Rows = (),
) -> Figure:
    """Lines over the ratio with bands; dotted levels of untrained models; `joined` are arms that a line shares with another."""
    colours = {row["model"]: look[row["line"]].colour for row in rows}
    lines = list(dict.fromkeys(row["line"] for row in rows))
    models = list(dict.fromkeys(row["model"] for row in levels if row["model"] in colours))
    legend: list[tuple[str, Mapping[str, Any]]] = [
        (
            line,
            {"color": look[line].colour, "marker": look[line].marker, "linestyle": look[line].dash},
        )
        for line in lines
    ]
    for model in models:
        named = f"{model} (untrained)" if len(models) > 1 else "untrained"
        legend.append(
            (named, {"color": colours[model], "linestyle": (0, (1, 2)), "linewidth": 1.3})
        )
    for training, marker in PUBLISHED.items():
        if any(mark["training"] == training for mark in marks):
            legend.append(
                (
                    f"published, {training}",
                    {"color": SOFT, "marker": marker, "linestyle": "none", "alpha": 0.7},
                )
            )
    figure, every = laid_out(panels, narrow, legend=legend)
    for axes, panel in zip(every, panels, strict=True):
        seen, drawn = list[float](), set[float]()
        for line in lines:
            own = sorted(
                (row for row in rows if row["line"] == line and _in(row, panel)),
                key=lambda row: row["ratio"],
            )
            if not own:
                continue
            whole = sorted(
                [*own, *(row for row in _ends(own, joined) if _in(row, panel))],
                key=lambda row: row["ratio"],
            )
            x, y = [row["ratio"] for row in own], [row[value] for row in own]
            style = look[line]
            drawn |= {row["ratio"] for row in whole}
            axes.plot(
                [row["ratio"] for row in whole],
                [row[value] for row in whole],
                color=style.colour,
                linestyle=style.dash,
            )
            axes.plot(x, y, color=style.colour, marker=style.marker, linestyle="none")
            if len(own) > 1:
                low, high = [row["low"] for row in own], [row["high"] for row in own]
                axes.fill_between(x, low, high, color=style.colour, alpha=0.1, linewidth=0)
                for edge in (low, high):
                    axes.plot(
                        x, edge, color=style.colour, linestyle=style.dash, linewidth=0.8, alpha=0.4
                    )
            else:
                axes.vlines(x, own[0]["low"], own[0]["high"], color=style.colour, linewidth=1.2)
            seen += [number for row in whole for number in (row[value], row["low"], row["high"])]
        for row in levels:
            if row["model"] in colours and _in(row, panel):
                axes.axhline(
                    row[value], color=colours[row["model"]], linestyle=(0, (1, 2)), linewidth=1.3
                )
                seen.append(row[value])
        for mark in marks:
            if mark["model"] in colours and _in(mark, panel):
                marker = PUBLISHED[mark["training"]]
                axes.plot(
                    mark["ratio"],
                    mark["accuracy"],
                    color=colours[mark["model"]],
                    marker=marker,
                    linestyle="none",
                    alpha=0.6,
                    markersize=6.5,
                    fillstyle="none",
                    clip_on=False,
                )
                seen.append(mark["accuracy"])
        ratios = sorted({row["ratio"] for row in (*rows, *marks)} | drawn)
        axes.set_xticks(ratios, [f"{ratio:g}" for ratio in ratios])
        axes.set_xlabel("share taught with reasoning")
        if seen:
            bounded(axes, seen)
        in_percent(axes.yaxis)
    return figure


PUBLISHED = {"general-purpose training": "P", "math-centric training": "X"}


def _in(row: Mapping[str, Any], panel: str) -> bool:
    return row.get("group", panel) == panel


def _ends(own: Rows, joined: Rows) -> Rows:
    """At ratio 0 and 1 the order of teaching makes no difference, and at ratio 1 neither does what is held equal: there a line
    that has no such arm of its own goes on to the model's usual one."""
    first = own[0]
    there = {row["ratio"] for row in own}
    found = []
    for ratio in (0.0, 1.0):
        may = [
            row
            for row in joined
            if row["model"] == first["model"]
            and row["ratio"] == ratio
            and ratio not in there
            and row.get("group") == first.get("group")
            and (ratio == 1.0 or row["equalize"] == first["equalize"])
            and row["line"] != first["line"]
        ]
        found += may if len(may) == 1 else []
    return found


def _usual(table: Table) -> Rows:
    return [
        row
        for row in table
        if row["scenario"] == "mixed" and row["equalize"] == "examples" and row["ratio"] is not None
    ]


def _groups(table: Table) -> list[str]:
    return list(dict.fromkeys(row["group"] for row in table))


def _accuracy(tables: Tables, narrow: bool) -> Figure:
    table = tables["accuracy"]
    rows = [row for row in table if row["ratio"] is not None and row["equalize"] == "examples"]
    levels = [row for row in table if row["scenario"] is None]
    marks = list(tables["published"]) if "published" in tables else []
    return _against_ratio(
        rows,
        levels,
        _usual(table),
        looks(tables["arms"]),
        _groups(table),
        "accuracy",
        narrow,
        marks,
    )


def _accuracy_matched(tables: Tables, narrow: bool) -> Figure:
    table = tables["accuracy"]
    rows = [row for row in table if row["ratio"] is not None and row["equalize"] != "examples"]
    levels = [row for row in table if row["scenario"] is None]
    return _against_ratio(
        rows, levels, _usual(table), looks(tables["arms"]), _groups(table), "accuracy", narrow
    )


def _thinking(tables: Tables, narrow: bool) -> Figure:
    table = tables["thinking"]
    rows = [row for row in table if row["ratio"] is not None]
    levels = [row for row in table if row["scenario"] is None]
    return _against_ratio(
        rows, levels, _usual(table), looks(tables["arms"]), [""], "thought", narrow
    )


def _forest(name: str) -> Callable[[Tables, bool], Figure]:
    def draw(tables: Tables, narrow: bool) -> Figure:
        table, look = tables[name], looks(tables["arms"])
        lines = {row["arm"]: row["line"] for row in tables["arms"]}
        panels = _groups(table)
        pairs = list(dict.fromkeys((row["arm"], row["against"]) for row in table))
        several = len({arm for arm, _ in pairs}) < len(pairs)
        words = [
            textwrap.fill(f"{arm} − {against}" if several else arm, 30 if narrow else 34)
            for arm, against in pairs
        ]
        step = 20 + 13 * max(text.count("\n") for text in words)
        left = 14 + 6.3 * max(len(line) for text in words for line in text.split("\n"))
        mark = {"marker": "o", "linestyle": "solid"}
        legend = [
            ("decided", mark),
            ("not decided: the interval includes 0", {**mark, "markerfacecolor": PAPER}),
        ]
        figure, every = laid_out(
            panels, narrow, height=step * len(pairs) + 8, left=left, inner=14, legend=legend
        )
        reach = 1.05 * max(max(abs(row["low"]), abs(row["high"])) for row in table) or 0.1
        for at, (axes, panel) in enumerate(zip(every, panels, strict=True)):
            for row in table.where(group=panel):
                y = pairs.index((row["arm"], row["against"]))
                style = look[lines[row["arm"]]]
                axes.plot(
                    [row["low"], row["high"]],
                    [y, y],
                    color=style.colour,
                    linewidth=1.6,
                    linestyle="solid",
                )
                face = PAPER if row["decided"] == "not decided" else style.colour
                axes.plot(
                    row["difference"],
                    y,
                    color=style.colour,
                    marker=style.marker,
                    markerfacecolor=face,
                )
            axes.axvline(0, color=SOFT, linewidth=1)
            axes.set_ylim(len(pairs) - 0.4, -0.6)
            axes.set_xlim(-min(1, reach), min(1, reach))
            axes.grid(axis="y", visible=False)
            axes.grid(axis="x", color=LINE, linewidth=0.8)
            labelled = narrow or at % 3 == 0
            axes.set_yticks(range(len(pairs)), words if labelled else [""] * len(pairs))
            in_points(axes.xaxis)
            axes.set_xlabel("difference, points")
        return figure

    return draw


def _front(kind: str) -> Callable[[Tables, bool], Figure]:
    def draw(tables: Tables, narrow: bool) -> Figure:
        import numpy as np
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

        table, look = tables[f"front_{kind}"], looks(tables["arms"])
        lines = list(dict.fromkeys(row["line"] for row in table if row["line"] in look))
        legend: list[tuple[str, Mapping[str, Any]]] = [
            (line, {"color": look[line].colour, "marker": look[line].marker, "linestyle": "none"})
            for line in lines
        ]
        if any(row["line"] not in look for row in table):
            legend.append(("untrained", {"color": SOFT, "marker": "*", "linestyle": "none"}))
        legend.append(
            (
                "front; filled, with ratio and support",
                {"color": SOFT, "linestyle": "solid", "linewidth": 1.2},
            )
        )
        fits = list(tables[f"front_{kind}_fits"])
        if fits:
            legend.append(
                (
                    "fit through the front",
                    {"color": INK, "linestyle": (0, (4, 2)), "linewidth": 1.1},
                )
            )
        panels = _groups(table)
        figure, every = laid_out(panels, narrow, height=220, legend=legend)
        for axes, panel in zip(every, panels, strict=True):
            rows = table.where(group=panel)
            best = sorted((row for row in rows if row["front"]), key=lambda row: row["flops"])
            axes.plot(
                [row["flops"] for row in best],
                [row["accuracy"] for row in best],
                color=SOFT,
                linewidth=1.2,
                drawstyle="steps-post",
                zorder=1,
            )
            for row in rows:
                style = look.get(row["line"], LineStyle(SOFT, "*", "solid"))
                axes.vlines(
                    row["flops"],
                    row["low"],
                    row["high"],
                    color=style.colour,
                    linewidth=0.8,
                    alpha=0.45,
                )
                axes.plot(
                    row["flops"],
                    row["accuracy"],
                    color=style.colour,
                    marker=style.marker,
                    linestyle="none",
                    markerfacecolor=style.colour if row["front"] else PAPER,
                )
            for fit in fits:
                if fit["group"] == panel:
                    x = np.geomspace(fit["from_flops"], fit["to_flops"], 60)
                    y = fit["alpha"] + fit["beta"] * (
                        1 - np.exp(-fit["gamma"] * (x / fit["to_flops"]) ** fit["delta"])
                    )
                    axes.plot(x, y, color=INK, linestyle=(0, (4, 2)), linewidth=1.1)
            axes.set_xscale("log")
            prices = [row["flops"] for row in rows]
            axes.set_xlim(min(prices) / 2.6, max(prices) * 1.3)
            axes.xaxis.set_major_locator(LogLocator(numticks=5))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: power_of_ten(value)))
            axes.xaxis.set_minor_formatter(NullFormatter())
            bounded(axes, [row[name] for row in rows for name in ("low", "high")])
            named = {
                row["arm"]: "" if row["ratio"] is None else f"{row['ratio']:g}, " for row in best
            }
            words = [
                (row["flops"], row["accuracy"], f"{named[row['arm']]}{100 * row['support']:.0f} %")
                for row in best
            ]
            label_points(
                axes, words, [(row["flops"], row["accuracy"]) for row in rows if not row["front"]]
            )
            in_percent(axes.yaxis)
            axes.set_xlabel("training FLOPs" if kind == "training" else "FLOPs of an answer")
        return figure

    return draw


def _extra_tokens(tables: Tables, narrow: bool) -> Figure:
    table = tables["extra_tokens"]
    panels = list(dict.fromkeys(row["model"] for row in table))
    categories = list(dict.fromkeys(row["category"] for row in table))
    style = {
        name: (SERIES[at % len(SERIES)], MARKERS[at % len(MARKERS)])
        for at, name in enumerate(categories)
    }
    legend = [
        (name, {"color": colour, "marker": marker, "linestyle": "none"})
        for name, (colour, marker) in style.items()
    ]
    figure, every = laid_out(panels, narrow, height=250, columns=2, legend=legend)
    for axes, panel in zip(every, panels, strict=True):
        rows = table.where(model=panel)
        for row in rows:
            colour, marker = style[row["category"]]
            axes.hlines(row["gain"], row["extra_low"], row["extra_high"], color=colour, linewidth=1)
            axes.vlines(row["extra"], row["gain_low"], row["gain_high"], color=colour, linewidth=1)
            axes.plot(row["extra"], row["gain"], color=colour, marker=marker, linestyle="none")
        axes.axhline(0, color=SOFT, linewidth=1)
        left, right = axes.get_xlim()
        axes.set_xlim(left - 0.06 * (right - left), right + 0.14 * (right - left))
        label_points(axes, [(row["extra"], row["gain"], row["benchmark"]) for row in rows])
        in_points(axes.yaxis)
        axes.set_xlabel("extra tokens an answer")
        axes.set_ylabel("points gained")
    return figure


def _lengths(tables: Tables, narrow: bool) -> Figure:
    look = looks(tables["arms"])
    rows = [
        row for row in tables["lengths"] if row["right"] is not None or row["wrong"] is not None
    ]
    words = [textwrap.fill(row["arm"], 27 if narrow else 40) for row in rows]
    step = 20 + 13 * max(text.count("\n") for text in words)
    left = 14 + 6.3 * max(len(line) for text in words for line in text.split("\n"))
    legend = [
        ("right", {"marker": "o", "linestyle": "none"}),
        ("wrong", {"marker": "s", "linestyle": "none", "markerfacecolor": PAPER}),
    ]
    figure, (axes,) = laid_out([""], narrow, height=step * len(rows) + 8, left=left, legend=legend)
    most = max(row[name] or 0 for row in rows for name in ("right", "wrong"))
    for y, row in enumerate(rows):
        colour = look[row["line"]].colour if row["line"] in look else SOFT
        known = [row[name] for name in ("right", "wrong") if row[name] is not None]
        axes.plot(known, [y] * len(known), color=colour, linewidth=1.4)
        for name, marker, face in (("right", "o", colour), ("wrong", "s", PAPER)):
            if row[name] is not None:
                axes.plot(
                    row[name],
                    y,
                    color=colour,
                    marker=marker,
                    linestyle="none",
                    markerfacecolor=face,
                )
        if row["wrong_to_right"] is not None:
            told = f"×{row['wrong_to_right']:.2f}" + (
                "" if narrow else f" ({row['low']:.2f} to {row['high']:.2f})"
            )
            axes.text(
                1.0,
                y,
                told,
                transform=axes.get_yaxis_transform(),
                ha="right",
                va="center",
                fontsize=9,
                color=SOFT,
            )
    axes.set_yticks(range(len(rows)), words)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, most * 1.38)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=LINE, linewidth=0.8)
    axes.set_xlabel("tokens, mean" if narrow else "tokens, mean (at the right: wrong to right)")
    return figure


def _budgets(tables: Tables, narrow: bool) -> Figure:
    table = tables["budgets"]
    trained = [row for row in table if row["scenario"] is not None]
    panels = list(dict.fromkeys(row["line"] for row in trained)) or list(
        dict.fromkeys(row["line"] for row in table)
    )
    ratios = sorted({row["ratio"] for row in trained if row["ratio"] is not None})

    def style(row: Mapping[str, Any]) -> dict[str, Any]:
        if row["ratio"] is None:
            return {
                "color": SOFT if row["scenario"] is None else INK,
                "linestyle": (0, (1, 2)),
                "marker": "",
            }
        at = ratios.index(row["ratio"])
        step = round(at * (len(STEPS) - 1) / max(1, len(ratios) - 1))
        return {"color": STEPS[step], "marker": MARKERS[at % len(MARKERS)], "linestyle": "solid"}

    legend = [(f"ratio {ratio:g}", style({"ratio": ratio, "scenario": ""})) for ratio in ratios]
    if any(row["scenario"] is None for row in table):
        legend.append(("untrained", style({"ratio": None, "scenario": None})))
    figure, every = laid_out(panels, narrow, height=210, columns=2, legend=legend)
    for axes, panel in zip(every, panels, strict=True):
        model = next(row["model"] for row in table if row["line"] == panel)
        shown = [
            row
            for row in table
            if row["line"] == panel or (row["scenario"] is None and row["model"] == model)
        ]
        for arm in dict.fromkeys(row["arm"] for row in shown):
            own = [row for row in shown if row["arm"] == arm]
            axes.plot(
                [row["tokens"] for row in own],
                [row["accuracy"] for row in own],
                **style(own[0]),
                markevery=max(1, len(own) // 6),
                markersize=4.5,
                linewidth=1.6,
                drawstyle="steps-post",
            )
        axes.set_xscale("log")
        _token_ticks(axes, [row["tokens"] for row in shown])
        bounded(axes, [0.0, *(row["accuracy"] for row in shown)])
        in_percent(axes.yaxis)
        axes.set_xlabel("tokens allowed")
    return figure


def _token_ticks(axes: Axes, tokens: Sequence[int]) -> None:
    from matplotlib.ticker import NullFormatter, NullLocator

    low, high = min(tokens), max(tokens)
    ticks = [2**power for power in range(32) if low <= 2**power <= high] or [low, high]
    ticks = ticks[:: 1 + len(ticks) // 7]
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


DRAWN: dict[str, Callable[[Tables, bool], Figure]] = {
    "accuracy": _accuracy,
    "accuracy_matched": _accuracy_matched,
    "differences_ratio": _forest("differences_ratio"),
    "differences_scenario": _forest("differences_scenario"),
    "differences_compute": _forest("differences_compute"),
    "differences_rewards": _forest("differences_rewards"),
    "front_training": _front("training"),
    "front_inference": _front("inference"),
    "extra_tokens": _extra_tokens,
    "lengths": _lengths,
    "budgets": _budgets,
    "thinking": _thinking,
}
