"""Weighted vote: n samples vote with the geometric mean of their tokens' probabilities."""

from __future__ import annotations

from math import exp
from typing import Literal

from pydantic import PositiveInt

from ratiocine.strategies.strategy import Answer, Ballot, Run, Strategy


class WeightedVote(Strategy):
    name: Literal["weighted_vote"] = "weighted_vote"
    n: PositiveInt = 8

    @property
    def most(self) -> int:
        return self.n

    @property
    def needs_confidence(self) -> bool:
        return True

    def run(self) -> Run:
        samples = yield self.n
        weights = {
            number: exp(sample.confidence)
            for number, sample in enumerate(samples)
            if sample.confidence is not None
        }
        return Answer(Ballot.of(samples, weights).winners, [sample.tokens for sample in samples])
