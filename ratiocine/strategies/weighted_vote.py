"""Weighted vote: n samples vote with the geometric mean of their tokens' probabilities."""

from __future__ import annotations

from math import exp
from typing import ClassVar, Literal

from ratiocine.config import Hashed
from ratiocine.strategies.strategy import Answer, Ballot, Call, Need, OfNSamples, Question, Run


class WeightedVote(OfNSamples):
    name: Hashed[Literal["weighted_vote"]] = "weighted_vote"
    needs: ClassVar[frozenset[Need]] = frozenset({"logprobs"})

    def run(self, question: Question) -> Run:
        samples = yield Call(self.n)
        weights = {
            number: exp(sample.confidence)
            for number, sample in enumerate(samples)
            if sample.confidence is not None
        }
        return Answer(Ballot.of(samples, weights).winners, [sample.tokens for sample in samples])
