"""What makes a decode step quick under transformers: a cache that grows in place, and, on a CPU, attention for one query row
and weights laid out for few rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

GROUPED = "ratiocine_grouped"
ROWS = 64  # rows for which packed weights are laid out


def growing_cache(config: Any) -> Any:
    """transformers' dynamic cache, its full-attention layers with room to spare: a decode step writes its one key and value
    in place, where concatenation would copy all of them (a fifth to a third of a step on a CPU). Our attention computes
    bfloat16 in float32 where a CPU has no units for it, and finds its keys and values so."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    ours = config._attn_implementation == GROUPED

    class GrowingLayer(DynamicLayer):  # type: ignore[misc]
        room: tuple[torch.Tensor, torch.Tensor] | None = None
        keys: torch.Tensor
        values: torch.Tensor

        def update(
            self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
        ) -> Any:
            if ours and _emulated(key_states):
                key_states, value_states = key_states.float(), value_states.float()
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

        def _hold(
            self, parts: Sequence[tuple[torch.Tensor, torch.Tensor]], width: int, capacity: int
        ) -> None:
            """Hold these rows below each other in new buffers of `capacity` columns, the first `width` of them filled: on
            the right by a part's columns, on the left by zeros."""
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
            self.room = buffers[0], buffers[1]
            self.keys, self.values = (buffer[:, :, :width] for buffer in buffers)

        def move(self, rows: torch.Tensor, start: int) -> None:
            """Keep these rows, and the columns from `start` on."""
            kept = self.keys[rows, :, start:], self.values[rows, :, start:]
            self._hold([kept], kept[0].shape[-2], kept[0].shape[-2] + 64)

        def join(self, others: Sequence[GrowingLayer], width: int) -> None:
            """Put the rows of other caches below, the last columns aligned."""
            self._hold([(layer.keys, layer.values) for layer in (self, *others)], width, width + 64)

    cache = DynamicCache(config=config)
    cache.layers = [
        GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers
    ]
    return cache


def pack_linears(model: Any) -> bool:
    """Lay the weights of a model on a CPU out as oneDNN wants them, once and not at every product: products of a few dozen rows
    take a third less. The model's linear layers can only be applied from then on. False where nothing was done.

    A bfloat16 model on a CPU without bfloat16 units is multiplied in float32: the products of bfloat16 numbers are exact there,
    are summed in float32 as any bfloat16 product is, and the sum is rounded to bfloat16, at five times the rate.

    The operators are those that torch's own compiler packs with; a torch without them computes as ever.
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

    def packed(layer: torch.nn.Linear) -> Any:
        weight = pack(layer.weight.detach().float(), ROWS)
        bias = None if layer.bias is None else layer.bias.detach().float()
        return lambda rows: apply(rows.float(), weight, bias, "none", [], "").to(rows.dtype)

    shared = {id(parameter) for parameter in model.get_input_embeddings().parameters()}
    for layer in model.modules():
        if type(layer) is torch.nn.Linear:
            layer.forward = packed(layer)  # type: ignore[method-assign]
            if id(layer.weight) not in shared:  # else it is still needed as the embedding
                layer.weight = torch.nn.Parameter(layer.weight.new_empty(0), requires_grad=False)
    return True


def _emulated(at: Any) -> bool:
    """Whether these are bfloat16 numbers on a CPU that has no units for them."""
    import torch

    return (
        at.dtype == torch.bfloat16
        and at.device.type == "cpu"
        and not torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


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
