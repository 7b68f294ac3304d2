"""Self-consistency: the most frequent answer of n samples (arXiv 2203.11171)."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt

from ratiocine.strategies.strategy import Answer, Ballot, Run, Strategy


class SelfConsistency(Strategy):
    name: Literal["self_consistency"] = "self_consistency"
    n: PositiveInt = 8

    @property
    def most(self) -> int:
        return self.n

    def run(self) -> Run:
        samples = yield self.n
        return Answer(Ballot.of(samples).winners, [sample.tokens for sample in samples])
