"""Engines: `generate(requests)` → traces. One module per backend, one table of what each can do."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from ratiocine.errors import BadInput
from ratiocine.hashing import batched, digest
from ratiocine.records import Completion

Message = Mapping[str, str]  # role, content
Ability = Literal["logprobs", "prefix", "thinking"]

PORTION = 16384  # requests that are shared out at a time
BLOCK = 128  # requests that a process has at a time; what is lost with it is asked again

# `thinking`: the template's own switch can be set.
ABILITIES: Mapping[str, frozenset[Ability]] = {
    "transformers": frozenset({"logprobs", "prefix", "thinking"}),
    "vllm": frozenset({"logprobs", "prefix", "thinking"}),
    "openai": frozenset({"thinking"}),
}


@dataclass(frozen=True)
class Request:
    """Go on from `messages`, and from `prefix` of the assistant's own turn where there is one, by at most `max_new_tokens` tokens.

    `samples` says which completions to make: each has a random stream of its own, drawn from (seed, id, sample), so that
    sample 3 is the same whether it is made alone or with others. `temperature` 0 is greedy. `stop` strings end a completion
    once they stand after its thinking; they are not part of it. `thinking` sets the chat template's switch, None leaves it.
    """

    id: str
    messages: tuple[Message, ...]
    max_new_tokens: int
    prefix: str = ""
    thinking: bool | None = None
    stop: tuple[str, ...] = ()
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    samples: tuple[int, ...] = (0,)
    logprobs: bool = False

    def stream(self, sample: int) -> random.Random:
        """The random numbers of one sample."""
        return random.Random(f"{self.seed}\x1f{self.id}\x1f{sample}")

    def seed_of(self, sample: int) -> int:
        """31 bits that seed one sample where the random numbers are drawn elsewhere."""
        return int(digest(self.seed, self.id, sample)[:8], 16) >> 1

    def needs(self) -> set[Ability]:
        """What an engine must be able to do for this request."""
        wanted: dict[Ability, bool] = {
            "prefix": bool(self.prefix),
            "thinking": self.thinking is not None,
            "logprobs": self.logprobs,
        }
        return {ability for ability, needed in wanted.items() if needed}


class Engine(Protocol):
    """Whatever can continue conversations."""

    name: str

    def generate(self, requests: Iterable[Request]) -> Iterator[list[Completion]]:
        """Traces of all samples of all requests, some at a time, in the order in which they end."""
        ...


def blocks(requests: Iterable[Request], processes: int) -> Iterator[list[Request]]:
    """Requests as several processes are given them, at most `BLOCK` at a time and fewer where there are few."""
    for portion in batched(requests, PORTION):
        yield from batched(portion, min(BLOCK, -(-len(portion) // processes)))


def require(name: str, needed: set[Ability]) -> None:
    """Raise BadInput where the engine cannot do what is needed, naming those that can."""
    if lacking := needed - ABILITIES[name]:
        able = [other for other, abilities in ABILITIES.items() if needed <= abilities]
        raise BadInput(
            f"engine={name} has no {', '.join(sorted(lacking))}; engines that have: {', '.join(able) or 'none'}"
        )
