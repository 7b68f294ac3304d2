"""Minimum Bayes risk: the sample whose answer is most like the others' (arXiv 2310.01387); with
exact equality this is the majority."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from ratiocine.config import Hashed
from ratiocine.strategies.strategy import Answer, Call, OfNSamples, Question, Run, best


class MinimumBayesRisk(OfNSamples):
    name: Hashed[Literal["minimum_bayes_risk"]] = "minimum_bayes_risk"
    utility: Hashed[Literal["f1", "exact"]] = "f1"

    def run(self, question: Question) -> Run:
        samples = yield Call(self.n)
        answers = {
            number: sample.answer if self.utility == "f1" else str(sample.vote)
            for number, sample in enumerate(samples)
            if sample.vote is not None
        }
        value = token_f1 if self.utility == "f1" else _equal
        gains = {
            number: sum(value(answer or "", other or "") for other in answers.values())
            for number, answer in answers.items()
        }
        return Answer(best(gains), [sample.tokens for sample in samples])


def _equal(answer: str, other: str) -> float:
    return float(answer == other)


def token_f1(answer: str, other: str) -> float:
    """Harmonic mean of the shares of words that two texts have in common."""
    first, second = (Counter(text.casefold().split()) for text in (answer, other))
    shared = (first & second).total()
    total = first.total() + second.total()
    return 2 * shared / total if total else 1.0
