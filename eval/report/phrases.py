"""Words of sentences: lists, counts, differences and factors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from eval.report.csv_table import Row

MANY = 6  # names that are listed one by one
CONCLUSIONS = ("better", "worse", "inconclusive")


def pair_name(arm: str, against: str) -> str:
    """Both labels, with what they have in common named once."""
    line, _, ratio = arm.rpartition("ratio ")
    other, _, lower = against.rpartition("ratio ")
    if ratio != arm and line == other:
        return f"{line.strip()}{', ' * bool(line)}ratio {ratio} against ratio {lower}"
    return f"{arm} against {against}"


def counts(rows: Iterable[Row]) -> str:
    """Such as: 2 better, 1 inconclusive."""
    found = dict.fromkeys(CONCLUSIONS, 0)
    for row in rows:
        found[row["conclusion"]] += 1
    return ", ".join(f"{n} {conclusion}" for conclusion, n in found.items() if n)


def support(row: Row) -> str:
    """The share of resamples in which an arm is on the front, in percent."""
    return f"{100 * row['support']:.0f} %"


def with_interval(row: Row) -> str:
    """A difference in points with its interval."""
    value, low, high = (signed(row[name]) for name in ("difference", "low", "high"))
    return f"{value} points, {low} to {high}"


def signed(share: float) -> str:
    """A share as signed whole points."""
    whole = round(100 * share)
    return f"{whole:+d}".replace("-", "−") if whole else "0"


def count(n: int, noun: str) -> str:
    """Such as: 1 seed, 1,200 problems, 2 categories."""
    if n == 1:
        return f"1 {noun}"
    endings = {"y": "ies", "is": "es"}  # category, hypothesis
    end = next((one for one in endings if noun.endswith(one)), "")
    return f"{n:,} {noun.removesuffix(end)}{endings.get(end, 's')}"


def listed(items: Sequence[str]) -> str:
    """Such as: a, b and c."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def listed_some(names: Sequence[str], noun: str) -> str:
    """All of a few names; of many, how many and the first."""
    if len(names) <= MANY:
        return listed(names)
    return f"{count(len(names), noun)} ({', '.join(names[:2])}, …, {names[-1]})"


def span(values: Iterable[float]) -> str:
    """The least and the most, such as: 3 to 10; one number where they are equal."""
    ends = sorted(values)
    least, most = (f"{n:,}" if isinstance(n, int) else f"{n:g}" for n in (ends[0], ends[-1]))
    return least if least == most else f"{least} to {most}"


def times(least: float, most: float) -> str:
    """A range of factors; one factor where both ends are written alike."""
    low, high = factor(least), factor(most)
    return low if low == high else f"{low} to {high}"


def factor(value: float) -> str:
    """Such as ×4.9 and ×120."""
    return f"×{value:.0f}" if value >= 99.5 else f"×{value:.2g}" if value < 1 else f"×{value:.1f}"
