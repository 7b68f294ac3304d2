"""What a run costs in floating-point operations, in two forms.

`forward`, `training`, `prefill`, `decode_step` and `generation` are the published study's (arXiv 2509.22193, appendix D, after
Hoffmann et al. 2022): embeddings counted as a matrix product, full multi-head projections, two feed-forward matrices. They
overstate grouped-query attention and understate gated feed-forwards, and are used because results compare across papers.

`exact_*` count the matrix products that the model needs: key-value heads as they are, a gated feed-forward's three matrices, no
product for an embedding that is looked up, and a query's products with the keys before it only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Shape:
    """Dimensions of a decoder: vocabulary, model width, feed-forward width, attention heads, layers, key-value heads, the size
    of a head, and whether the feed-forward is gated (three matrices, not two)."""

    vocab: int
    width: int
    ff: int
    heads: int
    layers: int
    kv_heads: int
    head: int
    gated: bool = True

    @staticmethod
    def of(config: Any) -> Shape:
        """From a transformers configuration. Feed-forwards are taken as gated, as in every family of conf/model."""
        text = config.get_text_config()
        heads = text.num_attention_heads
        return Shape(
            text.vocab_size,
            text.hidden_size,
            text.intermediate_size,
            heads,
            text.num_hidden_layers,
            getattr(text, "num_key_value_heads", None) or heads,
            getattr(text, "head_dim", None) or text.hidden_size // heads,
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
    return (
        2 * s.width * s.vocab + s.layers * (attention + 4 * s.width * s.ff) + 2 * s.width * s.vocab
    )


def generation(s: Shape, prompt: int, generated: int) -> int:
    """FLOPs of a prompt and its completion (eq. 6: the prefill and then one cached step for each generated token)."""
    return prefill(s, prompt) + sum(decode_step(s, prompt + i) for i in range(1, generated + 1))


def exact_forward(s: Shape, start: int, end: int, logits: int) -> int:
    """FLOPs of the matrix products for the tokens at positions `start` … `end` − 1 behind a cache of `start` tokens, with
    logits at `logits` of them."""
    n = end - start
    attended = (start + 1 + end) * n // 2  # keys that the queries see, summed
    projections = 2 * s.width * s.head * (2 * s.heads + 2 * s.kv_heads)
    feed_forward = (3 if s.gated else 2) * 2 * s.width * s.ff
    return (
        s.layers * (n * (projections + feed_forward) + 4 * s.heads * s.head * attended)
        + logits * 2 * s.width * s.vocab
    )


def exact_generation(s: Shape, prompt: int, generated: int) -> int:
    """FLOPs of reading a prompt and writing `generated` tokens; the last token written is not read."""
    return exact_forward(s, 0, prompt + max(0, generated - 1), max(1, generated))


def exact_training(s: Shape, length: int, supervised: int, *, frozen: bool = False) -> int:
    """FLOPs of forward and backward (twice the forward) over one sequence with logits where there are labels. Of
    `frozen` weights, as beside adapters, only the products that carry gradients on are needed."""
    return (2 if frozen else 3) * exact_forward(s, 0, length, supervised)


def _layers(s: Shape, length: int) -> int:
    attention = (
        6 * length * s.width**2
        + 4 * length**2 * s.width
        + 3 * length**2 * s.heads
        + 2 * length * s.width**2
    )
    return s.layers * (attention + 4 * length * s.width * s.ff)
