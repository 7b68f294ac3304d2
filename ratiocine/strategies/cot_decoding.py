"""CoT-decoding (arXiv 2402.10200): greedy completions that begin with the k most probable first
tokens, weighted by the margin Δ between the two most probable tokens in their answers."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import PositiveInt

from ratiocine.config import Hashed
from ratiocine.strategies.strategy import Answer, Ballot, Call, Need, OneAnswer, Question, Run, best


class CoTDecoding(OneAnswer):
    name: Hashed[Literal["cot_decoding"]] = "cot_decoding"
    k: Hashed[PositiveInt] = 10
    aggregate: Hashed[Literal["sum", "max"]] = "sum"
    needs: ClassVar[frozenset[Need]] = frozenset({"ranked"})

    @property
    def most(self) -> int:
        return self.k

    def run(self, question: Question) -> Run:
        samples = yield Call(self.k, ranked=True)
        margins = {
            number: sample.margin
            for number, sample in enumerate(samples)
            if sample.vote is not None and sample.margin is not None
        }
        if self.aggregate == "max":
            return Answer(best(margins))
        return Answer(Ballot.of(samples, margins).winners)
