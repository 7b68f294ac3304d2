"""Problem: the question that travels from a source to a teacher, a student, a grader and a report."""

from __future__ import annotations

import hashlib
import heapq
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

CATEGORIES = ("general-mc", "general-oe", "math-mc", "math-oe")
LETTERS = "ABCDEFGHIJ"

Kind = Literal["number", "expression", "choice", "span", "string", "instructions", "procedural", "countdown"]


@dataclass(frozen=True)
class Problem:
    """One gradable question.

    `id` is unique within a source and does not depend on file order. `reference` is what `grading.grade` compares with
    (for `kind="choice"` the letter of the right option), or None where there is none; `accepted` holds further references
    that are as right. `instruction` is the task wording,
    the same for every format and arm. `source` names the data set, benchmark or family. `meta` holds what a teacher may
    need (a worked solution, generator variables) and never reaches a prompt.
    """

    id: str
    question: str
    reference: str | None
    kind: Kind
    category: str
    source: str
    instruction: str = ""
    choices: tuple[str, ...] = ()
    context: str = ""
    accepted: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)


def digest(*parts: object) -> str:
    """Hex sha256 of the parts, in order; the one hash behind ids, subsets and mixtures."""
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()


def content_key(text: str) -> str:
    """Hash of a question that ignores case and spacing only: two problems with one key are the same problem."""
    return digest("".join(text.lower().split()))


def _hashed(text: str) -> int:
    return hash(text) & (2**64 - 1) or 1  # 0 is a free slot


class Seen:
    """Which texts have come before, in some 30 bytes each at most: only 64-bit hashes are kept. Two of a million texts are
    taken for one once in 10^7 runs."""

    def __init__(self) -> None:
        self.slots, self.n = array("Q", bytes(8 * 1024)), 0

    def add(self, text: str) -> bool:
        """Whether this text is new."""
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
        """The slot of a hash, or the free one that it would take."""
        at = number % len(self.slots)
        while self.slots[at] not in (0, number):
            at = (at + 1) % len(self.slots)
        return at


def smallest(ids: Sequence[str], limit: int, seed: int) -> list[str]:
    """The `limit` ids whose sha256(seed, id) is smallest: a smaller limit is always a subset of a larger one."""
    return heapq.nsmallest(limit, ids, key=lambda name: digest(seed, name))
