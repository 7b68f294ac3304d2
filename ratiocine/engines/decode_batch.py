"""The rows of a decode step: their state, their mask and cache, and the choice of next tokens."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import torch
from transformers import DynamicCache

from ratiocine.engines.interface import Request
from ratiocine.engines.kv_cache import is_joinable

if TYPE_CHECKING:
    from ratiocine.engines.recorded_step import RecordedStep

# Ended rows are removed once at most this fraction is running: moving the cache then costs less
# than the decode steps saved.
COMPACT_BELOW = 0.9
COMPACT_RECORDED_BELOW = 0.75  # of a recorded step, which has to be recorded again


@dataclass
class Row:
    """A sample being generated; `seconds` is its share of its batch's wall-clock time."""

    request: Request
    sample: int
    n_prompt: int
    opened: bool
    output: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    margins: list[float] = field(default_factory=list)
    seconds: float = 0.0
    stop: Literal["stop", "length"] | None = None
    yielded: bool = False
    rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.rng = self.request.rng(self.sample)

    @property
    def max_tokens(self) -> int:
        """Tokens cached if it reaches `max_new_tokens`."""
        return self.n_prompt + self.request.max_new_tokens


@dataclass
class DecodeBatch:
    """Rows decoded together, with the mask over all columns of the cache, the positions of the
    last forward pass, and the last token of each row."""

    rows: list[Row]
    mask: torch.Tensor
    positions: torch.Tensor
    cache: DynamicCache
    token: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    compacted: bool = False  # by the last step
    recorded: RecordedStep | None = None
    """Of these rows; None after a change."""

    @property
    def may_join(self) -> bool:
        """Whether other rows can join: ended ones have just left, and the cache allows it."""
        return self.compacted and is_joinable(self.cache)

    @property
    def steps_left(self) -> int:
        """Until the last row has reached its `max_new_tokens`."""
        return max(row.request.max_new_tokens - len(row.output) for row in self.rows)

    def take_ended(self) -> list[Row]:
        """The rows that have ended since the last call.

        They leave the batch only once there are enough to be worth moving the cache.
        """
        ended = [row for row in self.rows if row.stop is not None and not row.yielded]
        for row in ended:
            row.yielded = True
        running = [i for i, row in enumerate(self.rows) if row.stop is None]
        least = COMPACT_BELOW if self.recorded is None else COMPACT_RECORDED_BELOW
        self.compacted = len(running) <= least * len(self.rows)
        if self.compacted:
            self.rows = [self.rows[i] for i in running]
            if self.rows:
                self.keep(torch.tensor(running, device=self.mask.device))
        return ended

    def keep(self, rows: torch.Tensor) -> None:
        """Keep these rows of mask, positions and cache; a row may be repeated."""
        self.mask, self.positions = self.mask[rows], self.positions[rows]
        self.token, self.recorded = self.token[rows], None
        if not is_joinable(self.cache):
            self.cache.batch_select_indices(rows)
            return
        start = int(self.mask.any(0).nonzero()[0])
        self.mask, self.positions = self.mask[:, start:], self.positions[:, -1:]
        for layer in self.cache.layers:
            layer.keep(rows, start)

    def joined_by(self, others: Sequence[DecodeBatch]) -> DecodeBatch:
        """All batches as one, with their last columns aligned.

        The other caches are released layer by layer, so that only one layer is held twice.
        """
        batches = [self, *others]
        width = max(batch.mask.shape[1] for batch in batches)
        pad = torch.nn.functional.pad
        masks = [pad(batch.mask, (width - batch.mask.shape[1], 0)) for batch in batches]
        for index, layer in enumerate(self.cache.layers):
            layer.join([batch.cache.layers[index] for batch in others], width)
            for batch in others:
                batch.cache.layers[index] = None
        rows = [row for batch in batches for row in batch.rows]
        positions = torch.cat([batch.positions[:, -1:] for batch in batches])
        tokens = torch.cat([batch.token for batch in batches])
        return DecodeBatch(rows, torch.cat(masks), positions, self.cache, tokens)


def next_tokens_of_ranks(
    logits: torch.Tensor, rows: Sequence[Row], first: Sequence[int]
) -> torch.Tensor:
    """The most probable token of every row; of the rows `first` that of its sample's rank."""
    tokens = logits.argmax(-1)
    ranks = torch.tensor([rows[i].sample for i in first], device=logits.device)
    index = torch.tensor(first, device=logits.device)
    order = logits[index].topk(int(ranks.max()) + 1).indices
    tokens[index] = order.gather(-1, ranks[:, None])[:, 0]
    return tokens


def next_tokens(logits: torch.Tensor, rows: Sequence[Row]) -> torch.Tensor:
    """The next token of every row: greedy, or by inverse transform sampling.

    The uniform number is the next of the row's own stream, so that a sample does not depend on the
    other rows of its batch.
    """
    sampled = [i for i, row in enumerate(rows) if row.request.temperature > 0]
    first = [i for i, row in enumerate(rows) if row.request.ranked and not row.output]
    if first:
        tokens = next_tokens_of_ranks(logits, rows, first)
        rest = [i for i in range(len(rows)) if i not in set(first)]
        if rest:
            index = torch.tensor(rest, device=logits.device)
            tokens[index] = next_tokens(logits[index], [rows[i] for i in rest])
        return tokens
    if not sampled:
        return logits.argmax(-1)
    index = torch.tensor(sampled, device=logits.device)
    every = len(sampled) == len(rows)

    def column(values: list[float]) -> torch.Tensor:
        return torch.tensor(values, device=logits.device, dtype=torch.float32)[:, None]

    scaled = logits.float() if every else logits[index].float()
    if any(rows[i].request.temperature != 1 for i in sampled):
        scaled = scaled / column([rows[i].request.temperature for i in sampled])
    probabilities, order = scaled.softmax(-1), None
    if any(rows[i].request.top_p < 1 for i in sampled):
        probabilities, order = probabilities.sort(-1, descending=True)
        before = probabilities.cumsum(-1) - probabilities
        outside = before >= column([rows[i].request.top_p for i in sampled])
        probabilities = probabilities.masked_fill(outside, 0.0)
    cumulative = probabilities.cumsum(-1)
    uniform = column([rows[i].rng.random() for i in sampled])
    found = torch.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True)
    found = found.clamp(max=logits.shape[-1] - 1)
    chosen = (found if order is None else order.gather(-1, found))[:, 0]
    if every:
        return chosen
    tokens = logits.argmax(-1)
    tokens[index] = chosen
    return tokens
