"""Published accuracies of a study's models (arXiv 2509.22193 v2, Table 1)."""

from __future__ import annotations

import csv
from dataclasses import astuple, dataclass
from pathlib import Path

from eval.report.csv_table import Table
from eval.report.study import Study

FILE = Path(__file__).parent / "published.csv"
CAPTION = "Published accuracies (arXiv 2509.22193 v2, Table 1)"


@dataclass(frozen=True)
class PublishedAccuracy:
    """Of one model, after training at this ratio (0 or 1) on data of this kind."""

    model: str
    training: str
    group: str
    ratio: float
    accuracy: float


def published_rows() -> list[PublishedAccuracy]:
    """All of them."""
    with open(FILE, encoding="utf-8", newline="") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return [
            PublishedAccuracy(
                *(row["model"], row["training"], row["group"]),
                *(float(row["ratio"]), float(row["accuracy"]) / 100),
            )
            for row in rows
        ]


def published_table(study: Study) -> Table:
    """Of the study's models, by name, in its categories."""
    found = [
        astuple(row)
        for row in published_rows()
        if row.model in study.models and row.group in study.groups
    ]
    columns = ("model", "training", "group", "ratio", "accuracy")
    return Table("published", CAPTION, columns, tuple(found))
