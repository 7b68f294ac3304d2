"""Names of groups of problems: categories spelled out, benchmarks as they are."""

from __future__ import annotations

from collections.abc import Iterable

NAMES = {
    "general-mc": "general questions, multiple choice",
    "general-oe": "general questions, open-ended",
    "math-mc": "mathematics, multiple choice",
    "math-oe": "mathematics, open-ended",
    "all": "all problems",
}


def spelled(group: str) -> str:
    """Such as: general questions, open-ended."""
    return NAMES.get(group, group)


def introduced(group: str) -> str:
    """The short name with the spelled one, at the first use of the former."""
    return f"{group} ({spelled(group)})" if group in NAMES and group != "all" else spelled(group)


def short(group: str) -> str:
    """For lists of groups that were introduced."""
    return "all problems" if group == "all" else group


def panel_titles(groups: Iterable[str]) -> list[str]:
    """Titles of panels: spelled out, with a capital."""
    return [
        name[:1].upper() + name[1:] if name in NAMES.values() else name
        for name in map(spelled, groups)
    ]
