"""What the answers of a run cost, and its limits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from distill.answer_cache import Answer
from distill.config import Price, Spend
from ratiocine.engines import Request
from ratiocine.records import Completion

CHARACTERS_PER_TOKEN = 4  # of a prompt, before a server has counted its tokens


@dataclass
class Spending:
    """Tokens of all answers that a run uses, cached ones included; and, under a limit, the most
    that the open calls to a server can add: `max_new_tokens` and the prompt of each."""

    price: Price
    limit: Spend
    prompt: int = 0
    completion: int = 0
    open: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)
    """Prompt and completion tokens of the open calls, at most, by request and sample."""

    def add(self, answer: Answer) -> None:
        self.prompt += answer.n_prompt
        self.completion += answer.n_completion

    def reserving(self, requests: Iterable[Request]) -> Iterator[Request]:
        """The requests, under a limit one for each sample, which is open from then on."""
        for asked in requests:
            if not self.limited:
                yield asked
                continue
            characters = sum(len(message["content"]) for message in asked.messages)
            for sample in asked.samples:
                bound = characters // CHARACTERS_PER_TOKEN, asked.max_new_tokens
                self.open[asked.id, sample] = bound
                yield replace(asked, samples=(sample,))

    def release(self, completions: Iterable[Completion]) -> None:
        """Close the calls of completions, whose cost is counted."""
        for one in completions:
            self.open.pop((one.id, one.sample), None)

    @property
    def limited(self) -> bool:
        return self.limit != Spend()

    @property
    def tokens(self) -> int:
        return self.prompt + self.completion

    @property
    def money(self) -> float:
        """In the currency of the prices."""
        return self._money(self.prompt, self.completion)

    def _money(self, prompt: int, completion: int) -> float:
        return (prompt * self.price.prompt + completion * self.price.completion) / 1e6

    @property
    def reached(self) -> str | None:
        """The limit that is reached, as its setting; None if none is."""
        return self._reached(self.prompt, self.completion)

    def has_room(self) -> bool:
        """Whether one more call can be made: the limit would not be reached if all open calls
        became as long as they can. True without an open call, so that a run comes to its end."""
        bounds = list(self.open.values())  # changed by another thread
        prompt = self.prompt + sum(prompt for prompt, _ in bounds)
        completion = self.completion + sum(completion for _, completion in bounds)
        return not bounds or self._reached(prompt, completion) is None

    def _reached(self, prompt: int, completion: int) -> str | None:
        if self.limit.tokens is not None and prompt + completion >= self.limit.tokens:
            return f"max_spend.tokens={self.limit.tokens}"
        if self.limit.money is not None and self._money(prompt, completion) >= self.limit.money:
            return f"max_spend.money={self.limit.money:g}"
        return None

    def to_json(self) -> dict[str, int | float]:
        return {
            "prompt": self.prompt,
            "completion": self.completion,
            "money": round(self.money, 4),
        }
