"""Tables: what a figure draws, a CSV file holds and the page shows."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Cell = str | float | bool | None
Row = Mapping[str, Any]  # cells by column; each column has a type of its own
ZERO = 1e-13  # rounding errors below this are 0


@dataclass(frozen=True)
class Table:
    """Rows under named columns. Numbers have six digits, so that they agree between machines."""

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def __iter__(self) -> Iterator[Row]:
        return (dict(zip(self.columns, row, strict=True)) for row in self.rows)

    def where(self, **wanted: Cell) -> list[Row]:
        return [row for row in self if all(row[name] == value for name, value in wanted.items())]

    def values(self, column: str) -> list[Any]:
        """The distinct values of a column, in order."""
        at = self.columns.index(column)
        return list(dict.fromkeys(row[at] for row in self.rows))

    def csv(self) -> str:
        """Shares are fractions; unknown cells are empty."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([_text(cell) for cell in row] for row in self.rows)
        return out.getvalue()


Tables = Mapping[str, Table]


def _text(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return f"{cell:.6g}" if isinstance(cell, float) else str(cell)


def rounded_table(
    name: str, caption: str, columns: Sequence[str], rows: Iterable[Sequence[object]]
) -> Table:
    return Table(name, caption, tuple(columns), tuple(tuple(map(_rounded, row)) for row in rows))


def _rounded(cell: object) -> Cell:
    if isinstance(cell, float):
        return 0.0 if abs(cell) < ZERO else float(f"{cell:.6g}")
    assert cell is None or isinstance(cell, str | int)
    return cell
