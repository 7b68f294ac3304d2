"""Decoder layers of fewer operations, with packed weights (CPU)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

PACKED_ROWS = 64  # batch rows that packed weights are optimised for
FUSED = ("LlamaDecoderLayer", "MistralDecoderLayer", "Qwen2DecoderLayer", "Qwen3DecoderLayer")


class PackedLinear:
    """A linear layer, or several of the same input side by side, computed in `dtype`."""

    def __init__(self, dtype: torch.dtype, *layers: torch.nn.Linear) -> None:
        import torch

        weight = torch.cat([layer.weight.detach() for layer in layers]).to(dtype)
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight, PACKED_ROWS)
        biases = [layer.bias.detach().to(dtype) for layer in layers if layer.bias is not None]
        self.bias = torch.cat(biases) if biases else None
        self.dtype = dtype
        self.apply: Any = torch.ops.mkldnn._linear_pointwise

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        inputs = rows.to(self.dtype), self.weight, self.bias
        return self.apply(*inputs, "none", [], "").to(rows.dtype)

    def plus(self, rows: torch.Tensor, summand: torch.Tensor) -> torch.Tensor:
        """The sum of the result and `summand`, rounded once."""
        inputs = rows.to(self.dtype), summand.to(self.dtype)
        return self.apply.binary(*inputs, self.weight, self.bias, "add").to(rows.dtype)


class FusedLayer:
    """The forward pass of a decoder layer of Llama's form (RMSNorm, rotary positions, SwiGLU), with
    biases or norms of queries and keys where the model has them.

    Queries, keys and values are one matmul, as are gate and up; residual sums are computed by the
    matmuls before them. In bfloat16 norms and sums are rounded once instead of twice.
    """

    def __init__(self, dtype: torch.dtype, layer: Any) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.attention = attention
        self.size = attention.head_dim
        self.heads = attention.config.num_attention_heads
        self.turned = self.heads + attention.config.num_key_value_heads  # by their positions
        self.qkv = PackedLinear(dtype, attention.q_proj, attention.k_proj, attention.v_proj)
        self.out = PackedLinear(dtype, attention.o_proj)
        self.gate_up = PackedLinear(dtype, mlp.gate_proj, mlp.up_proj)
        self.down = PackedLinear(dtype, mlp.down_proj)
        self.norms = layer.input_layernorm, layer.post_attention_layernorm
        self.head_norms = [getattr(attention, name, None) for name in ("q_norm", "k_norm")]

    @staticmethod
    def fits(layer: torch.nn.Module) -> bool:
        """Whether it computes what `layer` does."""
        known: Any = layer
        return type(layer).__name__ in FUSED and known.self_attn.config.hidden_act == "silu"

    def __call__(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Any = None,
        use_cache: bool | None = None,
        position_embeddings: tuple[torch.Tensor, torch.Tensor] | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        import torch

        assert position_embeddings is not None
        rows, attention = hidden_states.flatten(0, 1), self.attention
        heads = self.qkv(_rms_norm(rows, self.norms[0])).view(
            *hidden_states.shape[:2], -1, self.size
        )
        turned = _rotated(self._normed(heads[:, :, : self.turned]), *position_embeddings)
        query = turned[:, :, : self.heads].transpose(1, 2)
        key = turned[:, :, self.heads :].transpose(1, 2)
        value = heads[:, :, self.turned :].transpose(1, 2)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, attention.layer_idx)
        attended, _ = _attention_function(attention)(
            attention, query, key, value, attention_mask, scaling=attention.scaling, **kwargs
        )
        rows = self.out.plus(attended.reshape(len(rows), -1), rows)
        gate, up = self.gate_up(_rms_norm(rows, self.norms[1])).chunk(2, -1)
        gated = torch.nn.functional.silu(gate).mul_(up)
        return self.down.plus(gated, rows).view(hidden_states.shape)

    def _normed(self, heads: torch.Tensor) -> torch.Tensor:
        """Queries and keys, (batch, queries, heads, head size), after their norms if any."""
        import torch

        query_norm, key_norm = self.head_norms
        if query_norm is None:
            return heads
        queries, keys = heads[:, :, : self.heads], heads[:, :, self.heads :]
        return torch.cat([_rms_norm(queries, query_norm), _rms_norm(keys, key_norm)], 2)


def _rotated(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary positions (Su et al. 2021, equation 34, halves of a head as its pairs)."""
    import torch

    half = heads.shape[-1] // 2
    crossed = torch.cat((-heads[..., half:], heads[..., :half]), -1)
    return torch.addcmul(heads * cos.unsqueeze(2), crossed, sin.unsqueeze(2))


def _rms_norm(rows: torch.Tensor, norm: Any) -> torch.Tensor:
    import torch

    weight = norm.weight
    return torch.nn.functional.rms_norm(rows, weight.shape, weight, norm.variance_epsilon)


def _attention_function(attention: Any) -> Callable[..., tuple[torch.Tensor, object]]:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    eager = sys.modules[type(attention).__module__].eager_attention_forward
    name = attention.config._attn_implementation
    return ALL_ATTENTION_FUNCTIONS.get_interface(name, eager)
