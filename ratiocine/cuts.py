"""Cuts of a completion: the part of its trace up to a share of it.

A share is of tokens, of steps (lines), or of surprisal, s_i = −log p(y_i): the cut is then at
min{t: Σ_{i≤t} s_i ≥ p Σ s}. A cut by tokens or surprisal moves on to the end of its step.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import accumulate
from math import ceil
from typing import Literal, get_args

from ratiocine.completion_parts import CLOSE, OPEN

By = Literal["surprisal", "tokens", "steps"]
BY: tuple[By, ...] = get_args(By)
Decode = Callable[[list[int]], str]
UNFINISHED = "\ufffd"  # a character whose other bytes are in later tokens
EPSILON = 1e-12


def cut(
    text: str,
    at: float,
    *,
    by: By = "steps",
    token_ids: Sequence[int] = (),
    logprobs: Sequence[float] = (),
    decode: Decode | None = None,
) -> str:
    """The beginning of a completion with the share `at` of its trace: empty at 0, the whole text at
    1. Empty for a completion without a trace, but at 1.

    By tokens and surprisal it takes the completion's `token_ids`, in whose text `decode` ends each
    character; by surprisal their natural `logprobs` too.
    """
    assert 0 <= at <= 1
    if at in (0, 1):
        return text if at else ""
    end = trace_end(text)
    ends = step_ends(text[:end])
    if not ends:
        return ""
    if by == "steps":
        return text[: ends[ceil(at * len(ends) - EPSILON) - 1]]
    assert decode is not None
    offsets = token_ends(text, token_ids, decode)
    n = bisect_left(offsets, end) + 1  # the last one may hold the first character of the tag
    shares = logprobs[:n] if by == "surprisal" else [-1.0] * min(n, len(offsets))
    total = list(accumulate(-one for one in shares))
    t = bisect_left(total, at * total[-1] - EPSILON * total[-1])
    place = min(offsets[t] if t < len(offsets) else end, end)
    return text[: next(step for step in ends if step >= place)]


def trace_end(text: str) -> int:
    """The number of characters of the trace at the beginning of a completion, without its closing
    tag; 0 for one without a trace."""
    end = text.rfind(CLOSE)
    if end >= 0:
        return end
    return len(text) if text.lstrip().startswith(OPEN) else 0


def step_ends(trace: str) -> list[int]:
    """The end of every step, a line that is not blank, with the blanks after it; tags are no
    step."""
    ends, at = list[int](), 0
    for line in trace.splitlines(keepends=True):
        at += len(line)
        if line.replace(OPEN, "").strip():
            ends.append(at)
        elif ends:
            ends[-1] = at
    return ends


def token_ends(text: str, token_ids: Sequence[int], decode: Decode) -> list[int]:
    """The end of each token in the text; of one that ends within a character, that of the character
    before. Tokens after the text, such as the end of turn, are left out."""
    ends, at, begun = list[int](), 0, list[int]()
    for token in token_ids:
        if at >= len(text):
            break
        begun.append(token)
        piece = decode(begun)
        if not piece.endswith(UNFINISHED):
            at, begun = at + len(piece), []
        ends.append(min(at, len(text)))
    if ends and ends[-1] == len(text) and decode(list(token_ids[: len(ends)])) == text:
        return ends
    # A decoder that joins tokens in its own way: each beginning in full.
    ends = [len(decode(list(token_ids[: n + 1])).rstrip(UNFINISHED)) for n in range(len(token_ids))]
    return [end for end in ends if end <= len(text)]
