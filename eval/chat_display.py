"""Model output in a terminal, as it is generated: the trace dim, control characters escaped."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ratiocine.completion_parts import CLOSE, OPEN, split
from ratiocine.evaluate import thinking_tokens
from ratiocine.records import Completion

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BLANK = " \t\n"
DIM, CLEAR = "\x1b[2m", "\x1b[0m"


def visible(text: str) -> str:
    """Text that a terminal shows and does not execute.

    Everything but printable characters, spaces, tabs and newlines (control characters, direction
    overrides, invisible characters) becomes its Python escape.
    """
    return "".join(
        letter
        if letter.isprintable() or letter in "\n\t" or unicodedata.category(letter) == "Zs"
        else letter.encode("unicode_escape").decode()
        for letter in text
    )


class CompletionPrinter:
    """Prints a completion that arrives in pieces of any length.

    The trace is dim, or below a heading without `colour`, and the answer follows. Blanks around
    both are dropped, and so is what follows a `stop` string in an answer. `thinking` states that
    the prompt has opened the trace.
    """

    def __init__(
        self, out: Callable[[str], None], *, thinking: bool, colour: bool, stop: Sequence[str] = ()
    ) -> None:
        self.out, self.thinking, self.colour = out, thinking, colour
        self.marks = (OPEN, CLOSE, *stop)
        self.pattern = re.compile("|".join(map(re.escape, self.marks)))
        self.pending = ""  # may be the beginning of a mark
        self.blank = ""  # may be the end of a part
        self.begun = self.stopped = False

    def write(self, text: str) -> None:
        text, at = self.pending + text, 0
        for found in self.pattern.finditer(text):
            self._print(text[at : found.start()])
            at = found.end()
            self._mark(found[0])
        rest = text[at:]
        self.pending = next(
            rest[i:]
            for i in range(len(rest) + 1)
            if any(mark.startswith(rest[i:]) for mark in self.marks)
        )
        self._print(rest[: len(rest) - len(self.pending)])

    def end(self) -> None:
        self._print(self.pending)
        self._part(False)

    def _mark(self, mark: str) -> None:
        if mark == CLOSE or (mark == OPEN and not self.thinking):
            self._part(mark == OPEN)
        elif mark == OPEN or self.thinking:
            self._print(mark)
        else:
            self.stopped = True

    def _part(self, thinking: bool) -> None:
        """Begin the trace, or the answer."""
        if self.begun:
            self.out("\n")
        self.thinking, self.begun, self.blank = thinking, False, ""

    def _print(self, text: str) -> None:
        text = self.blank + text if self.begun else text.lstrip(BLANK)
        body = text.rstrip(BLANK)
        self.blank = text[len(body) :]
        if not body or self.stopped:
            return
        if not self.begun and not self.colour:
            self.out("thinking:\n" if self.thinking else "answer:\n")
        self.begun = True
        self.out(f"{DIM}{visible(body)}{CLEAR}" if self.colour and self.thinking else visible(body))


def summary(
    completion: Completion, tokenizer: PreTrainedTokenizerBase, *, interrupted: bool = False
) -> str:
    """One line on a completion: tokens, their rate, why it ended if not by the model, and the
    content of the box that the grader would read."""
    parts = split(completion.text, opened=completion.opened)
    n_think = thinking_tokens(completion, parts, tokenizer)
    words = [
        f"{n_think} tokens of trace, {completion.n_completion - n_think} of answer",
        f"{completion.n_completion / max(completion.seconds, 1e-4):.1f} tokens a second",
    ]
    if interrupted:
        words.append("interrupted")
    elif completion.stop == "length":
        words.append(f"truncated at {completion.n_completion} tokens")
    if parts.boxed:
        words.append(f"boxed: {visible(' '.join(parts.boxed.split()))}")
    return "; ".join(words)
