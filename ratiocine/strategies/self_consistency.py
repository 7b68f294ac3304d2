"""Self-consistency: the most frequent answer of n samples (arXiv 2203.11171)."""

from __future__ import annotations

from typing import Literal

from ratiocine.config import Hashed
from ratiocine.strategies.strategy import Answer, Ballot, Call, OfNSamples, Question, Run


class SelfConsistency(OfNSamples):
    name: Hashed[Literal["self_consistency"]] = "self_consistency"

    def run(self, question: Question) -> Run:
        samples = yield Call(self.n)
        return Answer(Ballot.of(samples).winners, [sample.tokens for sample in samples])
