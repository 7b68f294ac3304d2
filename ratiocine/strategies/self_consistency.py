"""Self-consistency: the most frequent answer of n samples (arXiv 2203.11171)."""

from __future__ import annotations

from typing import Literal

from ratiocine.strategies.strategy import Answer, Ballot, OfNSamples, Run


class SelfConsistency(OfNSamples):
    name: Literal["self_consistency"] = "self_consistency"

    def run(self) -> Run:
        samples = yield self.n
        return Answer(Ballot.of(samples).winners, [sample.tokens for sample in samples])
