"""What a strategy is: it asks for samples of a problem, in rounds, and answers.

A strategy does not call a model. `run` is a generator that yields how many further samples it
wants and receives them, so that one strategy is fed by an engine or by stored samples (`replay`).
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from pydantic import PositiveInt

from ratiocine.config import StrictConfig


@dataclass(frozen=True)
class Sample:
    """A completion, as a strategy sees it: not whether it is right."""

    vote: int | str | None
    """Its answer, equal for equal answers; None without one."""
    tokens: int
    """Generated tokens."""
    confidence: float | None = None
    """Mean log-probability of its tokens; None where an engine returned none."""


@dataclass(frozen=True)
class Answer:
    """What a strategy takes, and what it spent."""

    weights: Mapping[int, float]
    """By number of the sample, the probability with which its answer is taken; ties are divided.
    Empty where no sample has an answer."""
    tokens: Sequence[int]
    """Generated tokens of each sample that was asked for; of one that was cut short, fewer than it
    has."""


Run = Generator[int, Sequence[Sample], Answer]


class Strategy(StrictConfig):
    """A strategy with its settings, those of conf/strategy/NAME.yaml."""

    name: str
    needs_confidence: ClassVar[bool] = False
    """Whether samples need log-probabilities."""

    @property
    def most(self) -> int:
        """The largest number of samples that it may ask for."""
        raise NotImplementedError

    def run(self) -> Run:
        """One problem."""
        raise NotImplementedError


class OfNSamples(Strategy):
    """A strategy that asks for `n` samples at once."""

    n: PositiveInt = 8

    @property
    def most(self) -> int:
        return self.n


@dataclass
class Ballot:
    """Votes by answer, with the samples that gave them."""

    weights: dict[int | str, float] = field(default_factory=dict)
    members: dict[int | str, list[int]] = field(default_factory=dict)

    @staticmethod
    def of(samples: Sequence[Sample], weights: Mapping[int, float] | None = None) -> Ballot:
        """The votes of the samples that have an answer: one each, or that of its number in
        `weights`, which those without a vote are missing from."""
        ballot = Ballot()
        for number, sample in enumerate(samples):
            weight = 1.0 if weights is None else weights.get(number)
            if sample.vote is not None and weight is not None:
                ballot.weights[sample.vote] = ballot.weights.get(sample.vote, 0.0) + weight
                ballot.members.setdefault(sample.vote, []).append(number)
        return ballot

    @property
    def winners(self) -> dict[int, float]:
        """`Answer.weights` of the answers with the most votes, equally divided."""
        if not self.weights:
            return {}
        most = max(self.weights.values())
        first = [vote for vote, weight in self.weights.items() if weight >= most * (1 - 1e-12)]
        return {
            number: 1 / len(first) / len(self.members[vote])
            for vote in first
            for number in self.members[vote]
        }

    @property
    def first_two(self) -> tuple[float, float]:
        """The votes of the two most frequent answers."""
        ordered = sorted((*self.weights.values(), 0.0, 0.0), reverse=True)
        return ordered[0], ordered[1]


def replay(strategy: Strategy, samples: Sequence[Sample]) -> Answer:
    """The answer of a strategy that is given these samples in their order, at least as many as its
    `most`."""
    assert len(samples) >= strategy.most
    run, given = strategy.run(), 0
    try:
        wanted = next(run)
        while True:
            given += wanted
            assert 0 < wanted <= given <= strategy.most
            wanted = run.send(samples[given - wanted : given])
    except StopIteration as end:
        answer: Answer = end.value
        return answer
