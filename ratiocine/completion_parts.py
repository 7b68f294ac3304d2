"""The parts of a completion: think block, answer and the last `\\boxed{}`. The one place that
knows `<think>`, `<answer>` and `\\boxed{}`.

An IFT completion is the plain answer, without a think block (`train` adds an empty one under
`direct_format=empty`); a reasoning completion is `<think>\\n…\\n</think>\\n\\n` and then the
answer.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

OPEN, CLOSE = "<think>", "</think>"
# After a trace that is ended where it is. Without the blank line that follows: some tokenizers
# encode it alone as one token, which no student has seen before an answer.
CLOSING = f"\n{CLOSE}"
ANSWER_OPEN, ANSWER_CLOSE = "<answer>", "</answer>"
# A phrase six times, or a short one with a letter eight times: not a rule, nor zeros of a number.
LOOP = re.compile(r"(?:(.{12,200}?)\1{5,}|((?=.{0,10}[^\W\d_]).{2,11}?)\2{7,})\Z", re.DOTALL)
MIN_COMPRESSION = 0.06  # zlib ratio; a long text below it repeats itself
LONG = 2000  # characters; shorter texts compress too unevenly to judge


@dataclass(frozen=True)
class Parts:
    """The parts of a completion."""

    think: str | None
    """Content of the think block; None without one."""
    answer: str
    """The text after it, or inside the last `<answer>` tag there."""
    boxed: str | None
    """Content of the answer's last `\\boxed{}`; None without one."""
    closed: bool
    """False if a think block was opened and never closed."""
    finished: bool = True
    """False if the completion was truncated."""


def render(answer: str, think: str | None = None) -> str:
    """The completion of an answer, with its reasoning trace if given. Inverse of `split`."""
    return answer if think is None else f"{OPEN}\n{think}\n{CLOSE}\n\n{answer}"


# Each begins at a tag: a pattern that begins with blanks would try every one of a long run.
REPEATED = re.compile(rf"({OPEN})(?:\s*+{OPEN})+|({CLOSE})(?:\s*+{CLOSE})+")


def one_block(text: str) -> str:
    """The text with tags that are repeated at once, as in `<think><think>`, only once."""
    return REPEATED.sub(lambda match: match[1] or match[2], text)


def stray_tags(text: str) -> bool:
    """Whether a think tag stands anywhere but around the one think block at the beginning."""
    head, tag, answer = text.rpartition(CLOSE)
    trace = head.strip().removeprefix(OPEN) if tag else ""
    return any(mark in part for part in (trace, answer) for mark in (OPEN, CLOSE))


def split(text: str, *, finished: bool = True, opened: bool = False) -> Parts:
    """The parts of a completion. The answer follows the *last* closing tag, so nothing inside a
    trace is an answer; a bare closing tag counts, because some templates put the opening one into
    the prompt (`opened`)."""
    head, tag, answer = one_block(text).rpartition(CLOSE)
    if OPEN in answer or (opened and not tag):
        return Parts(
            think=text.replace(OPEN, "", 1).strip(),
            answer="",
            boxed=None,
            closed=False,
            finished=finished,
        )
    think = head.replace(OPEN, "", 1).strip() if tag else None
    begin = answer.rfind(ANSWER_OPEN)
    if begin >= 0:
        answer = answer[begin + len(ANSWER_OPEN) :].partition(ANSWER_CLOSE)[0]
    answer = answer.strip()
    return Parts(think, answer, last_boxed(answer), closed=True, finished=finished)


def after_thinking(text: str, words: Sequence[str]) -> int | None:
    """Position of the first stop string after the reasoning; None if there is none, or the
    reasoning has not ended."""
    start = max(0, text.rfind(CLOSE))
    if OPEN in text[start:]:
        return None
    return min((at for word in words if (at := text.find(word, start)) >= 0), default=None)


BOXED = re.compile(r"\\boxed\s*\{")


def last_boxed(text: str) -> str | None:
    """Content of the last non-empty `\\boxed{…}`, else empty; None without any, or if one that is
    never closed follows it."""
    content = None
    for match in reversed(list(BOXED.finditer(text))):
        depth = 1
        for position in range(match.end(), len(text)):
            depth += {"{": 1, "}": -1}.get(text[position], 0)
            if depth == 0:
                break
        else:
            return None
        content = text[match.end() : position].strip()
        if content:
            break
    return content


def looping(text: str) -> bool:
    """Whether a text ends in a repeated phrase, or repeats itself throughout."""
    if LOOP.search(text[-3000:].rstrip()):
        return True
    if len(text) < LONG:
        return False
    return len(zlib.compress(text.encode("utf-8", "replace"))) < MIN_COMPRESSION * len(text)
