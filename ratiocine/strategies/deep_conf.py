"""DeepConf (arXiv 2508.15260), offline: the most confident samples vote, weighted by confidence.

The confidence of a sample is that of its least confident window of tokens. That of a token is its
log-probability; the paper takes the mean over the most probable tokens, of which engines return
one."""

from __future__ import annotations

from itertools import accumulate
from math import ceil, exp
from typing import ClassVar, Literal

from pydantic import PositiveInt

from ratiocine.config import Hashed, PositiveShare
from ratiocine.strategies.strategy import Answer, Ballot, Call, Need, OfNSamples, Question, Run


class DeepConf(OfNSamples):
    name: Hashed[Literal["deep_conf"]] = "deep_conf"
    keep: Hashed[PositiveShare] = 0.5
    window: Hashed[PositiveInt] = 16
    needs: ClassVar[frozenset[Need]] = frozenset({"logprobs"})

    def run(self, question: Question) -> Run:
        samples = yield Call(self.n)
        scores = {
            number: lowest_window(sample.logprobs, self.window)
            for number, sample in enumerate(samples)
            if sample.vote is not None and sample.logprobs
        }
        kept = sorted(scores, key=lambda number: (-scores[number], number))
        weights = {number: exp(scores[number]) for number in kept[: ceil(self.keep * len(kept))]}
        return Answer(Ballot.of(samples, weights).winners, [sample.tokens for sample in samples])


def lowest_window(logprobs: tuple[float, ...], window: int) -> float:
    """The lowest mean of so many neighbouring values; of all where there are fewer."""
    width = min(window, len(logprobs))
    sums = [0.0, *accumulate(logprobs)]
    return min(sums[end] - sums[end - width] for end in range(width, len(sums))) / width
