"""What the answers of a run cost, and its limits."""

from __future__ import annotations

from dataclasses import dataclass

from distill.answer_cache import Answer
from distill.config import Price, Spend


@dataclass
class Spending:
    """Tokens of all answers that a run uses, cached ones included."""

    price: Price
    limit: Spend
    prompt: int = 0
    completion: int = 0

    def add(self, answer: Answer) -> None:
        self.prompt += answer.n_prompt
        self.completion += answer.n_completion

    @property
    def tokens(self) -> int:
        return self.prompt + self.completion

    @property
    def money(self) -> float:
        """In the currency of the prices."""
        return (self.prompt * self.price.prompt + self.completion * self.price.completion) / 1e6

    @property
    def reached(self) -> str | None:
        """The limit that is reached, as its setting; None if none is."""
        if self.limit.tokens is not None and self.tokens >= self.limit.tokens:
            return f"max_spend.tokens={self.limit.tokens}"
        if self.limit.money is not None and self.money >= self.limit.money:
            return f"max_spend.money={self.limit.money:g}"
        return None

    def to_json(self) -> dict[str, int | float]:
        return {
            "prompt": self.prompt,
            "completion": self.completion,
            "money": round(self.money, 4),
        }
