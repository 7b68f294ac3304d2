"""Weighted vote: n samples vote with the geometric mean of their tokens' probabilities."""

from __future__ import annotations

from math import exp
from typing import ClassVar, Literal

from ratiocine.strategies.strategy import Answer, Ballot, OfNSamples, Run


class WeightedVote(OfNSamples):
    name: Literal["weighted_vote"] = "weighted_vote"
    needs_confidence: ClassVar[bool] = True

    def run(self) -> Run:
        samples = yield self.n
        weights = {
            number: exp(sample.confidence)
            for number, sample in enumerate(samples)
            if sample.confidence is not None
        }
        return Answer(Ballot.of(samples, weights).winners, [sample.tokens for sample in samples])
