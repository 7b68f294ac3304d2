"""Addresses of the pages, and pages of long lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import urlencode

T = TypeVar("T")
PAGE = 20  # entries


def link(path: str, /, **query: object) -> str:
    """An address with the parameters that are not empty."""
    given = {name: str(value) for name, value in query.items() if value not in ("", None, False)}
    # A name that is not in UTF-8 has no address (`run_folders`).
    return f"{path}?{urlencode(given, errors='replace')}" if given else path


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some consecutive entries of a list, and the addresses of those before and after."""

    items: Sequence[T]
    first: int
    """Number of the first entry, from 1; 0 where there is none."""
    last: int
    total: int
    previous: str | None
    next: str | None

    @staticmethod
    def of(items: Sequence[T], path: str, query: Mapping[str, str]) -> Page[T]:
        """The page of `query["page"]`, from 1; the nearest one where there is no such page."""
        text, pages = query.get("page", ""), max(1, -(-len(items) // PAGE))
        # A longer number is past the end of any list, and slow to read.
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 1
        number = min(max(1, number), pages)
        start = (number - 1) * PAGE
        some = items[start : start + PAGE]

        def at(page: int) -> str | None:
            return link(path, **{**query, "page": page}) if 1 <= page <= pages else None

        first = start + 1 if some else 0
        return Page(some, first, start + len(some), len(items), at(number - 1), at(number + 1))
