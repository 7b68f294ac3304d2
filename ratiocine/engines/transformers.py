"""The transformers engine: greedy continuation in batches, on any device transformers runs on.

Four things make it faster than `generate` and leave the distribution alone: rows that have ended leave the batch and waiting
ones join it, prompts of like length are read together, the cache grows in place, and a decode step on a CPU attends with two
batched matmuls over the grouped heads instead of scaled_dot_product_attention with one query row.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ratiocine.traces import Trace

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

GROUPED = "ratiocine_grouped"
LEFT = 0.8  # share of a batch still going at which its ended rows are taken out: moving the cache costs about one step


@dataclass(frozen=True)
class Request:
    """Continue `token_ids` (prompt and any prefix) by at most `budget` tokens."""

    id: str
    token_ids: tuple[int, ...]
    budget: int

    @property
    def reach(self) -> int:
        """The most tokens it can come to hold."""
        return len(self.token_ids) + self.budget


class TransformersEngine:
    """`continue_` over a loaded model. At most `batch` rows are decoded together, and as many as can grow to their full
    budgets within `tokens` cached tokens (but always one)."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        stop_id: int,
        *,
        batch: int = 128,
        tokens: int = 1 << 16,
        attention: str = "auto",
    ) -> None:
        self.model, self.tokenizer, self.stop_id = model, tokenizer, stop_id
        self.batch, self.tokens = batch, tokens
        if attention == "auto":
            attention = register_grouped_attention() if model.device.type == "cpu" else "sdpa"
        model.set_attn_implementation(attention)
        model.eval()

    def continue_(self, requests: Sequence[Request]) -> Iterator[list[Trace]]:
        """Traces of all requests, some at a time as they end. The longest come first, so that a batch that does not fit in
        memory fails at once."""
        import torch

        waiting = deque(sorted(requests, key=lambda r: (-r.budget, -len(r.token_ids), r.id)))
        batch: _Batch | None = None
        while waiting or batch is not None:
            with torch.inference_mode():
                joining = self._joining(waiting, batch)
                if joining:
                    batch = self._read(joining, batch)
                else:
                    assert batch is not None
                    self._step(batch)
                ended = batch.take_ended(self.stop_id)
            if ended:
                yield [self._trace(row) for row in ended]
            if not batch.rows:
                batch = None

    def _joining(self, waiting: deque[Request], batch: _Batch | None) -> list[Request]:
        """The next waiting requests for which there is room."""
        if batch is not None and not batch.may_join:
            return []
        rows = [] if batch is None else batch.rows
        free, taken = self.batch - len(rows), sum(row.request.reach for row in rows)
        joining: list[Request] = []
        while waiting and len(joining) < free and (taken + waiting[0].reach <= self.tokens or not (rows or joining)):
            joining.append(waiting.popleft())
            taken += joining[-1].reach
        return joining

    def _read(self, requests: Sequence[Request], batch: _Batch | None) -> _Batch:
        """Prefill: one forward pass over left-padded prompts, the first token of each, and the rows as part of `batch`."""
        import torch

        started = time.perf_counter()
        device, width = self.model.device, max(len(r.token_ids) for r in requests)
        ids = torch.full((len(requests), width), self.stop_id)
        mask = torch.zeros((len(requests), width), dtype=torch.long)
        for row, request in enumerate(requests):
            ids[row, width - len(request.token_ids) :] = torch.tensor(request.token_ids)
            mask[row, width - len(request.token_ids) :] = 1
        mask = mask.to(device)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        new = _Batch([_Row(request) for request in requests], mask, positions, growing_cache(self.model.config))
        new.append(self._forward(new, ids.to(device)), started)
        return new if batch is None else batch.joined_by(new)

    def _step(self, batch: _Batch) -> None:
        import torch

        started = time.perf_counter()
        batch.mask = torch.cat([batch.mask, batch.mask.new_ones(len(batch.mask), 1)], dim=-1)
        batch.positions = batch.positions[:, -1:] + 1
        batch.append(self._forward(batch, batch.token[:, None]), started)

    def _forward(self, batch: _Batch, ids: torch.Tensor) -> torch.Tensor:
        """The most likely next token of every row."""
        return self.model(
            input_ids=ids, attention_mask=batch.mask, position_ids=batch.positions, past_key_values=batch.cache,
            logits_to_keep=1,
        ).logits[:, -1].argmax(-1)  # fmt: skip

    def _trace(self, row: _Row) -> Trace:
        ids = row.output
        stopped = ids[-1] == self.stop_id
        text = self.tokenizer.decode(ids[:-1] if stopped else ids, skip_special_tokens=False)
        n_prompt = len(row.request.token_ids)
        return Trace(row.request.id, text, "stop" if stopped else "length", tuple(ids), n_prompt, round(row.seconds, 4))


@dataclass
class _Row:
    """A request under way; `seconds` is its share of the time of the steps it took part in."""

    request: Request
    output: list[int] = field(default_factory=list)
    seconds: float = 0.0
    ended: bool = False


@dataclass
class _Batch:
    """Rows decoded together: the mask over all columns of the cache, positions of the last forward pass, and the last token."""

    rows: list[_Row]
    mask: torch.Tensor
    positions: torch.Tensor
    cache: Any
    token: Any = None
    room: bool = False  # its ended rows have just been taken out

    def append(self, token: torch.Tensor, started: float) -> None:
        self.token = token
        seconds = (time.perf_counter() - started) / len(self.rows)
        for row, value in zip(self.rows, token.tolist(), strict=True):
            if not row.ended:
                row.output.append(value)
                row.seconds += seconds

    @property
    def may_join(self) -> bool:
        """Whether rows have just left, and its cache can be put beside another (one with sliding windows cannot)."""
        return self.room and all(hasattr(layer, "move") for layer in self.cache.layers)

    def take_ended(self, stop_id: int) -> list[_Row]:
        """Take out the rows that have ended, once they are enough to be worth it."""
        import torch

        for row in self.rows:
            row.ended = row.output[-1] == stop_id or len(row.output) >= row.request.budget
        going = [i for i, row in enumerate(self.rows) if not row.ended]
        self.room = False
        if len(going) > LEFT * len(self.rows):
            return []
        ended = [row for row in self.rows if row.ended]
        self.rows = [self.rows[i] for i in going]
        self.room = True
        if self.rows:
            self._keep(torch.tensor(going, device=self.mask.device))
        return ended

    def _keep(self, rows: torch.Tensor) -> None:
        self.mask, self.positions, self.token = self.mask[rows], self.positions[rows], self.token[rows]
        if not self.may_join:
            self.cache.batch_select_indices(rows)
            return
        start = int(self.mask.any(0).nonzero()[0])
        self.mask = self.mask[:, start:]
        for layer in self.cache.layers:
            layer.move(rows, start)

    def joined_by(self, new: _Batch) -> _Batch:
        """Both batches as one, their last columns aligned."""
        import torch

        width = max(self.mask.shape[1], new.mask.shape[1])
        masks = [torch.nn.functional.pad(m, (width - m.shape[1], 0)) for m in (self.mask, new.mask)]
        for layer, other in zip(self.cache.layers, new.cache.layers, strict=True):
            layer.join(other, width)
        positions = torch.cat([self.positions[:, -1:], new.positions[:, -1:]])
        return _Batch(self.rows + new.rows, torch.cat(masks), positions, self.cache, torch.cat([self.token, new.token]))


def growing_cache(config: Any) -> Any:
    """transformers' dynamic cache, its full-attention layers with room to spare: a decode step writes its one key and value
    in place, where concatenation would copy all of them (a fifth to a third of a step on a CPU)."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    class GrowingLayer(DynamicLayer):  # type: ignore[misc]
        room: tuple[torch.Tensor, torch.Tensor] | None = None
        keys: torch.Tensor
        values: torch.Tensor

        def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            if not self.is_initialized:
                self.lazy_initialization(key_states, value_states)
            start, end = self.get_seq_length(), self.get_seq_length() + key_states.shape[-2]
            if self.room is None or self.room[0].shape[-2] < end:
                held = [(self.keys, self.values)] if start else []
                self._hold([*held, (key_states, value_states)][:1], start or end, end + 64)
            assert self.room is not None
            for buffer, new in zip(self.room, (key_states, value_states), strict=True):
                buffer[:, :, start:end] = new
            self.keys, self.values = (buffer[:, :, :end] for buffer in self.room)
            return self.keys, self.values

        def _hold(self, parts: Sequence[tuple[torch.Tensor, torch.Tensor]], width: int, capacity: int) -> None:
            """Hold these rows below each other in new buffers of `capacity` columns, the first `width` of them filled: on
            the right by a part's columns, on the left by zeros."""
            rows, (_, heads, _, _) = sum(len(keys) for keys, _ in parts), parts[0][0].shape
            buffers = []
            for which in (0, 1):
                buffer = parts[0][which].new_empty((rows, heads, capacity, parts[0][which].shape[-1]))
                top = 0
                for part in parts:
                    old = part[which]
                    empty = width - old.shape[-2]
                    buffer[top : top + len(old), :, :empty] = 0
                    buffer[top : top + len(old), :, empty:width] = old
                    top += len(old)
                buffers.append(buffer)
            self.room = buffers[0], buffers[1]
            self.keys, self.values = (buffer[:, :, :width] for buffer in buffers)

        def move(self, rows: torch.Tensor, start: int) -> None:
            """Keep these rows, and the columns from `start` on."""
            kept = self.keys[rows, :, start:], self.values[rows, :, start:]
            self._hold([kept], kept[0].shape[-2], kept[0].shape[-2] + 64)

        def join(self, other: GrowingLayer, width: int) -> None:
            """Put the rows of another cache below, the last columns aligned."""
            self._hold([(self.keys, self.values), (other.keys, other.values)], width, width + 64)

    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def register_grouped_attention() -> str:
    """Make the grouped decode attention known to transformers and return its name."""
    from transformers import AttentionInterface
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface

    AttentionInterface.register(GROUPED, _grouped_attention)
    AttentionMaskInterface.register(GROUPED, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
    return GROUPED


def _grouped_attention(
    module: torch.nn.Module,
    query: torch.Tensor,  # batch, heads, queries, head size
    key: torch.Tensor,  # batch, key-value heads, keys, head size
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention with one query row as two batched matmuls over the key-value heads; more rows go to sdpa."""
    if query.shape[2] > 1:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    batch, heads, _, size = query.shape
    grouped = query.view(batch, key.shape[1], heads // key.shape[1], size)
    scores = grouped @ key.transpose(-1, -2) * scaling
    if attention_mask is not None:
        scores = scores.masked_fill(~attention_mask[:, :, :, : key.shape[2]], float("-inf"))
    return (scores.softmax(-1) @ value).reshape(batch, 1, heads, size), None
