"""A figure's caption."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Caption:
    """A figure's name, title, sentences and tables."""

    name: str
    title: str
    sentences: tuple[str, ...]
    tables: tuple[str, ...]
    drawn: bool = True
    """False where there is nothing to draw."""


def nothing(name: str, title: str, reason: str, *tables: str) -> Caption:
    """Of a figure that is not drawn."""
    return Caption(name, title, (reason,), tables, drawn=False)
