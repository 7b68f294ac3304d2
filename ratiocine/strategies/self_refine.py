"""Self-refine (arXiv 2303.17651): the model answers, criticises its answer, and answers again."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt

from ratiocine.config import Hashed
from ratiocine.strategies.strategy import Answer, Call, OneAnswer, Question, Run, answer_part


class SelfRefine(OneAnswer):
    name: Hashed[Literal["self_refine"]] = "self_refine"
    rounds: Hashed[PositiveInt] = 1
    critique: Hashed[str] = "Check this answer. Which mistakes does it have, if any?"
    revise: Hashed[str] = "Answer the problem again, without these mistakes."

    @property
    def most(self) -> int:
        return 1 + 2 * self.rounds

    def run(self, question: Question) -> Run:
        (sample,) = yield Call()
        messages = question.messages
        for _ in range(self.rounds):
            for instruction in (self.critique, self.revise):
                said = {"role": "assistant", "content": answer_part(sample)}
                messages = (*messages, said, {"role": "user", "content": instruction})
                (sample,) = yield Call(messages=messages)
        return Answer({sample.number: 1.0})
