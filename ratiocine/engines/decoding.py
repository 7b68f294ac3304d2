"""Fast decode steps with transformers: a KV cache that grows in place, and on a CPU attention for a
single query row and linear weights packed for few rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel

GROUPED = "ratiocine_grouped"
PACKED_ROWS = 64  # batch rows that packed weights are optimised for
ROOM = 64  # spare columns of a cache buffer


def growing_cache(config: PreTrainedConfig) -> Any:
    """transformers' dynamic cache, with spare columns in its full-attention layers.

    A decode step writes its key and value in place; concatenation would copy the whole cache (a
    fifth to a third of a step on a CPU). For the grouped attention, which computes in float32 on
    CPUs without native bfloat16 support, keys and values are stored in float32 there.
    """
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    grouped = config._attn_implementation == GROUPED

    class GrowingLayer(DynamicLayer):  # type: ignore[misc]
        buffers: tuple[torch.Tensor, torch.Tensor] | None = None
        keys: torch.Tensor
        values: torch.Tensor

        def update(
            self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
        ) -> Any:
            if grouped and _emulated(key_states):
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

        def _allocate(
            self, parts: Sequence[tuple[torch.Tensor, torch.Tensor]], width: int, capacity: int
        ) -> None:
            """Concatenate the rows of `parts` in new buffers of `capacity` columns.

            The first `width` columns are filled, each part right-aligned after zeros.
            """
            rows, (_, heads, _, _) = sum(len(keys) for keys, _ in parts), parts[0][0].shape
            buffers = []
            for which in (0, 1):
                buffer = parts[0][which].new_empty(
                    (rows, heads, capacity, parts[0][which].shape[-1])
                )
                top = 0
                for part in parts:
                    old = part[which]
                    empty = width - old.shape[-2]
                    buffer[top : top + len(old), :, :empty] = 0
                    buffer[top : top + len(old), :, empty:width] = old
                    top += len(old)
                buffers.append(buffer)
            self.buffers = buffers[0], buffers[1]
            self.keys, self.values = (buffer[:, :, :width] for buffer in buffers)

        def move(self, rows: torch.Tensor, start: int) -> None:
            """Keep these rows, and the columns from `start` on."""
            kept = self.keys[rows, :, start:], self.values[rows, :, start:]
            width = kept[0].shape[-2]
            self._allocate([kept], width, width + ROOM)

        def join(self, others: Sequence[GrowingLayer], width: int) -> None:
            """Append the rows of other caches, with the last columns aligned."""
            parts = [(layer.keys, layer.values) for layer in (self, *others)]
            self._allocate(parts, width, width + ROOM)

    cache = DynamicCache(config=config)
    cache.layers = [
        GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers
    ]
    return cache


def pack_linears(model: PreTrainedModel) -> bool:
    """Reorder the linear weights of a model on a CPU into oneDNN's layout, once instead of at every
    matmul: a third less time for a few dozen rows. Returns whether it did.

    Afterwards the linear layers can only be applied; their weights are gone. A bfloat16 model on a
    CPU without native bfloat16 support is multiplied in float32, at five times the rate: products
    of bfloat16 numbers are exact there, and the float32 sum is rounded to bfloat16 as in a native
    matmul. The operators are those of torch's compiler; without them nothing is packed.
    """
    import torch

    pack = getattr(torch.ops.mkldnn, "_reorder_linear_weight", None)
    apply = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    if (
        pack is None
        or apply is None
        or model.device.type != "cpu"
        or not (model.dtype == torch.float32 or _emulated(model))
    ):
        return False

    def packed(layer: torch.nn.Linear) -> Callable[[torch.Tensor], torch.Tensor]:
        weight = pack(layer.weight.detach().float(), PACKED_ROWS)
        bias = None if layer.bias is None else layer.bias.detach().float()
        return lambda rows: apply(rows.float(), weight, bias, "none", [], "").to(rows.dtype)

    shared = {id(parameter) for parameter in model.get_input_embeddings().parameters()}
    for layer in model.modules():
        if type(layer) is torch.nn.Linear:
            layer.forward = packed(layer)  # type: ignore[method-assign, assignment]
            if id(layer.weight) not in shared:  # a tied weight is still needed as the embedding
                layer.weight = torch.nn.Parameter(layer.weight.new_empty(0), requires_grad=False)
    return True


def _emulated(tensor: torch.Tensor | PreTrainedModel) -> bool:
    """Whether it is bfloat16 on a CPU without native bfloat16 support."""
    import torch

    return (
        tensor.dtype == torch.bfloat16
        and tensor.device.type == "cpu"
        and not torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def register_grouped_attention() -> str:
    """Register the grouped attention with transformers and return its name."""
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
    """Attention of one query row as two batched matmuls over the key-value heads; sdpa of more."""
    dtype = query.dtype
    query = query.to(key.dtype)
    if query.shape[2] > 1:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        out, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
        return out.to(dtype), None
    batch, heads, _, size = query.shape
    grouped = query.view(batch, key.shape[1], heads // key.shape[1], size)
    scores = grouped @ key.transpose(-1, -2) * scaling
    if attention_mask is not None:
        scores = scores.masked_fill(~attention_mask[:, :, :, : key.shape[2]], float("-inf"))
    return (scores.softmax(-1) @ value).reshape(batch, 1, heads, size).to(dtype), None
