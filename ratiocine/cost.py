"""Compute cost in floating-point operations (FLOPs), in two forms.

`forward`, `training`, `prefill`, `decode_step` and `generation` are those of arXiv 2509.22193,
appendix D (after Hoffmann et al. 2022), for comparison across papers: embeddings counted as a
matmul, full multi-head projections, two feed-forward matrices. They overstate grouped-query
attention and understate gated feed-forwards.

`exact_*` count the matmuls that the model needs: its number of key-value heads, three matrices of
a gated feed-forward, none for an embedding lookup, and causal attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import numpy as np

N = TypeVar("N", int, "np.ndarray")
"""A number of tokens, or those of many completions."""


@dataclass(frozen=True)
class Shape:
    """Dimensions of a decoder."""

    vocab: int
    width: int
    """Hidden size."""
    ff: int
    """Intermediate size of the feed-forward."""
    heads: int
    """Attention heads."""
    layers: int
    kv_heads: int
    """Key-value heads."""
    head: int
    """Size of a head."""
    gated: bool = True
    """Whether the feed-forward is gated: three matrices instead of two."""

    @staticmethod
    def of(config: Any) -> Shape:
        """From a transformers configuration; the feed-forward counts as gated, as in all of
        conf/model."""
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


def prefill(s: Shape, length: N) -> N:
    """FLOPs of a prompt, logits at its last position (eq. 4)."""
    return 2 * length * s.width * s.vocab + _layers(s, length) + 2 * s.width * s.vocab


def decode_step(s: Shape, context: N) -> N:
    """FLOPs of generating one token after `context` tokens (eq. 5)."""
    attention = 6 * s.width**2 + 4 * context * s.width + 3 * context * s.heads + 2 * s.width**2
    return (
        2 * s.width * s.vocab + s.layers * (attention + 4 * s.width * s.ff) + 2 * s.width * s.vocab
    )


def generation(s: Shape, prompt: N, generated: N) -> N:
    """FLOPs of a prompt and its completion (eq. 6): prefill, then a cached step for each token; of
    many, in arrays, at once.

    In closed form: a step is linear in its context."""
    first = decode_step(s, 0)
    contexts = generated * prompt + generated * (generated + 1) // 2
    return prefill(s, prompt) + generated * first + (decode_step(s, 1) - first) * contexts


def exact_forward(s: Shape, start: int, end: N, logits: N) -> N:
    """FLOPs of the tokens at positions `start` to `end` - 1 after a cache of `start` tokens, with
    logits at `logits` of them."""
    n = end - start
    attended = (start + 1 + end) * n // 2  # keys over all queries
    projections = 2 * s.width * s.head * (2 * s.heads + 2 * s.kv_heads)
    feed_forward = (3 if s.gated else 2) * 2 * s.width * s.ff
    return (
        s.layers * (n * (projections + feed_forward) + 4 * s.heads * s.head * attended)
        + logits * 2 * s.width * s.vocab
    )


def exact_generation(s: Shape, prompt: N, generated: N) -> N:
    """FLOPs of a prompt and `generated` tokens, the last of which is not read again; of many, in
    arrays, at once."""
    end = prompt + generated - (generated > 0)
    return exact_forward(s, 0, end, generated + (generated == 0))


def generations(s: Shape, prompt: int, generated: Sequence[int], *, exact: bool = True) -> int:
    """FLOPs of several completions of one prompt, which is read once; by the formulas of arXiv
    2509.22193 unless `exact`."""
    formula = exact_generation if exact else generation
    again = (len(generated) - 1) * formula(s, prompt, 0)
    return sum(formula(s, prompt, n) for n in generated) - again


def exact_training(s: Shape, length: int, supervised: int, *, frozen: bool = False) -> int:
    """FLOPs of forward and backward (twice the forward) over one sequence, with logits at its
    `supervised` tokens. With `frozen` weights, as under adapters, the backward has no weight
    gradients."""
    return (2 if frozen else 3) * exact_forward(s, 0, length, supervised)


def _layers(s: Shape, length: N) -> N:
    attention = (
        6 * length * s.width**2
        + 4 * length**2 * s.width
        + 3 * length**2 * s.heads
        + 2 * length * s.width**2
    )
    return s.layers * (attention + 4 * length * s.width * s.ff)
