"""Budget forcing (arXiv 2501.19393): a trace is ended at its limit, or goes on after "Wait" where
the model would end it."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import NonNegativeInt, PositiveInt, model_validator

from ratiocine.completion_parts import CLOSE, CLOSING, OPEN
from ratiocine.config import Hashed
from ratiocine.strategies.strategy import Answer, Call, Need, OneAnswer, Question, Run


class BudgetForcing(OneAnswer):
    name: Hashed[Literal["budget_forcing"]] = "budget_forcing"
    max_thinking_tokens: Hashed[PositiveInt | None] = None
    waits: Hashed[NonNegativeInt] = 1
    word: Hashed[str] = "Wait"
    needs: ClassVar[frozenset[Need]] = frozenset({"prefix"})

    @model_validator(mode="after")
    def _forces(self) -> Self:
        if self.max_thinking_tokens is None and not self.waits:
            raise ValueError("give max_thinking_tokens=N, waits=N, or both")
        return self

    def run(self, question: Question) -> Run:
        limit = question.max_new_tokens
        most = min(limit, self.max_thinking_tokens or limit)
        left, text, spent, forced = self.waits, "", 0, False
        while True:
            (sample,) = yield Call(max_new_tokens=most - spent, prefix=text, stop=(CLOSE,))
            spent, text, last = spent + sample.tokens, sample.text, sample.number
            if not (question.opened or text.lstrip().startswith(OPEN)):  # a direct answer
                if sample.stop == "stop" or spent >= limit:
                    return Answer({last: 1.0}, acted=forced)
                break
            if sample.stop != "stop" or not left or spent >= most:
                forced = forced or sample.stop != "stop"
                text = text.rstrip() + CLOSING
                break
            left, forced = left - 1, True
            text = f"{text.rstrip()}\n{self.word}"
        if spent >= limit:
            return Answer({last: 1.0}, acted=forced)
        (sample,) = yield Call(max_new_tokens=limit - spent, prefix=text)
        return Answer({sample.number: 1.0}, acted=forced)
