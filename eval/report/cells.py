"""Tables as text: headings and cells of a page or of Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf

from eval.report.csv_table import Cell, Row, Table
from eval.report.group_names import short
from eval.report.html import p_value, percent, short_number
from eval.report.study import FEW_PROBLEMS

# Columns with an interval, and the columns of its ends.
INTERVALS: Mapping[str, tuple[str, str]] = {
    "accuracy": ("low", "high"),
    "difference": ("low", "high"),
    "thought": ("low", "high"),
    "wrong_to_right": ("low", "high"),
    "extra": ("extra_low", "extra_high"),
    "gain": ("gain_low", "gain_high"),
}
SHARES = {
    *("accuracy", "support", "thought", "other_mode", "discordant", "truncated", "majority"),
    *("not_extracted", "outcome_efficiency", "process_efficiency"),
    *("against_truncated", "arm_truncated", "power", "chance", "share"),
    *("accuracy_against", "accuracy_of_arm"),
}
POINTS = {
    *(
        "low_alone",
        "high_alone",
        "difference",
        "gain",
        "seed_sd",
        "difference_if_against_right",
        "difference_if_arm_right",
    ),
}
WORDS = 12  # characters of a cell beyond which it is no number
TOO_FEW = "too few"
# Left out where a row is of few problems.
OF_PROBLEMS = {
    *("difference", "gain", "wrong_to_right", "p", "p_holm", "conclusion"),
    *("p_adjusted", "alone", "p_alone", "low_alone", "high_alone", "difference_if_arm_right"),
    "difference_if_against_right",
}
# Left out of tables with an arm: the table of arms has them.
OF_THE_ARM = {"line", "model", "scenario", "equalize", "ratio"}


@dataclass(frozen=True)
class ShownCell:
    """A cell as text."""

    text: str
    interval: str = ""
    """In small print under the text."""
    notes: tuple[str, ...] = ()
    """Flags under it."""

    @property
    def kind(self) -> str:
        """The class of the cell in a page: a number, or words that need width."""
        return "words" if len(self.text) > WORDS else "num"


@dataclass(frozen=True)
class ShownTable:
    """A table as text."""

    heads: list[str]
    rows: list[list[ShownCell]]


def shown(table: Table) -> ShownTable:
    """A table with intervals under their values, and shares in percent."""
    ends = {end for value, both in INTERVALS.items() if value in table.columns for end in both}
    left_out = ends | (OF_THE_ARM if "arm" in table.columns else set())
    columns = [name for name in table.columns if name not in left_out]
    heads = [name.replace("_", " ").replace("p holm", "p, Holm") for name in columns]
    return ShownTable(heads, [[shown_cell(name, row) for name in columns] for row in table])


def shown_cell(name: str, row: Row) -> ShownCell:
    if name in OF_PROBLEMS and _problems(row) <= FEW_PROBLEMS:
        return ShownCell(TOO_FEW)
    text = _text(name, row[name])
    ends = INTERVALS.get(name)
    if ends is None or row[name] is None or row.get(ends[0]) is None:
        return ShownCell(text)
    interval = " to ".join(_text(name, row[end]) for end in ends)
    return ShownCell(text, interval.replace(" %", ""))


def _problems(row: Row) -> float:
    """Problems that a row is about: answers where it counts these; infinite where unknown."""
    if row.get("n_right") is not None:
        return float(row["n_right"] + row["n_wrong"])
    n = row.get("n")
    return inf if n is None else float(n)


def _text(name: str, value: Cell) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if name in SHARES or name.startswith("pass@"):
        return percent(value)
    if name in POINTS:
        return f"{100 * value:+.1f}".replace("-", "−")
    if name in ("p", "p_holm", "p_adjusted", "p_alone", "p_no_gain"):
        return p_value(value)
    if isinstance(value, int):
        return f"{value:,}"
    return short_number(value) if abs(value) >= 1e5 or abs(value) < 1 else f"{value:,.4g}"


Notes = Callable[[str, str], Sequence[str]]  # of an arm in a group


def matrix(table: Table, notes: Notes = lambda arm, group: ()) -> ShownTable:
    """Accuracy with a row per arm and a column per group, with notes; where there is a total, also
    the share of truncated answers."""
    arms: dict[str, list[ShownCell]] = {}
    for row in table:
        arm, group = row["arm"], row["group"]
        cells = arms.setdefault(arm, [ShownCell(arm, notes=tuple(notes(arm, "all")))])
        cell = shown_cell("accuracy", row)
        cells.append(cell if group == "all" else replace(cell, notes=tuple(notes(arm, group))))
    total = table.where(group="all")
    for row in total:
        arms[row["arm"]].append(shown_cell("truncated", row))
    heads = ["arm", *map(short, table.values("group")), *(["truncated"] if total else [])]
    return ShownTable(heads, list(arms.values()))
