"""The interface of engines, `generate(requests)` → completions, and the capabilities of each."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from ratiocine.errors import BadInput
from ratiocine.hashing import batched, digest
from ratiocine.records import Completion

Message = Mapping[str, str]  # role, content
Capability = Literal["logprobs", "prefix", "ranked", "thinking"]

PORTION = 16384  # requests that are divided among workers at a time
BLOCK = 128  # requests per task of a worker; a lost worker loses the completions of one task

# `thinking`: `enable_thinking` of the chat template can be set.
CAPABILITIES: Mapping[str, frozenset[Capability]] = {
    "transformers": frozenset({"logprobs", "prefix", "ranked", "thinking"}),
    "vllm": frozenset({"logprobs", "prefix", "thinking"}),
    "openai": frozenset({"thinking"}),
}


@dataclass(frozen=True)
class Request:
    """A prompt (`messages`, and `prefix` of the assistant's turn) to be continued by at most
    `max_new_tokens` tokens.

    `samples` are the indices of the completions to generate. Each has its own random stream,
    seeded with (seed, id, sample): sample 3 is the same whether generated alone or with others.
    `temperature` 0 is greedy. A `stop` string ends a completion where it occurs after the
    reasoning, and is not part of it. `thinking` sets `enable_thinking` of the chat template; None
    leaves the template's default. Of a `ranked` request sample i begins with the i-th most probable
    token, and its completions have margins.
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
    ranked: bool = False

    def rng(self, sample: int) -> random.Random:
        """The random stream of one sample."""
        return random.Random(f"{self.seed}\x1f{self.id}\x1f{sample}")

    def seed_of(self, sample: int) -> int:
        """A 31-bit seed of one sample, for engines with their own random numbers."""
        return int(digest(self.seed, self.id, sample)[:8], 16) >> 1

    def required(self) -> set[Capability]:
        """The capabilities that an engine needs for this request."""
        needs: dict[Capability, bool] = {
            "prefix": bool(self.prefix),
            "thinking": self.thinking is not None,
            "logprobs": self.logprobs,
            "ranked": self.ranked,
        }
        return {capability for capability, needed in needs.items() if needed}


class Feed:
    """Requests to which others are added while they are generated. Reading takes them; an engine
    may read again after each list of completions, and is called again for what it has not read."""

    def __init__(self) -> None:
        self._waiting: deque[Request] = deque()

    def add(self, request: Request) -> None:
        self._waiting.append(request)

    def __iter__(self) -> Iterator[Request]:
        while self._waiting:
            yield self._waiting.popleft()

    def __bool__(self) -> bool:
        return bool(self._waiting)


class Engine(Protocol):
    """A backend that generates completions."""

    name: str

    def generate(self, requests: Iterable[Request]) -> Iterator[list[Completion]]:
        """Completions of all samples of all requests, in lists, in no fixed order."""
        ...


def within_context(request: Request, n_prompt: int, context: int) -> Request | list[Completion]:
    """The request with no more new tokens than the model's context leaves after a prompt of
    `n_prompt` tokens; a refused completion of each sample if it leaves none."""
    if n_prompt < context:
        return replace(request, max_new_tokens=min(request.max_new_tokens, context - n_prompt))
    words = f"the prompt has {n_prompt} tokens, and the model's context {context}"
    return [
        Completion(request.id, words, "refused", n_prompt, 0, 0.0, (), sample=sample)
        for sample in request.samples
    ]


def blocks(requests: Iterable[Request], workers: int) -> Iterator[list[Request]]:
    """The tasks of several workers: at most `BLOCK` requests, and at most an equal share."""
    for portion in batched(requests, PORTION):
        yield from batched(portion, min(BLOCK, -(-len(portion) // workers)))


def check_capabilities(engine: str, required: set[Capability]) -> None:
    """Raise BadInput if the engine lacks a capability; names the engines that have all."""
    if lacking := required - CAPABILITIES[engine]:
        capable = [name for name, those in CAPABILITIES.items() if required <= those]
        names = sorted("top-k first tokens" if one == "ranked" else one for one in lacking)
        raise BadInput(
            f"engine={engine} has no {', '.join(names)}; engines that have: "
            f"{', '.join(capable) or 'none'}"
        )
