"""short-m@k: of k samples in parallel the m that end first are taken, the others cut short there
(arXiv 2505.17813)."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import PositiveInt, model_validator

from ratiocine.config import Hashed
from ratiocine.strategies.strategy import Answer, Ballot, Call, Question, Run, Strategy


class ShortMAtK(Strategy):
    name: Hashed[Literal["short_m_at_k"]] = "short_m_at_k"
    k: Hashed[PositiveInt] = 8
    m: Hashed[PositiveInt] = 3

    @model_validator(mode="after")
    def _few_of_many(self) -> Self:
        if self.m > self.k:
            raise ValueError(f"m={self.m} is above k={self.k}")
        return self

    @property
    def most(self) -> int:
        return self.k

    def run(self, question: Question) -> Run:
        samples = yield Call(self.k)
        # One that the engine could not answer has no tokens, and does not end first.
        begun = (number for number in range(len(samples)) if samples[number].tokens)
        first = sorted(begun, key=lambda number: samples[number].tokens)[: self.m]
        end = samples[first[-1]].tokens if first else 0
        return Answer(
            Ballot.of(samples, dict.fromkeys(first, 1.0)).winners,
            [min(sample.tokens, end) for sample in samples],
        )
