"""Overthinking: outcome and process efficiency of a response (Chen et al. 2024, arXiv 2412.21187).

Delta from the paper: there a language model cuts responses into solutions and groups them by
strategy; `solutions` does both by rule, so its numbers compare arms with each other, not with the
paper's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

WORDS = re.compile(r"[^\W_]+")
MAX_SOLUTIONS = 50  # of a response; further ones are part of the last
TURN = re.compile(
    r"(?:(?<=\n)|(?<=[.!?:)\]]\s))(?:(?:but|and|so|now|ok|okay|then|hmm)\b,?\s{1,2}){0,3}"
    r"(?:wait|hmm|alternatively|actually|on second thought|another (?:way|approach|method)"
    r"|double[- ]check|to be sure"
    r"|let(?: me|['’]s| us) (?:just )?(?:double|check|verify|confirm|try|re\w+)"
    r"|to (?:double[- ]check|verify|confirm)"
    r"|i (?:should|can|could|will) (?:double|check|verify))\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Solution:
    """One attempt within a response."""

    length: float
    """Tokens, or any proportional unit."""
    right: bool
    new: bool
    """Whether its approach differs from those of all earlier solutions."""


def outcome_efficiency(solutions: Sequence[Solution]) -> float:
    """The share of a response up to the end of its first right solution; 0 if none is right."""
    ends = accumulate(solution.length for solution in solutions)
    first = next(
        (end for end, solution in zip(ends, solutions, strict=True) if solution.right), 0.0
    )
    return first / sum(solution.length for solution in solutions)


def process_efficiency(solutions: Sequence[Solution]) -> float:
    """The share of a response in solutions with a new approach."""
    return sum(s.length for s in solutions if s.new) / sum(s.length for s in solutions)


def solutions(text: str, question: str, judge: Callable[[str], bool | None]) -> list[Solution]:
    """A response, cut where it turns to another attempt or a check; lengths in characters.

    `judge` returns whether a piece reaches the right answer, None if it states none: then it is the
    beginning of the next solution. A solution repeats an earlier one if that one contains at least
    half of its words and numbers, those of the question excluded.
    """
    cuts = [*[match.start() for match in TURN.finditer(text)][: MAX_SOLUTIONS - 1], len(text)]
    known = set(WORDS.findall(question.casefold()))
    found: list[Solution] = []
    seen: list[set[str]] = []
    start = 0
    for end in cuts:
        piece = text[start:end]
        right = judge(piece) if piece.strip() else None
        if right is None:
            continue
        words = set(WORDS.findall(piece.casefold())) - known
        repeated = any(2 * len(words & earlier) >= len(words) for earlier in seen)
        found.append(Solution(end - start, right, not repeated))
        seen.append(words)
        start = end
    if start < len(text) and found:  # a rest without an answer belongs to the last solution
        last = found.pop()
        found.append(Solution(last.length + len(text) - start, last.right, last.new))
    return found or ([Solution(len(text), False, True)] if text else [])
