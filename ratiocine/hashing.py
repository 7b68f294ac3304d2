"""Content hashes, nested subsets by hash, a compact set of texts, and batches of an iterable."""

from __future__ import annotations

import hashlib
import heapq
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def digest(*parts: object) -> str:
    """Hex sha256 of the parts, in order: the hash behind ids, subsets and mixtures."""
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()


def content_key(text: str) -> str:
    """Hash of a question without case and spacing: equal for the same problem."""
    return digest("".join(text.lower().split()))


def _hashed(text: str) -> int:
    return hash(text) & (2**64 - 1) or 1  # 0 marks a free slot


class Seen:
    """A set of texts in 30 bytes each at most, by 64-bit hashes: among a million texts, two are
    taken for one in about one of 10^7 runs."""

    def __init__(self) -> None:
        self.slots, self.n = array("Q", bytes(8 * 1024)), 0

    def add(self, text: str) -> bool:
        """Add a text; returns whether it is new."""
        number = _hashed(text)
        at = self._find(number)
        if self.slots[at]:
            return False
        self.slots[at] = number
        self.n += 1
        if 3 * self.n > 2 * len(self.slots):
            old, self.slots = self.slots, array("Q", bytes(16 * len(self.slots)))
            for number in old:
                if number:
                    self.slots[self._find(number)] = number
        return True

    def has(self, text: str) -> bool:
        return bool(self.slots[self._find(_hashed(text))])

    def _find(self, number: int) -> int:
        """The slot of a hash, or the free slot for it."""
        at = number % len(self.slots)
        while self.slots[at] not in (0, number):
            at = (at + 1) % len(self.slots)
        return at


def smallest(ids: Sequence[str], limit: int, seed: int) -> list[str]:
    """The `limit` ids with the smallest sha256(seed, id), so that a smaller limit is a subset."""
    return heapq.nsmallest(limit, ids, key=lambda name: digest(seed, name))


def batched(items: Iterable[T], n: int) -> Iterator[list[T]]:
    """The items in lists of `n`; the last may be shorter."""
    rest = iter(items)
    while group := list(islice(rest, n)):
        yield group
