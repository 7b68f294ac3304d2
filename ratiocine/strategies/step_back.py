"""Step-back prompting (arXiv 2310.06117): the model states the principle, then answers with it."""

from __future__ import annotations

from typing import Literal

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


class StepBack(OneAnswer):
    name: Hashed[Literal["step_back"]] = "step_back"
    instruction: Hashed[str] = (
        "Which general principle or concept does this problem need? State it without solving the "
        "problem."
    )

    @property
    def most(self) -> int:
        return 2

    def run(self, question: Question) -> Run:
        (principle,) = yield Call(messages=asked_with(question.messages, self.instruction))
        told = asked_with(question.messages, f"Principle: {answer_part(principle)}")
        (sample,) = yield Call(messages=told)
        return Answer({sample.number: 1.0}, acted=True)
