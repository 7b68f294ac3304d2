"""Attention of decode steps: of a single query row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

GROUPED = "ratiocine_grouped"


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
    if attention_mask is None:
        attention_mask = key.new_zeros((batch, 1, 1, key.shape[2]))
    if attention_mask.dtype == torch.bool:
        attention_mask = additive_mask(attention_mask)
    scores = torch.baddbmm(
        attention_mask.to(key.dtype).expand(-1, key.shape[1], -1, -1).flatten(0, 1),
        grouped.flatten(0, 1),
        key.flatten(0, 1).transpose(1, 2),
        alpha=scaling,
    )
    out = torch.bmm(scores.softmax(-1), value.flatten(0, 1))
    return out.view(batch, 1, heads, size).to(dtype), None


def additive_mask(mask: torch.Tensor) -> torch.Tensor:
    """A boolean mask as float32 summands of scores."""
    import torch

    return torch.zeros(mask.shape, device=mask.device).masked_fill_(~mask, float("-inf"))
