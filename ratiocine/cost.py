"""What a run costs in floating-point operations, by the form of the published study (arXiv 2509.22193, appendix D, after
Hoffmann et al. 2022): embeddings counted as a matrix product, full multi-head projections, two feed-forward matrices. It
overstates grouped-query attention and understates gated feed-forwards, and is used because results compare across papers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Shape:
    """Dimensions of a decoder: vocabulary, model width, feed-forward width, attention heads, layers."""

    vocab: int
    width: int
    ff: int
    heads: int
    layers: int

    @staticmethod
    def of(config: Any) -> Shape:
        """From a transformers configuration."""
        text = config.get_text_config()
        return Shape(
            text.vocab_size, text.hidden_size, text.intermediate_size, text.num_attention_heads, text.num_hidden_layers
        )


def forward(s: Shape, length: int) -> int:
    """FLOPs of one forward pass over `length` tokens, logits at every position (eq. 1)."""
    return 2 * length * s.vocab * s.width + _layers(s, length) + 2 * length * s.width * s.vocab


def training(s: Shape, length: int) -> int:
    """FLOPs of forward and backward over one sequence (eq. 2)."""
    return 3 * forward(s, length)


def prefill(s: Shape, length: int) -> int:
    """FLOPs of reading a prompt, logits at its last position (eq. 4)."""
    return 2 * length * s.width * s.vocab + _layers(s, length) + 2 * s.width * s.vocab


def decode_step(s: Shape, context: int) -> int:
    """FLOPs of one cached token after `context` tokens (eq. 5)."""
    attention = 6 * s.width**2 + 4 * context * s.width + 3 * context * s.heads + 2 * s.width**2
    return 2 * s.width * s.vocab + s.layers * (attention + 4 * s.width * s.ff) + 2 * s.width * s.vocab


def generation(s: Shape, prompt: int, generated: int) -> int:
    """FLOPs of a prompt and its completion (eq. 6: the prefill and then one cached step for each generated token)."""
    return prefill(s, prompt) + sum(decode_step(s, prompt + i) for i in range(1, generated + 1))


def _layers(s: Shape, length: int) -> int:
    attention = 6 * length * s.width**2 + 4 * length**2 * s.width + 3 * length**2 * s.heads + 2 * length * s.width**2
    return s.layers * (attention + 4 * length * s.width * s.ff)
