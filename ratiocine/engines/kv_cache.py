"""A KV cache that grows in place, whose rows can leave and be joined."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from ratiocine.engines.grouped_attention import GROUPED

ROOM = 64  # spare columns of a buffer
ALIGNED = 64  # columns of a fixed buffer are a multiple of it, for kernels that read masks in words


class GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """The KV cache of a layer, with spare columns (token positions).

    A decode step writes its key and value in place; concatenation would copy the whole cache (a
    fifth to a third of a step on a CPU). With a sliding window a column is dropped some time after
    its last use.
    """

    keys: torch.Tensor
    """The last columns: all, or with a `window` those that the next token attends to."""
    values: torch.Tensor

    def __init__(self, grouped: bool, window: int | None = None) -> None:
        super().__init__()
        self.grouped, self.is_sliding = grouped, window is not None
        self.past = None if window is None else window - 1
        self.length = 0  # columns, dropped ones included
        self.dropped = 0
        self.buffers: tuple[torch.Tensor, torch.Tensor] | None = None
        self.column: torch.Tensor | None = None  # of the next token, in a fixed layer

    def get_seq_length(self) -> int:
        return self.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Number of keys that `update` will return, and the column of the first."""
        first = self.length - self._kept(self.length)
        return self.length + query_length - first, first

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        *args: object,
        **kwargs: object,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if self.column is not None:
            assert self.buffers is not None
            for buffer, states in zip(self.buffers, (key_states, value_states), strict=True):
                buffer.index_copy_(2, self.column, states)
            return self.buffers
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        new = key_states.shape[-2]
        _, first = self.get_mask_sizes(new)
        end = self.length - self.dropped + new
        if self.buffers is None or self.buffers[0].shape[-2] < end:
            kept = self._kept(self.length)
            old = (self.keys, self.values) if kept else self._converted(key_states, value_states)
            self._allocate([old], kept or new, kept + new + ROOM)
            self.dropped, end = self.length - kept, kept + new
        assert self.buffers is not None
        for buffer, states in zip(self.buffers, (key_states, value_states), strict=True):
            buffer[:, :, end - new : end] = states
        self.length += new
        keys, values = (buffer[:, :, first - self.dropped : end] for buffer in self.buffers)
        self.keys, self.values = keys, values
        if self.past is not None:
            start = keys.shape[-2] - self._kept(self.length)
            self.keys, self.values = keys[:, :, start:], values[:, :, start:]
        return keys, values

    def _converted(
        self, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """In the dtype of the cache: on a CPU the batched matmuls of the grouped attention are up
        to twice as fast in float32."""
        if self.grouped and keys.device.type == "cpu":
            return keys.float(), values.float()
        return keys, values

    def fix(self, column: torch.Tensor, room: int) -> int:
        """Write further tokens at `column` (1,), counted up by the caller, into buffers with `room`
        columns left, and return them whole: shapes and addresses then stay the same. Returns the
        number of columns."""
        assert self.buffers is not None
        assert not self.is_sliding
        columns = self.buffers[0].shape[-2]
        if columns < self.length + room or columns % ALIGNED:
            room += -(self.length + room) % ALIGNED
            self._allocate([(self.keys, self.values)], self.length, self.length + room)
        for buffer in self.buffers:
            buffer[:, :, self.length :] = 0  # masked, but attention multiplies them by zero
        self.column = column
        return self.buffers[0].shape[-2]

    def advance(self) -> None:
        """Count a token that was written at `column`."""
        assert self.buffers is not None
        self.length += 1
        self.keys, self.values = (buffer[:, :, : self.length] for buffer in self.buffers)

    def release(self) -> None:
        """Write further tokens after the last one again."""
        self.column = None

    def _kept(self, columns: int) -> int:
        """Of so many columns those that the next token attends to."""
        return columns if self.past is None else min(columns, self.past)

    def keep(self, rows: torch.Tensor, start: int) -> None:
        """Keep these rows, and the columns from `start` on."""
        self.length -= start
        width = self._kept(self.length)
        begin = self.keys.shape[-2] - width
        kept = self.keys[rows, :, begin:], self.values[rows, :, begin:]
        self._allocate([kept], width, width + ROOM)
        self.dropped = self.length - width

    def join(self, others: Sequence[GrowingLayer], width: int) -> None:
        """Append the rows of other caches, with the last columns aligned."""
        parts = [(layer.keys, layer.values) for layer in (self, *others)]
        self.length, kept = width, self._kept(width)
        self._allocate(parts, kept, kept + ROOM)
        self.dropped = width - kept

    def _allocate(
        self, parts: Sequence[tuple[torch.Tensor, torch.Tensor]], width: int, capacity: int
    ) -> None:
        """Concatenate the rows of `parts` in new buffers of `capacity` columns.

        The first `width` columns are filled, each part right-aligned after zeros.
        """
        rows, heads = sum(len(keys) for keys, _ in parts), parts[0][0].shape[1]
        buffers = []
        for which in (0, 1):
            size = parts[0][which].shape[-1]
            buffer = parts[0][which].new_empty((rows, heads, capacity, size))
            top = 0
            for part in parts:
                old = part[which]
                padding = width - old.shape[-2]
                buffer[top : top + len(old), :, :padding] = 0
                buffer[top : top + len(old), :, padding:width] = old
                top += len(old)
            buffers.append(buffer)
        self.buffers = buffers[0], buffers[1]
        self.column = None
        self.keys, self.values = (buffer[:, :, :width] for buffer in buffers)


def growing_cache(config: PreTrainedConfig) -> DynamicCache:
    """An empty cache for a model, with growing layers of full and of sliding attention."""
    cache, grouped = DynamicCache(config=config), config._attn_implementation == GROUPED
    for index, layer in enumerate(cache.layers):
        if type(layer) in (DynamicLayer, DynamicSlidingWindowLayer):
            window = getattr(layer, "sliding_window", None)
            cache.layers[index] = GrowingLayer(grouped, window)
    return cache


def is_joinable(cache: DynamicCache) -> bool:
    """Whether its rows can join those of another cache: not with layers of other kinds."""
    return all(isinstance(layer, GrowingLayer) for layer in cache.layers)


def fixed_layers(cache: DynamicCache) -> list[GrowingLayer] | None:
    """The layers of a cache all of whose layers can be fixed, else None."""
    layers = [layer for layer in cache.layers if isinstance(layer, GrowingLayer)]
    fixable = len(layers) == len(cache.layers) and not any(layer.is_sliding for layer in layers)
    return layers if fixable else None
