"""Best-of-N: the sample that a score puts first; here the mean log-probability of its tokens."""

from __future__ import annotations

from typing import ClassVar, Literal

from ratiocine.config import Hashed
from ratiocine.strategies.strategy import Answer, Call, Need, OfNSamples, Question, Run, best


class BestOfN(OfNSamples):
    name: Hashed[Literal["best_of_n"]] = "best_of_n"
    needs: ClassVar[frozenset[Need]] = frozenset({"logprobs"})

    def run(self, question: Question) -> Run:
        samples = yield Call(self.n)
        scores = {
            number: sample.confidence
            for number, sample in enumerate(samples)
            if sample.vote is not None and sample.confidence is not None
        }
        return Answer(best(scores), [sample.tokens for sample in samples])
