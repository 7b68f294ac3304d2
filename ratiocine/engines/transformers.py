"""The transformers engine: continuous batching on any device of transformers.

Faster than `generate`, with the same distribution:
- ended rows leave the batch and waiting requests join it;
- prompts of similar length are prefilled together, once for all samples of a request;
- the KV cache grows in place;
- a decode step on a CPU computes attention as two batched matmuls over the grouped heads, since
  scaled_dot_product_attention is slow for a single query row;
- on a CPU, linear weights are packed for few rows (`decoding.pack_linears`, called by the loader).
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from ratiocine.engines.config import TransformersConfig
from ratiocine.engines.decoding import growing_cache, register_grouped_attention
from ratiocine.engines.interface import Request
from ratiocine.hashing import batched
from ratiocine.prompts import OPEN, after_thinking, opens_thinking, prompt_ids, prompt_text
from ratiocine.records import Completion

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# A prompt shorter than this fraction of the longest has its own prefill: padding costs as much as
# tokens.
SIMILAR_LENGTH = 7 / 8
# Ended rows are removed once at most this fraction is running: moving the cache then costs less
# than the decode steps saved.
COMPACT_BELOW = 0.9


@dataclass(frozen=True)
class _Prompted:
    """A request and its prompt's token ids."""

    request: Request
    prompt: tuple[int, ...]
    opened: bool  # the prompt ends inside a think block

    @property
    def rows(self) -> int:
        return len(self.request.samples)

    @property
    def max_tokens(self) -> int:
        """Cached tokens of all its rows at full length."""
        return self.rows * (len(self.prompt) + self.request.max_new_tokens)


class TransformersEngine:
    """`generate` with a loaded model.

    Decodes at most `max_batch_size` rows together, whose full lengths fit `max_cache_tokens` (at
    least one request, however long).
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        stop_id: int,
        config: TransformersConfig = TransformersConfig(),  # noqa: B008  (frozen)
    ) -> None:
        self.name = "transformers"
        self.model, self.tokenizer, self.stop_id = model, tokenizer, stop_id
        self.max_batch_size = config.max_batch_size
        self.max_cache_tokens = config.max_cache_tokens
        self.movable = _movable(growing_cache(model.config))
        attention: str = config.attention
        if attention == "auto":
            attention = register_grouped_attention() if model.device.type == "cpu" else "sdpa"
        model.set_attn_implementation(attention)
        model.eval()

    def generate(self, requests: Iterable[Request]) -> Iterator[list[Completion]]:
        """Completions of all requests, in lists as they end.

        The longest requests start first, so that a batch too large for the memory fails at once.
        """
        import torch

        prompted = [part for request in requests for part in self._prompted(request)]
        prompted.sort(key=lambda p: (-p.request.max_new_tokens, -len(p.prompt), p.request.id))
        waiting = deque(prompted)
        batch: _Batch | None = None
        while waiting or batch is not None:
            with torch.inference_mode():
                joining = self._joining(waiting, batch)
                if joining:
                    batch = self._admit(joining, batch)
                else:
                    assert batch is not None
                    self._step(batch)
                ended = batch.take_ended()
            if ended:
                yield [self._completion(row) for row in ended]
            if not batch.rows:
                batch = None

    def _prompted(self, request: Request) -> Iterator[_Prompted]:
        """The request with its prompt, in parts if it has more samples than a batch has rows."""
        prompt = prompt_ids(self.tokenizer, request.messages, request.prefix, request.thinking)
        opened = opens_thinking(prompt_text(self.tokenizer, request.messages, request.thinking))
        for part in batched(request.samples, self.max_batch_size):
            yield _Prompted(replace(request, samples=tuple(part)), tuple(prompt), opened)

    def _joining(self, waiting: deque[_Prompted], batch: _Batch | None) -> list[_Prompted]:
        """Take the next waiting requests for which there is room."""
        if batch is not None and not batch.may_join:
            return []
        rows = [] if batch is None else batch.rows
        free_rows, tokens = self.max_batch_size - len(rows), sum(row.max_tokens for row in rows)
        joining: list[_Prompted] = []
        while waiting and waiting[0].rows <= free_rows:
            fits = tokens + waiting[0].max_tokens <= self.max_cache_tokens
            if not fits and (rows or joining):
                break
            joining.append(waiting.popleft())
            free_rows, tokens = free_rows - joining[-1].rows, tokens + joining[-1].max_tokens
        return joining

    def _admit(self, joining: Sequence[_Prompted], batch: _Batch | None) -> _Batch:
        """Prefill requests, prompts of similar length together, and add their rows to `batch`."""
        groups: list[list[_Prompted]] = []
        for one in sorted(joining, key=lambda one: -len(one.prompt)):
            similar = groups and len(one.prompt) >= SIMILAR_LENGTH * len(groups[-1][0].prompt)
            if similar or (groups and not self.movable):
                groups[-1].append(one)
            else:
                groups.append([one])
        batches = [] if batch is None else [batch]
        batches += [self._prefill(group) for group in groups]
        return batches[0].joined_by(batches[1:]) if len(batches) > 1 else batches[0]

    def _prefill(self, group: Sequence[_Prompted]) -> _Batch:
        """One forward pass over left-padded prompts, and the first token of each row."""
        import torch

        started = time.perf_counter()
        device, width = self.model.device, max(len(one.prompt) for one in group)
        ids = torch.full((len(group), width), self.stop_id)
        mask = torch.zeros((len(group), width), dtype=torch.long)
        for row, one in enumerate(group):
            ids[row, width - len(one.prompt) :] = torch.tensor(one.prompt)
            mask[row, width - len(one.prompt) :] = 1
        mask = mask.to(device)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        new = _Batch([], mask, positions, growing_cache(self.model.config))
        logits = self._forward(new, ids.to(device))
        new.rows = [
            _Row(one.request, sample, len(one.prompt), one.opened)
            for one in group
            for sample in one.request.samples
        ]
        if len(new.rows) > len(group):
            copies = torch.tensor([one.rows for one in group], device=device)
            prompts = torch.repeat_interleave(torch.arange(len(group), device=device), copies)
            new.token = prompts  # a placeholder of the right shape: `_append` sets it
            new.keep(prompts)
            logits = logits[prompts]
        self._append(new, logits, started)
        return new

    def _step(self, batch: _Batch) -> None:
        import torch

        started = time.perf_counter()
        batch.mask = torch.cat([batch.mask, batch.mask.new_ones(len(batch.mask), 1)], dim=-1)
        batch.positions = batch.positions[:, -1:] + 1
        self._append(batch, self._forward(batch, batch.token[:, None]), started)

    def _forward(self, batch: _Batch, ids: torch.Tensor) -> torch.Tensor:
        """The logits of every row's next token."""
        return self.model(
            input_ids=ids,
            attention_mask=batch.mask,
            position_ids=batch.positions,
            past_key_values=batch.cache,
            logits_to_keep=1,
        ).logits[:, -1]

    def _append(self, batch: _Batch, logits: torch.Tensor, started: float) -> None:
        """Choose the next token of every row and record it."""
        batch.token = _next_tokens(logits, batch.rows)
        logprobs: list[float] | None = None
        if any(row.request.logprobs for row in batch.rows):
            logits = logits.float()
            chosen = logits.gather(-1, batch.token[:, None])[:, 0]
            logprobs = (chosen - logits.logsumexp(-1)).tolist()
        seconds = (time.perf_counter() - started) / len(batch.rows)
        for index, (row, token) in enumerate(zip(batch.rows, batch.token.tolist(), strict=True)):
            if row.stop is None:
                row.output.append(token)
                row.seconds += seconds
                if logprobs is not None:
                    row.logprobs.append(round(logprobs[index], 5))
                self._end(row)

    def _end(self, row: _Row) -> None:
        """Set the stop reason of a row that has ended."""
        stopped = row.request.stop and self._stop_position(row) is not None
        if row.output[-1] == self.stop_id or stopped:
            row.stop = "stop"
        elif len(row.output) >= row.request.max_new_tokens:
            row.stop = "length"

    def _text(self, row: _Row) -> str:
        ids = row.output[:-1] if row.output[-1] == self.stop_id else row.output
        return self.tokenizer.decode(ids, skip_special_tokens=False)

    def _stop_position(self, row: _Row) -> int | None:
        """The index in its text of the first stop string after the reasoning."""
        prefix = OPEN * row.opened + row.request.prefix
        at = after_thinking(prefix + self._text(row), row.request.stop)
        return None if at is None else max(0, at - len(prefix))

    def _completion(self, row: _Row) -> Completion:
        assert row.stop is not None
        text = self._text(row)[: self._stop_position(row) if row.request.stop else None]
        return Completion(
            row.request.id,
            text,
            row.stop,
            row.n_prompt,
            len(row.output),
            round(row.seconds, 4),
            token_ids=tuple(row.output),
            logprobs=tuple(row.logprobs) if row.request.logprobs else None,
            sample=row.sample,
            opened=row.opened,
        )


def _next_tokens(logits: torch.Tensor, rows: Sequence[_Row]) -> torch.Tensor:
    """The next token of every row: greedy, or by inverse transform sampling.

    The uniform number is the next of the row's own stream, so that a sample does not depend on the
    other rows of its batch.
    """
    import torch

    tokens = logits.argmax(-1)
    sampled = [i for i, row in enumerate(rows) if row.request.temperature > 0]
    if not sampled:
        return tokens
    index = torch.tensor(sampled, device=logits.device)

    def column(values: list[float]) -> torch.Tensor:
        return torch.tensor(values, device=logits.device, dtype=torch.float32)[:, None]

    scaled = logits[index].float() / column([rows[i].request.temperature for i in sampled])
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
    tokens[index] = (found if order is None else order.gather(-1, found))[:, 0]
    return tokens


@dataclass
class _Row:
    """A sample being generated; `seconds` is its share of the time of its steps."""

    request: Request
    sample: int
    n_prompt: int
    opened: bool
    output: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    seconds: float = 0.0
    stop: Literal["stop", "length"] | None = None
    yielded: bool = False
    rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.rng = self.request.rng(self.sample)

    @property
    def max_tokens(self) -> int:
        """Cached tokens at full length."""
        return self.n_prompt + self.request.max_new_tokens


def _movable(cache: Any) -> bool:
    """Whether its rows can join another cache: not with sliding windows."""
    return all(hasattr(layer, "move") for layer in cache.layers)


@dataclass
class _Batch:
    """Rows decoded together, with the mask over all columns of the cache, the positions of the
    last forward pass, and the last token of each row."""

    rows: list[_Row]
    mask: torch.Tensor
    positions: torch.Tensor
    cache: Any
    token: Any = None
    compacted: bool = False  # by the last step

    @property
    def may_join(self) -> bool:
        """Whether rows have just left and the cache can be joined."""
        return self.compacted and _movable(self.cache)

    def take_ended(self) -> list[_Row]:
        """The rows that have ended since the last call.

        They leave the batch only once there are enough to be worth moving the cache.
        """
        import torch

        ended = [row for row in self.rows if row.stop is not None and not row.yielded]
        for row in ended:
            row.yielded = True
        running = [i for i, row in enumerate(self.rows) if row.stop is None]
        self.compacted = len(running) <= COMPACT_BELOW * len(self.rows)
        if self.compacted:
            self.rows = [self.rows[i] for i in running]
            if self.rows:
                self.keep(torch.tensor(running, device=self.mask.device))
        return ended

    def keep(self, rows: torch.Tensor) -> None:
        """Keep these rows of mask, positions and cache; a row may be repeated."""
        self.mask, self.positions = self.mask[rows], self.positions[rows]
        self.token = self.token[rows]
        if not _movable(self.cache):
            self.cache.batch_select_indices(rows)
            return
        start = int(self.mask.any(0).nonzero()[0])
        self.mask, self.positions = self.mask[:, start:], self.positions[:, -1:]
        for layer in self.cache.layers:
            layer.move(rows, start)

    def joined_by(self, others: Sequence[_Batch]) -> _Batch:
        """All batches as one, with their last columns aligned.

        The other caches are released layer by layer, so that only one layer is held twice.
        """
        import torch

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
        return _Batch(rows, torch.cat(masks), positions, self.cache, tokens)
