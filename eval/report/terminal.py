"""What `python -m eval.report` prints."""

from __future__ import annotations

from eval.report.content import Content
from eval.report.csv_table import Row
from eval.report.findings import UNDECLARED, undeclared
from eval.report.study import Study
from eval.report.truncation import truncation_findings

HYPOTHESES = {"gain": "should gain", "no_gain": "should not gain"}


def terminal_text(content: Content) -> str:
    """The summary and warnings; of few arms with one seed also accuracies and hypotheses (if none
    was declared, the differences seen)."""
    lines = [f"{line.label}: {line.text}" for line in content.summary]
    lines += [f"warning: {one}" for one in content.warnings]
    return "\n".join([*lines, *(_small(content) if content.study.small else ())])


def _small(content: Content) -> list[str]:
    tables = content.tables
    lines = _accuracy(content.study, [*tables["accuracy_by_benchmark"], *tables["accuracy"]])
    for row in tables["hypotheses"]:
        hypothesis = HYPOTHESES[row["hypothesis"]]
        compared = f"{row['arm']} − {row['against']}: {points(row)}"
        lines.append(f"{row['group']:18}{hypothesis:16} {compared}: {row['verdict']}")
    if undeclared(content.study, tables):
        lines.append(UNDECLARED)
        for row in tables["differences_main"]:
            compared = f"{row['arm']} − {row['against']}: {points(row)}"
            lines.append(f"{row['group']:18}{compared}: {row['conclusion']}")
    return lines + [one for one in truncation_findings(tables) if one not in content.warnings]


def _accuracy(study: Study, rows: list[Row]) -> list[str]:
    """Accuracy with its interval: a line per benchmark, and of all problems; a column per arm."""
    labels = [arm.label for arm in study.arms]
    width = max(22, *(len(label) + 2 for label in labels))
    lines = [f"{'accuracy (95 %)':18}" + "".join(f"{label:>{width}}" for label in labels)]
    for group in (*study.benchmarks, "all"):
        of_group = [row for row in rows if row["group"] == group][: len(labels)]
        cells = [
            f"{100 * r['accuracy']:5.1f} % ({100 * r['low']:.0f}–{100 * r['high']:.0f})"
            for r in of_group
        ]
        lines.append(f"{group:18}" + "".join(f"{cell:>{width}}" for cell in cells))
    cut = [f"{100 * r['truncated']:.0f} %" for r in rows if r["group"] == "all"]
    lines.append(f"{'truncated':18}" + "".join(f"{cell:>{width}}" for cell in cut[: len(labels)]))
    return lines


def points(row: Row) -> str:
    """A difference in whole points, with its interval and n."""
    value, low, high = (f"{100 * row[name]:+.0f}" for name in ("difference", "low", "high"))
    return f"{value} points, 95 % interval {low} to {high}, n = {row['n']}"
