"""Faster matmuls and attention of decode steps: linear weights packed for few rows (CPU), and
attention for a single query row."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

GROUPED = "ratiocine_grouped"
PACKED_ROWS = 64  # batch rows that packed weights are optimised for


def pack_linears(model: PreTrainedModel) -> bool:
    """Reorder the linear weights of a model on a CPU into oneDNN's layout, once instead of at every
    matmul: a third less time for a few dozen rows. Returns whether it did.

    Afterwards the linear layers can only be applied; their weights, unless tied, are gone. A
    bfloat16 model on a CPU without native bfloat16 support is multiplied in float32, at five times
    the rate: products of bfloat16 numbers are exact there, and the float32 sum is rounded to
    bfloat16 as in a native matmul. The operators are those of torch's compiler; without them
    nothing is packed.
    """
    import torch

    pack = getattr(torch.ops.mkldnn, "_reorder_linear_weight", None)
    apply = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    if (
        pack is None
        or apply is None
        or model.device.type != "cpu"
        or model.dtype not in (torch.float32, torch.bfloat16)
    ):
        return False
    dtype = torch.float32 if emulates_bfloat16(model) else model.dtype

    def packed(layer: torch.nn.Linear) -> Callable[[torch.Tensor], torch.Tensor]:
        weight = pack(layer.weight.detach().to(dtype), PACKED_ROWS)
        bias = None if layer.bias is None else layer.bias.detach().to(dtype)
        return lambda rows: apply(rows.to(dtype), weight, bias, "none", [], "").to(rows.dtype)

    shared = {id(parameter) for parameter in model.get_input_embeddings().parameters()}
    for layer in model.modules():
        if type(layer) is torch.nn.Linear:
            layer.forward = packed(layer)  # type: ignore[method-assign, assignment]
            if id(layer.weight) not in shared:  # a tied weight is still needed as the embedding
                layer.weight = torch.nn.Parameter(layer.weight.new_empty(0), requires_grad=False)
    return True


def emulates_bfloat16(tensor: torch.Tensor | PreTrainedModel) -> bool:
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
    """Attention of one query row over the key-value heads, on a CPU as two batched matmuls; sdpa of
    more."""
    import torch

    dtype = query.dtype
    query = query.to(key.dtype)  # of the cache
    if query.shape[2] > 1:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        out, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
        return out.to(dtype), None
    batch, heads, _, size = query.shape
    grouped = query.view(batch, key.shape[1], heads // key.shape[1], size)
    if query.device.type != "cpu":  # the heads of a group as queries: keys are not repeated
        out = torch.nn.functional.scaled_dot_product_attention(
            grouped, key, value, attn_mask=attention_mask, scale=scaling
        )
        return out.reshape(batch, 1, heads, size), None
    scores = grouped @ key.transpose(-1, -2) * scaling
    if attention_mask is not None:
        scores = scores.masked_fill(~attention_mask[:, :, :, : key.shape[2]], float("-inf"))
    return (scores.softmax(-1) @ value).reshape(batch, 1, heads, size).to(dtype), None
