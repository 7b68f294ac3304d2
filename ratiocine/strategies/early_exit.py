"""Early exit: at regular cuts of its trace the model answers on trial, and the first answer that
several trials in a row agree on is taken."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import PositiveInt

from ratiocine.completion_parts import CLOSE, CLOSING, OPEN
from ratiocine.config import Hashed
from ratiocine.strategies.strategy import Answer, Call, Need, OneAnswer, Question, Run


class EarlyExit(OneAnswer):
    name: Hashed[Literal["early_exit"]] = "early_exit"
    every: Hashed[PositiveInt] = 32
    agree: Hashed[PositiveInt] = 2
    answer_tokens: Hashed[PositiveInt] = 32
    needs: ClassVar[frozenset[Need]] = frozenset({"prefix"})

    def run(self, question: Question) -> Run:
        limit, text, spent = question.max_new_tokens, "", 0
        last, equal = None, 0
        while True:
            most = min(self.every, limit - spent)
            (sample,) = yield Call(max_new_tokens=most, prefix=text, stop=(CLOSE,))
            spent, text = spent + sample.tokens, sample.text
            thinks = question.opened or text.lstrip().startswith(OPEN)
            if spent < limit and not thinks and sample.stop != "stop":
                (sample,) = yield Call(max_new_tokens=limit - spent, prefix=text)
            if spent >= limit or not thinks:
                return Answer({sample.number: 1.0}, acted=False)
            closed = text.rstrip() + CLOSING
            if sample.stop == "stop":
                break
            trial_tokens = min(self.answer_tokens, limit - spent)
            (trial,) = yield Call(max_new_tokens=trial_tokens, prefix=closed)
            equal = equal + 1 if trial.vote is not None and trial.vote == last else 1
            last = trial.vote
            if equal >= self.agree and last is not None:
                return Answer({trial.number: 1.0}, acted=True)
        (sample,) = yield Call(max_new_tokens=limit - spent, prefix=closed)
        return Answer({sample.number: 1.0}, acted=False)
