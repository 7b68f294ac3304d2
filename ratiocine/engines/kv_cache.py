"""A KV cache that grows in place, whose rows can leave and be joined."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer

from ratiocine.engines.decoding import GROUPED, emulates_bfloat16

ROOM = 64  # spare columns of a buffer


class GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """The KV cache of a full-attention layer, with spare columns (token positions).

    A decode step writes its key and value in place; concatenation would copy the whole cache (a
    fifth to a third of a step on a CPU).
    """

    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, grouped: bool) -> None:
        super().__init__()
        self.grouped = grouped
        self.buffers: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        *args: object,
        **kwargs: object,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        # The grouped attention computes in float32 where bfloat16 is emulated.
        if self.grouped and emulates_bfloat16(key_states):
            key_states, value_states = key_states.float(), value_states.float()
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start, end = self.get_seq_length(), self.get_seq_length() + key_states.shape[-2]
        if self.buffers is None or self.buffers[0].shape[-2] < end:
            old = [(self.keys, self.values)] if start else []
            self._allocate([*old, (key_states, value_states)][:1], start or end, end + ROOM)
        assert self.buffers is not None
        for buffer, new in zip(self.buffers, (key_states, value_states), strict=True):
            buffer[:, :, start:end] = new
        self.keys, self.values = (buffer[:, :, :end] for buffer in self.buffers)
        return self.keys, self.values

    def keep(self, rows: torch.Tensor, start: int) -> None:
        """Keep these rows, and the columns from `start` on."""
        kept = self.keys[rows, :, start:], self.values[rows, :, start:]
        width = kept[0].shape[-2]
        self._allocate([kept], width, width + ROOM)

    def join(self, others: Sequence[GrowingLayer], width: int) -> None:
        """Append the rows of other caches, with the last columns aligned."""
        parts = [(layer.keys, layer.values) for layer in (self, *others)]
        self._allocate(parts, width, width + ROOM)

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
        self.keys, self.values = (buffer[:, :, :width] for buffer in buffers)


def growing_cache(config: PreTrainedConfig) -> DynamicCache:
    """An empty cache for a model, with growing full-attention layers."""
    cache, grouped = DynamicCache(config=config), config._attn_implementation == GROUPED
    cache.layers = [
        GrowingLayer(grouped) if type(layer) is DynamicLayer else layer for layer in cache.layers
    ]
    return cache


def is_joinable(cache: DynamicCache) -> bool:
    """Whether its rows can join those of another cache: not with sliding windows."""
    return all(isinstance(layer, GrowingLayer) for layer in cache.layers)
