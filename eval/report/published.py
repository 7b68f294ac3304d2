"""Published accuracies of a study's models (arXiv 2509.22193 v2, Table 1)."""

from __future__ import annotations

import csv
from pathlib import Path

from eval.report.csv_table import Table
from eval.report.study import Study

FILE = Path(__file__).parent / "published.csv"
CAPTION = "Published accuracies (arXiv 2509.22193 v2, Table 1)"


def published_table(study: Study) -> Table:
    """Of the study's models, by name, in its categories."""
    with open(FILE, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    found = [
        (
            *(row["model"], row["training"], row["group"]),
            *(float(row["ratio"]), float(row["accuracy"]) / 100),
        )
        for row in rows
        if row["model"] in study.models and row["group"] in study.groups
    ]
    columns = ("model", "training", "group", "ratio", "accuracy")
    return Table("published", CAPTION, columns, tuple(found))
