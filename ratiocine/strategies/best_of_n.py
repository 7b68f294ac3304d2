"""Best-of-N: the sample that a score puts first; here the mean log-probability of its tokens."""

from __future__ import annotations

from typing import ClassVar, Literal

from ratiocine.strategies.strategy import Answer, OfNSamples, Run


class BestOfN(OfNSamples):
    name: Literal["best_of_n"] = "best_of_n"
    needs_confidence: ClassVar[bool] = True

    def run(self) -> Run:
        samples = yield self.n
        scores = {
            number: sample.confidence
            for number, sample in enumerate(samples)
            if sample.vote is not None and sample.confidence is not None
        }
        best = [number for number, score in scores.items() if score == max(scores.values())]
        return Answer(
            {number: 1 / len(best) for number in best}, [sample.tokens for sample in samples]
        )
