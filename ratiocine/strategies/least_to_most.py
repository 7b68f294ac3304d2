"""Least-to-most prompting (arXiv 2205.10625): the model names simpler questions, answers them one
after the other, and then the problem."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import PositiveInt

from ratiocine.config import Hashed
from ratiocine.strategies.strategy import (
    Answer,
    Call,
    OneAnswer,
    Question,
    Run,
    answer_part,
    asked_with,
)

NUMBERING = re.compile(r"^\s*(?:\d+\s*[.):]|[-*•])\s*")


class LeastToMost(OneAnswer):
    name: Hashed[Literal["least_to_most"]] = "least_to_most"
    n: Hashed[PositiveInt] = 4
    instruction: Hashed[str] = (
        "Which simpler questions have to be answered first? List them in order, one on a line, "
        "without answering them."
    )

    @property
    def most(self) -> int:
        return self.n + 2

    def run(self, question: Question) -> Run:
        (listed,) = yield Call(messages=asked_with(question.messages, self.instruction))
        known = list[str]()
        for simpler in sub_questions(answer_part(listed))[: self.n]:
            text = "\n".join([*known, f"Answer this question alone: {simpler}"])
            (sample,) = yield Call(messages=asked_with(question.messages, text))
            known.append(f"{simpler} {answer_part(sample)}")
        told = asked_with(question.messages, "\n".join(known)) if known else question.messages
        (sample,) = yield Call(messages=told)
        return Answer({sample.number: 1.0}, acted=bool(known))


def sub_questions(text: str) -> list[str]:
    """The lines of a list that end in a question mark, without their numbers."""
    lines = (NUMBERING.sub("", line).strip() for line in text.splitlines())
    return [line for line in lines if line.endswith("?")]
