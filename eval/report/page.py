"""A study's page and the files beside it: `figures/`, `tables/` and the same in Markdown."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from eval.report.arms import Arm
from eval.report.captions import Figure, figures
from eval.report.evaluations import warnings
from eval.report.explorer import as_script, completions
from eval.report.figure_style import Picture
from eval.report.figures import picture
from eval.report.html import check_name, p, percent, render, reward_stories, short, write
from eval.report.scored import Evaluation
from eval.report.study import Cell, Study, Table
from eval.report.tables import all_tables
from eval.report.text import findings

PUBLISHED = Path(__file__).parent / "published.csv"
INTERVALS = {  # columns with the two that bound them
    "accuracy": ("low", "high"),
    "difference": ("low", "high"),
    "thought": ("low", "high"),
    "wrong_to_right": ("low", "high"),
    "extra": ("extra_low", "extra_high"),
    "gain": ("gain_low", "gain_high"),
}
SHARES = ("accuracy", "support", "thought", "other_mode", "discordant")
POINTS = ("difference", "gain", "seed_sd")
UNSAID = ("line", "model", "scenario", "equalize", "ratio")  # in tables that name the arm already
MEASURED = "runs"
Shown = tuple[str, str]  # a cell's text, and what stands small under it


def write_all(
    evaluations: Sequence[Evaluation],
    out: Path,
    most: int,
    *,
    ceiling: float = 1.0,
    published: bool = False,
) -> str:
    """Write the page, and beside it pictures, tables and Markdown; returns what was found, for the terminal. Folders beside a
    page that is not called report have its name before theirs."""
    check_name(out)
    study, beside = Study.of(evaluations), "" if out.stem == "report" else f"{out.stem}-"
    tables = all_tables(study, ceiling)
    if published:
        tables["published"] = published_table(study)
    said, shown = findings(study, tables), figures(study, tables)
    drawn = {
        figure.name: picture(figure.name, tables, figure.title) for figure in shown if figure.drawn
    }
    names = {evaluation.label: arm.label for arm in study.arms for evaluation in arm.evaluations}
    warned = warnings(study.evaluations, names)
    for table in tables.values():
        write(out.parent / f"{beside}tables" / f"{table.name}.csv", table.csv())
    for name, made in drawn.items():
        write(out.parent / f"{beside}figures" / f"{name}.svg", made.svg)
        write(out.parent / f"{beside}figures" / f"{name}.png", made.png)
    write(out.with_suffix(".md"), markdown(study, tables, said, shown, warned, quote(beside)))
    write(out, page(study, tables, said, shown, drawn, warned, most, quote(beside)))
    return "\n".join(said)


def page(
    study: Study,
    tables: Mapping[str, Table],
    said: Sequence[str],
    shown: Sequence[Figure],
    drawn: Mapping[str, Picture],
    warned: Sequence[str],
    most: int,
    beside: str = "",
) -> str:
    """The HTML page. What models wrote stands in it as JSON, which a script shows as text."""
    import markupsafe

    held = completions(study, most)
    return render(
        "study.html.j2",
        title=title(study),
        study=study,
        said=said,
        figures=shown,
        tables=tables,
        warnings=warned,
        display=display,
        beside=beside,
        decoding=study.evaluations[0].manifest["decoding"],
        matrix=matrix(tables["accuracy"]),
        held=held,
        pictures={
            name: (markupsafe.Markup(made.wide), markupsafe.Markup(made.narrow))
            for name, made in drawn.items()
        },
        rewarded=reward_stories(
            (_told(arm, evaluation), evaluation)
            for arm in study.arms
            for evaluation in arm.evaluations
        ),
        budgets=sorted({evaluation.manifest["max_new_tokens"] for evaluation in study.evaluations}),
        completions=markupsafe.Markup(as_script(held)),
    )


def title(study: Study) -> str:
    rewards = any(arm.axes["reward"] is not None for arm in study.arms)
    return f"{'Do rewards' if rewards else 'Does reasoning'} pay? {len(study.arms)} arms on {len(study.keys)} problems"


def _told(arm: Arm, evaluation: Evaluation) -> str:
    return f"{arm.label}, seed {evaluation.student.get('seed')}"


def display(table: Table) -> tuple[list[str], list[list[Shown]]]:
    """A table's heads and cells as the page shows them: bounds under their value, shares in percent."""
    bounds = {
        bound for value, both in INTERVALS.items() if value in table.columns for bound in both
    }
    own = [
        name
        for name in table.columns
        if name not in bounds and not ("arm" in table.columns and name in UNSAID)
    ]
    rows = [[_shown(name, row) for name in own] for row in table]
    return [name.replace("_", " ").replace("p holm", "p, Holm") for name in own], rows


def _shown(name: str, row: Mapping[str, Any]) -> Shown:
    low, high = INTERVALS.get(name, (None, None))
    if low is None or row[name] is None or row.get(low) is None:
        return _cell(name, row[name]), ""
    return _cell(
        name, row[name]
    ), f"{_cell(name, row[low])} to {_cell(name, row[str(high)])}".replace(" %", "")


def _cell(name: str, value: Cell) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if name in SHARES:
        return percent(value)
    if name in POINTS:
        return f"{100 * value:+.1f}".replace("-", "−")
    if name in ("p", "p_holm"):
        return p(value)
    return (
        f"{value:,}"
        if isinstance(value, int)
        else short(value)
        if abs(value) >= 1e5 or abs(value) < 1
        else f"{value:,.4g}"
    )


def matrix(table: Table) -> tuple[list[str], list[tuple[str, list[Shown]]]]:
    """Accuracy with a row a arm and a column a group."""
    heads = list(dict.fromkeys(row["group"] for row in table))
    arms: dict[str, list[Shown]] = {}
    for row in table:
        arms.setdefault(row["arm"], []).append(_shown("accuracy", row))
    return heads, list(arms.items())


def markdown(
    study: Study,
    tables: Mapping[str, Table],
    said: Sequence[str],
    shown: Sequence[Figure],
    warned: Sequence[str],
    beside: str = "",
) -> str:
    """Findings, pictures and main tables for where HTML is not at home."""
    lines = [f"# {title(study)}", "", *(f"- {_escaped(sentence)}" for sentence in said), ""]
    lines += [line for warning in warned for line in (f"> {_escaped(warning)}", "")]
    heads, rows = matrix(tables["accuracy"])
    lines += ["## Accuracy, with 95 % interval", ""]
    lines += _markdown_table(["arm", *heads], [[(arm, ""), *cells] for arm, cells in rows])
    for name in ("differences_main", "expectations", "costs"):
        if tables[name].rows:
            lines += [f"## {tables[name].caption}", "", *_markdown_table(*display(tables[name]))]
    for figure in shown:
        lines += [f"## {figure.title}", "", _escaped(" ".join(figure.says)), ""]
        lines += (
            [f"![{figure.title}]({beside}figures/{figure.name}.svg)", ""] if figure.drawn else []
        )
        named = [f"[{name}.csv]({beside}tables/{name}.csv)" for name in figure.tables]
        lines += [f"Numbers: {', '.join(named)}", ""] if named else []
    return "\n".join(lines)


def _markdown_table(heads: Sequence[str], rows: Sequence[Sequence[Shown]]) -> list[str]:
    told = [
        [_escaped(f"{text} ({small})" if small else text) for text, small in row] for row in rows
    ]
    return [
        "| " + " | ".join(line) + " |"
        for line in (map(_escaped, heads), ["---"] * len(heads), *told)
    ] + [""]


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\|*_`<>\[\]])", r"\\\1", text)


def published_table(study: Study) -> Table:
    """The published accuracies of this study's models, which are matched by name, in its categories."""
    with open(PUBLISHED, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    columns = ("model", "training", "group", "ratio", "accuracy")
    own = [
        (
            row["model"],
            row["training"],
            row["group"],
            float(row["ratio"]),
            float(row["accuracy"]) / 100,
        )
        for row in rows
        if row["model"] in study.models and row["group"] in study.groups
    ]
    return Table(
        "published", "Published accuracies (arXiv 2509.22193 v2, Table 1)", columns, tuple(own)
    )
