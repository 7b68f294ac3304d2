"""Strategies on an engine: each problem's is suspended while its completions are generated, so that
batches hold the completions of many problems whatever the strategy."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import TYPE_CHECKING

from ratiocine.cuts import token_ends
from ratiocine.engines import Engine, Feed, Request
from ratiocine.evaluate import score
from ratiocine.grading import canonical
from ratiocine.prompts import opens_thinking, prompt_text
from ratiocine.records import Completion, Problem, ScoredCompletion
from ratiocine.strategies import Answer, Ballot, Call, Question, Run, Sample, Strategy

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ACTED = "acted"  # measure of a row: whether the strategy did anything


def deliberated(
    engine: Engine,
    requests: Sequence[Request],
    problems: Mapping[str, Problem],
    tokenizer: PreTrainedTokenizerBase | None,
    strategy: Strategy,
    *,
    expected: bool | None = None,
) -> Iterator[list[ScoredCompletion]]:
    """The answers of a strategy, one for each sample of each request, as they are found; arguments
    as of `evaluate.scored`.

    A row is the completion that the strategy takes. Its tokens are those of all completions that it
    asked for, each call with its own in `calls`.
    """
    feed, waiting = Feed(), dict[tuple[str, int], _Deliberation]()

    def ask(one: _Deliberation) -> None:
        assert one.asked is not None
        waiting.update({(one.asked.id, sample): one for sample in one.asked.samples})
        feed.add(one.asked)

    for request in requests:
        opened = False
        if tokenizer is not None:
            opened = opens_thinking(prompt_text(tokenizer, request.messages, request.thinking))
        for number in request.samples:
            of = problems[request.id]
            ask(_Deliberation(strategy, request, number, of, tokenizer, opened, expected))
    while feed:
        for completions in engine.generate(feed):
            rows = []
            for completion in completions:
                one = waiting.pop((completion.id, completion.sample))
                one.receive(completion)
                if one.row is not None:
                    rows.append(one.row)
                elif not one.is_waiting:
                    ask(one)
            if rows:
                yield rows
    assert not waiting


@dataclass
class _Deliberation:
    """A strategy on one problem."""

    strategy: Strategy
    request: Request
    number: int
    """Of the answer among those of the problem."""
    problem: Problem
    tokenizer: PreTrainedTokenizerBase | None
    opened: bool
    expected: bool | None
    run: Run = field(init=False)
    call: Call = field(init=False)
    asked: Request | None = None
    row: ScoredCompletion | None = None
    """Of the answer, once it is found."""
    _plain: int = 0
    _rows: list[ScoredCompletion] = field(default_factory=list)
    _samples: list[Sample] = field(default_factory=list)
    _received: dict[int, Completion] = field(default_factory=dict)
    _calls: list[tuple[int, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        question = Question(self.request.messages, self.request.max_new_tokens, self.opened)
        self.run = self.strategy.run(question)
        self._ask(next(self.run))

    @property
    def is_waiting(self) -> bool:
        """Whether completions are still to come."""
        return bool(self._received)

    def receive(self, completion: Completion) -> None:
        """Take a completion; the last one of a call goes on with the strategy."""
        assert self.asked is not None
        self._received[completion.sample] = completion
        if len(self._received) < len(self.asked.samples):
            return
        ordered = [self._received[sample] for sample in self.asked.samples]
        self._received.clear()
        self._calls.append((ordered[0].n_prompt, *(one.n_completion for one in ordered)))
        new = [self._scored(one) for one in ordered]
        samples = [
            self._sample(number, row, completion)
            for number, (row, completion) in enumerate(
                zip(new, ordered, strict=True), len(self._samples)
            )
        ]
        self._rows += new
        self._samples += samples
        if not any(row.answered for row in new):  # refused, or failed at the server: so are others
            self.run.close()
            self.row = self._answer(Answer({len(self._rows) - len(new): 1.0}, acted=False))
            return
        try:
            call = self.run.send(samples)
        except StopIteration as end:
            self.row = self._answer(end.value)
            return
        if self._left == 0:  # the most frequent answer so far, else the last completion
            self.run.close()
            last = {len(self._samples) - 1: 1.0}
            self.row = self._answer(Answer(Ballot.of(self._samples).winners or last))
        else:
            self._ask(call)

    @property
    def _spent(self) -> int:
        return sum(sum(generated) for _, *generated in self._calls)

    @property
    def _left(self) -> int | None:
        """Of the budget; None without one."""
        budget = self.strategy.budget
        return None if budget is None else budget - self._spent

    def _ask(self, call: Call) -> None:
        """The next request. Samples of the problem have the random numbers that they have without a
        strategy; those of the second answer come after all that the first may ask for."""
        base, self.call, left = self.request, call, self._left
        plain = call == Call(call.n)
        limit = min(call.max_new_tokens or base.max_new_tokens, base.max_new_tokens)
        n = call.n
        if left is not None:
            n = min(n, left)
            limit = min(limit, left // n)
        first = self.number * self.strategy.most + self._plain if plain else 0
        self._plain += n if plain else 0
        self.asked = replace(
            base,
            id=base.id if plain else f"{base.id}\x1f{self.number}\x1f{len(self._calls)}",
            samples=tuple(range(first, first + n)),
            messages=base.messages if call.messages is None else call.messages,
            prefix=call.prefix,
            max_new_tokens=limit,
            stop=(*base.stop, *call.stop),
            ranked=call.ranked,
            temperature=0.0 if call.ranked else base.temperature,
            logprobs=base.logprobs or "logprobs" in self.strategy.needs,
        )

    def _scored(self, completion: Completion) -> ScoredCompletion:
        row = score(
            self.problem,
            completion,
            self.tokenizer,
            expected=self.expected,
            prefix=self.call.prefix,
        )
        return replace(row, key=self.request.id)

    def _sample(self, number: int, row: ScoredCompletion, completion: Completion) -> Sample:
        answered = row.extracted is not None and row.verdict != "ungradable"
        return Sample(
            canonical(row.extracted) if answered and row.extracted is not None else None,
            row.n_completion,
            fmean(row.logprobs) if row.logprobs else None,
            number=number,
            text=row.completion,
            answer=row.extracted if answered else None,
            stop=row.stop,
            logprobs=row.logprobs,
            margin=self._margin(completion, row.extracted),
        )

    def _margin(self, completion: Completion, answer: str | None) -> float | None:
        """Over the tokens with a character of the answer, where it stands last."""
        if completion.margins is None or not answer or self.tokenizer is None:
            return None
        begin = completion.text.rfind(answer)
        if begin < 0:
            return None
        ends = token_ends(completion.text, completion.token_ids or (), self.tokenizer.decode)
        starts = [0, *ends[:-1]]
        found = [
            margin
            for margin, start, end in zip(completion.margins, starts, ends, strict=False)
            if end > begin and start < begin + len(answer)
        ]
        return fmean(found) if found else None

    def _answer(self, answer: Answer) -> ScoredCompletion:
        taken = self._taken(answer.weights)
        row, samples = self._rows[taken], self._samples
        acted = samples[taken].vote != samples[0].vote if answer.acted is None else answer.acted
        total = self._spent
        n_answer = min(row.n_answer, total)
        keeps = self.request.logprobs
        return replace(
            row,
            sample=self.number,
            n_prompt=self._calls[0][0],
            n_completion=total,
            n_think=total - n_answer,
            n_answer=n_answer,
            seconds=round(sum(one.seconds for one in self._rows), 4),
            detail={**row.detail, ACTED: float(acted)},
            calls=tuple(self._calls),
            token_ids=row.token_ids if keeps else None,
            logprobs=row.logprobs if keeps else None,
        )

    def _taken(self, weights: Mapping[int, float]) -> int:
        """One of the samples, by these probabilities; the first where no sample has an answer."""
        numbers = sorted(weights)
        if not numbers:
            return 0
        rng = random.Random(f"{self.request.seed}\x1f{self.request.id}\x1f{self.number}\x1ftaken")
        return rng.choices(numbers, [weights[number] for number in numbers])[0]
