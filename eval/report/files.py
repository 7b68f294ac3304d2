"""The files of a report: a page, with figures, tables and Markdown beside it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from eval.report.content import Content
from eval.report.html import check_name, write
from eval.report.markdown import markdown
from eval.report.page import page


def write_report(content: Content, out: Path, max_completions: int) -> None:
    """Write `out`, `figures/`, `tables/` and the Markdown page beside it.

    Beside a page that is not called `report`, the folders have its name in front. Raises BadInput
    where a file cannot be written.
    """
    check_name(out)
    prefix = "" if out.stem == "report" else f"{out.stem}-"
    for table in content.tables.values():
        write(out.parent / f"{prefix}tables" / f"{table.name}.csv", table.csv())
    for name, picture in content.pictures.items():
        write(out.parent / f"{prefix}figures" / f"{name}.svg", picture.svg)
        write(out.parent / f"{prefix}figures" / f"{name}.png", picture.png)
    write(out.with_suffix(".md"), markdown(content, quote(prefix)))
    write(out, page(content, max_completions, quote(prefix)))
