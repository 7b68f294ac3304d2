"""Problem: the question that travels from a source to a teacher, a student, a grader and a report."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

CATEGORIES = ("general-mc", "general-oe", "math-mc", "math-oe")
LETTERS = "ABCDEFGHIJ"

Kind = Literal["number", "expression", "choice", "span", "string", "instructions", "procedural"]


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
    return hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).hexdigest()


def content_key(text: str) -> str:
    """Hash of a question that ignores case and spacing only: two problems with one key are the same problem."""
    return digest("".join(text.lower().split()))


def smallest(ids: Sequence[str], limit: int, seed: int) -> list[str]:
    """The `limit` ids whose sha256(seed, id) is smallest: a smaller limit is always a subset of a larger one."""
    return heapq.nsmallest(limit, ids, key=lambda name: digest(seed, name))
