"""What a strategy is: it asks for completions of a problem, in rounds, and answers.

A strategy does not call a model. `run` is a generator that yields what it asks for next (`Call`)
and receives the completions, so that one strategy is fed by an engine (`ratiocine.deliberation`),
many problems at once, or by stored samples (`replay`).
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from pydantic import PositiveInt

from ratiocine.completion_parts import split
from ratiocine.config import Hashed, HashedIfSet, StrictConfig

Need = Literal["logprobs", "prefix", "ranked"]


@dataclass(frozen=True)
class Question:
    """What a strategy knows of a problem."""

    messages: tuple[Mapping[str, str], ...] = ()
    """The prompt, empty in a `replay`."""
    max_new_tokens: int = 0
    """Of a completion, at most."""
    opened: bool = False
    """Whether the prompt ends inside a think block."""


@dataclass(frozen=True)
class Call:
    """Completions that a strategy asks for: by default samples of the problem, as an evaluation
    without a strategy has them."""

    n: int = 1
    prefix: str = ""
    """Of the completions, which go on from it."""
    messages: tuple[Mapping[str, str], ...] | None = None
    """None: the problem's prompt."""
    max_new_tokens: int | None = None
    """None: the evaluation's limit."""
    stop: tuple[str, ...] = ()
    ranked: bool = False
    """Whether the i-th completion begins with the i-th most probable token, and is greedy from
    there."""


@dataclass(frozen=True)
class Sample:
    """A completion, as a strategy sees it: not whether it is right."""

    vote: int | str | None
    """Its answer, equal for equal answers; None without one."""
    tokens: int
    """Generated tokens."""
    confidence: float | None = None
    """Mean log-probability of its tokens; None where an engine returned none."""
    number: int = 0
    """Among all that the strategy has received."""
    text: str = ""
    """With the prefix that it goes on from."""
    answer: str | None = None
    """The answer as it stands in the text."""
    stop: str = "stop"
    """How it ended (`records.Stop`)."""
    logprobs: tuple[float, ...] | None = None
    margin: float | None = None
    """Mean difference between the probabilities of the two most probable tokens, over the tokens of
    the answer; None where that is unknown."""


@dataclass(frozen=True)
class Answer:
    """What a strategy takes, and what it spent."""

    weights: Mapping[int, float]
    """By number of the sample, the probability with which its answer is taken; ties are divided.
    Empty where no sample has an answer."""
    tokens: Sequence[int] = ()
    """Generated tokens of each sample that was asked for; of one that was cut short, fewer than it
    has. Of stored samples (`replay`) alone: an engine's are counted."""
    acted: bool | None = None
    """Whether the strategy did anything; None: whether its answer is not that of its first
    sample."""


Run = Generator[Call, Sequence[Sample], Answer]


class Strategy(StrictConfig):
    """A strategy with its settings, those of conf/strategy/NAME.yaml."""

    name: Hashed[str]
    budget: HashedIfSet[PositiveInt | None] = None
    """Generated tokens of a problem, at most, over all completions; None: no limit."""
    needs: ClassVar[frozenset[Need]] = frozenset()
    """What the engine has to be capable of."""
    differing: ClassVar[bool] = True
    """Whether its samples have to differ, so that decoding needs a temperature."""
    replayable: ClassVar[bool] = True
    """Whether it asks for nothing but samples of the problem, so that stored ones do."""

    @property
    def most(self) -> int:
        """The largest number of samples that it may ask for."""
        raise NotImplementedError

    def run(self, question: Question) -> Run:
        """One problem."""
        raise NotImplementedError


class OneAnswer(Strategy):
    """A strategy that leads the model to one answer, greedily too, by calls of its own."""

    differing: ClassVar[bool] = False
    replayable: ClassVar[bool] = False

    @property
    def most(self) -> int:
        return 1


class OfNSamples(Strategy):
    """A strategy that asks for `n` samples at once."""

    n: Hashed[PositiveInt] = 8

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


def asked_with(messages: Sequence[Mapping[str, str]], text: str) -> tuple[Mapping[str, str], ...]:
    """A prompt whose last message, the problem, is followed by a text."""
    *before, last = messages
    return (*before, {**last, "content": f"{last['content']}\n\n{text}"})


def answer_part(sample: Sample) -> str:
    """What a sample says after its trace."""
    return split(sample.text).answer


def best(scores: Mapping[int, float]) -> dict[int, float]:
    """`Answer.weights` of the samples with the highest score, equally divided."""
    if not scores:
        return {}
    first = [number for number, score in scores.items() if score == max(scores.values())]
    return {number: 1 / len(first) for number in first}


def replay(strategy: Strategy, samples: Sequence[Sample]) -> Answer:
    """The answer of a strategy that is given these samples in their order, at least as many as its
    `most`."""
    assert strategy.replayable
    assert len(samples) >= strategy.most
    run, given = strategy.run(Question()), 0
    try:
        call = next(run)
        while True:
            assert call == Call(call.n)
            given += call.n
            assert 0 < call.n <= given <= strategy.most
            call = run.send(samples[given - call.n : given])
    except StopIteration as end:
        answer: Answer = end.value
        return answer
