"""Zero-shot chain of thought (arXiv 2205.11916): a sentence after the problem."""

from __future__ import annotations

from typing import Literal

from ratiocine.config import Hashed
from ratiocine.strategies.strategy import Answer, Call, OneAnswer, Question, Run, asked_with


class Instruction(OneAnswer):
    """One completion of a problem with a sentence after it."""

    instruction: Hashed[str]

    def run(self, question: Question) -> Run:
        (sample,) = yield Call(messages=asked_with(question.messages, self.instruction))
        return Answer({sample.number: 1.0}, acted=True)


class ZeroShotCoT(Instruction):
    name: Hashed[Literal["zero_shot_cot"]] = "zero_shot_cot"
    instruction: Hashed[str] = "Let's think step by step."
