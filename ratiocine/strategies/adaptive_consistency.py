"""Adaptive consistency: samples one at a time until the most frequent answer is certain to stay so
(arXiv 2305.11860)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from ratiocine.config import Hashed
from ratiocine.strategies.strategy import Answer, Ballot, Call, Question, Run, Sample, Strategy


class AdaptiveConsistency(Strategy):
    name: Hashed[Literal["adaptive_consistency"]] = "adaptive_consistency"
    n: Hashed[PositiveInt] = 40
    threshold: Hashed[Annotated[float, Field(ge=0.5, lt=1)]] = 0.95

    @property
    def most(self) -> int:
        return self.n

    def run(self, question: Question) -> Run:
        samples: list[Sample] = []
        while len(samples) < self.n:
            samples += yield Call()
            if certainty(*Ballot.of(samples).first_two) >= self.threshold:
                break
        return Answer(Ballot.of(samples).winners, [sample.tokens for sample in samples])


def certainty(first: float, second: float) -> float:
    """Probability that the answer with `first` votes is more frequent than that with `second`,
    given a uniform prior: the share of Beta(first + 1, second + 1) above 1/2."""
    from scipy.special import betainc

    return float(betainc(second + 1, first + 1, 0.5))
