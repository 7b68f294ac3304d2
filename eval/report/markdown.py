"""A report as Markdown: findings, main tables and figures."""

from __future__ import annotations

import re
from collections.abc import Sequence

from eval.report.caption import Caption
from eval.report.cells import ShownTable, matrix, shown
from eval.report.content import Content

MAIN_TABLES = ("differences_main", "truncated_answers", "hypotheses", "costs")


def markdown(content: Content, prefix: str = "") -> str:
    """`prefix` stands before the folders of figures and tables."""
    tables = content.tables
    lines = [f"# {content.title}", ""]
    for caption in content.lead:
        lines += [*_picture(caption, prefix)]
    lines += [f"- **{line.label}.** {_escaped(line.text)}" for line in content.summary]
    lines.append("")
    for warning in content.warnings:
        lines += [f"> {_escaped(warning)}", ""]
    lines += ["## Setup", ""]
    lines += [f"- **{fact.label}.** {_escaped(fact.text)}" for fact in content.setup]
    lines += ["", "## Findings", "", *(f"- {_escaped(one)}" for one in content.findings), ""]
    lines += ["## Accuracy, with 95 % interval", "", *_table(matrix(tables["accuracy"]))]
    if content.study.small:
        by_benchmark = matrix(tables["accuracy_by_benchmark"])
        lines += ["## Accuracy by benchmark", "", *_table(by_benchmark)]
    for name in MAIN_TABLES:
        if tables[name].rows:
            lines += [f"## {tables[name].caption}", "", *_table(shown(tables[name]))]
    for caption in content.captions:
        lines += _figure(content, caption, prefix)
    return "\n".join(lines)


def _figure(content: Content, caption: Caption, prefix: str) -> list[str]:
    lines = [f"## {caption.title}", "", _escaped(" ".join(caption.sentences)), ""]
    if caption.drawn and caption not in content.lead:
        lines += _picture(caption, prefix)
    names = [name for name in caption.tables if content.tables[name].rows]
    links = [f"[{name}.csv]({prefix}tables/{name}.csv)" for name in names]
    return [*lines, f"Numbers: {', '.join(links)}", ""] if links else lines


def _picture(caption: Caption, prefix: str) -> list[str]:
    return [f"![{caption.title}]({prefix}figures/{caption.name}.svg)", ""]


def _table(table: ShownTable) -> list[str]:
    rows = [
        [f"{cell.text} ({cell.interval})" if cell.interval else cell.text for cell in row]
        for row in table.rows
    ]
    heads: list[Sequence[str]] = [[_escaped(head) for head in table.heads]]
    body = [[_escaped(cell) for cell in row] for row in rows]
    lines = [*heads, ["---"] * len(table.heads), *body]
    return [*("| " + " | ".join(line) + " |" for line in lines), ""]


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\|*_`<>\[\]])", r"\\\1", text)
