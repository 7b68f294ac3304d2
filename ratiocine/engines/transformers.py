"""The transformers engine: continuous batching on any device of transformers.

Faster than `generate`, with the same distribution:
- ended rows leave the batch and waiting requests join it;
- prompts of similar length are prefilled together, once for all samples of a request, and what
  they all begin with once for all of them;
- the KV cache grows in place;
- a decode step on a CPU computes attention as two batched matmuls over the grouped heads, since
  scaled_dot_product_attention is slow for a single query row;
- a decode step on a GPU is replayed as a CUDA graph (`recorded_step`);
- on a CPU, linear weights are packed for few rows and decoder layers fused
  (`packing.pack_linears`, called by the loader).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from ratiocine import models
from ratiocine.completion_parts import OPEN, after_thinking
from ratiocine.engines.config import TransformersConfig
from ratiocine.engines.decode_batch import DecodeBatch, Row, next_tokens
from ratiocine.engines.grouped_attention import GROUPED, additive_mask, register_grouped_attention
from ratiocine.engines.interface import Feed, Request, within_context
from ratiocine.engines.kv_cache import fixed_layers, growing_cache, is_joinable
from ratiocine.engines.recorded_step import StepRecorder
from ratiocine.hashing import batched
from ratiocine.prompts import opens_thinking, prompt_ids, prompt_text
from ratiocine.records import Completion

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# A prompt shorter than this fraction of the longest has its own prefill: padding costs as much as
# tokens.
SIMILAR_LENGTH = 7 / 8
SHARED_TOKENS = 64  # a shorter common beginning of prompts is computed for each of them


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
        """Tokens cached if all its rows reach `max_new_tokens`."""
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
        stop_ids: Sequence[int],
        config: TransformersConfig = TransformersConfig(),  # noqa: B008  (frozen)
    ) -> None:
        self.name = "transformers"
        self.model, self.tokenizer, self.stop_ids = model, tokenizer, stop_ids
        self.max_batch_size = config.max_batch_size
        self.max_cache_tokens = config.max_cache_tokens
        self.context = models.context_length(model.config)
        attention: str = config.attention
        if attention == "auto":
            attention = _attention(model)
        model.set_attn_implementation(attention)
        model.eval()
        cache = growing_cache(model.config)
        self.joinable = is_joinable(cache)
        self.is_uniform = fixed_layers(cache) is not None
        # Of a decode step, for all layers: without it the model makes masks of its own.
        self.has_one_mask = self.is_uniform and attention == GROUPED and model.device.type == "cpu"
        self.recorder = StepRecorder(model, enabled=not config.enforce_eager)

    def generate(self, requests: Iterable[Request]) -> Iterator[list[Completion]]:
        """Completions of all requests, in lists as they end.

        The longest requests start first, so that a batch too large for the memory fails at once.
        """
        waiting = deque[_Prompted]()
        yield from self._read(requests, waiting)
        batch: DecodeBatch | None = None
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
                if isinstance(requests, Feed):
                    yield from self._read(requests, waiting)
            if not batch.rows:
                batch = None

    def _read(
        self, requests: Iterable[Request], waiting: deque[_Prompted]
    ) -> Iterator[list[Completion]]:
        """Add requests to those waiting; completions of those that the context refuses."""
        new = list[_Prompted]()
        for asked in requests:
            prompt = prompt_ids(self.tokenizer, asked.messages, asked.prefix, asked.thinking)
            request = within_context(asked, len(prompt), self.context)
            if isinstance(request, list):
                yield request
            else:
                new += self._prompted(request, tuple(prompt))
        if new:
            ordered = sorted(
                [*waiting, *new],
                key=lambda p: (-p.request.max_new_tokens, -len(p.prompt), p.request.id),
            )
            waiting.clear()
            waiting.extend(ordered)

    def _prompted(self, request: Request, prompt: tuple[int, ...]) -> Iterator[_Prompted]:
        """The request with its prompt, in parts if it has more samples than a batch has rows."""
        opened = opens_thinking(prompt_text(self.tokenizer, request.messages, request.thinking))
        for part in batched(request.samples, self.max_batch_size):
            yield _Prompted(replace(request, samples=tuple(part)), prompt, opened)

    def _joining(self, waiting: deque[_Prompted], batch: DecodeBatch | None) -> list[_Prompted]:
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

    def _admit(self, joining: Sequence[_Prompted], batch: DecodeBatch | None) -> DecodeBatch:
        """Prefill requests, prompts of similar length together, and add their rows to `batch`."""
        groups: list[list[_Prompted]] = []
        for one in sorted(joining, key=lambda one: -len(one.prompt)):
            similar = groups and len(one.prompt) >= SIMILAR_LENGTH * len(groups[-1][0].prompt)
            if similar or (groups and not self.joinable):
                groups[-1].append(one)
            else:
                groups.append([one])
        batches = [] if batch is None else [batch]
        batches += [self._prefill(group) for group in groups]
        return batches[0].joined_by(batches[1:]) if len(batches) > 1 else batches[0]

    def _prefill(self, group: Sequence[_Prompted]) -> DecodeBatch:
        """One forward pass over left-padded prompts, and the first token of each row. What they all
        begin with, as few-shot examples, has a pass of its own, of one row."""
        started = time.perf_counter()
        device, shared = self.model.device, self._shared(group)
        width = max(len(one.prompt) for one in group) - shared
        ids = torch.full((len(group), width), self.stop_ids[0])
        mask = torch.zeros((len(group), shared + width), dtype=torch.long)
        mask[:, :shared] = 1
        for row, one in enumerate(group):
            rest = one.prompt[shared:]
            ids[row, width - len(rest) :] = torch.tensor(rest)
            mask[row, shared + width - len(rest) :] = 1
        mask = mask.to(device)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        cache = growing_cache(self.model.config)
        if shared:
            head = DecodeBatch([], mask[:1, :shared], positions[:1, :shared], cache)
            self._forward(head, torch.tensor([group[0].prompt[:shared]], device=device), head.mask)
            for layer in cache.layers:
                layer.keep(torch.zeros(len(group), dtype=torch.long, device=device), 0)
        new = DecodeBatch([], mask, positions[:, shared:], cache)
        logits = self._forward(new, ids.to(device), mask)
        new.rows = [
            Row(one.request, sample, len(one.prompt), one.opened)
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

    def _shared(self, group: Sequence[_Prompted]) -> int:
        """Tokens with which all prompts begin, 0 if they are too few to save time. A sliding window
        would count the padding after them."""
        if len(group) == 1 or not self.is_uniform:
            return 0
        prompts = [one.prompt for one in group]
        first, last = min(prompts), max(prompts)  # what these two share all share
        pairs = enumerate(zip(first, last, strict=False))
        n = next((i for i, (a, b) in pairs if a != b), min(len(first), len(last)))
        n = min(n, *(len(prompt) - 1 for prompt in prompts))
        return n if n >= SHARED_TOKENS else 0

    def _step(self, batch: DecodeBatch) -> None:
        started = time.perf_counter()
        batch.mask = torch.cat([batch.mask, batch.mask.new_ones(len(batch.mask), 1)], dim=-1)
        batch.positions = batch.positions[:, -1:] + 1
        if batch.recorded is None or batch.recorded.full:
            batch.recorded = self.recorder.record(
                batch.mask, batch.positions, batch.cache, batch.steps_left
            )
        if batch.recorded is None:
            mask = batch.mask
            if self.has_one_mask:
                mask = additive_mask(mask[:, None, None].bool())
            logits = self._forward(batch, batch.token[:, None], mask)
        else:
            logits = batch.recorded(batch.token)
        self._append(batch, logits, started)

    def _forward(self, batch: DecodeBatch, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The logits of every row's next token."""
        return self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=batch.positions,
            past_key_values=batch.cache,
            logits_to_keep=1,
        ).logits[:, -1]

    def _append(self, batch: DecodeBatch, logits: torch.Tensor, started: float) -> None:
        """Choose the next token of every row and record it."""
        batch.token = next_tokens(logits, batch.rows)
        margins: list[float] | None = None
        if any(row.request.ranked for row in batch.rows):
            first, second = logits.topk(2).values.float().unbind(-1)
            total = logits.float().logsumexp(-1)
            margins = ((first - total).exp() - (second - total).exp()).tolist()
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
                if margins is not None:
                    row.margins.append(round(margins[index], 5))
                self._end(row)

    def _end(self, row: Row) -> None:
        """Set the stop reason of a row that has ended."""
        stopped = row.request.stop and self._stop_position(row) is not None
        if row.output[-1] in self.stop_ids or stopped:
            row.stop = "stop"
        elif len(row.output) >= row.request.max_new_tokens:
            row.stop = "length"

    def _text(self, row: Row) -> str:
        ids = row.output[:-1] if row.output[-1] in self.stop_ids else row.output
        return self.tokenizer.decode(ids, skip_special_tokens=False)

    def _stop_position(self, row: Row) -> int | None:
        """The index in its text of the first stop string after the reasoning."""
        prefix = OPEN * row.opened + row.request.prefix
        at = after_thinking(prefix + self._text(row), row.request.stop)
        return None if at is None else max(0, at - len(prefix))

    def _completion(self, row: Row) -> Completion:
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
            margins=tuple(row.margins) if row.request.ranked else None,
        )


def _attention(model: PreTrainedModel) -> str:
    """The implementation that `auto` stands for. A model that refuses sdpa has more in its
    attention, such as sinks, which the grouped one would leave out."""
    if not model._supports_sdpa:
        return "eager"
    grouped = model.device.type in ("cpu", "cuda")
    return register_grouped_attention() if grouped else "sdpa"
