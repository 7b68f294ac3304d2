"""Shapes of the Qwen2.5 models, from config.json on the Hugging Face hub: estimates need no
download."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ratiocine.cli import has_own_path
from ratiocine.models.config import ModelConfig

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


@dataclass(frozen=True)
class QwenShape:
    """Sizes by which two models of the family differ."""

    width: int
    ff: int
    layers: int
    heads: int
    kv_heads: int
    vocab: int
    tied: bool

    @property
    def config(self) -> PreTrainedConfig:
        """The configuration of a model of random weights."""
        from transformers import Qwen2Config

        return Qwen2Config(
            hidden_size=self.width,
            intermediate_size=self.ff,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            vocab_size=self.vocab,
            tie_word_embeddings=self.tied,
        )


QWEN = {
    "qwen2.5-0.5b": QwenShape(896, 4864, 24, 14, 2, 151936, tied=True),
    "qwen2.5-1.5b": QwenShape(1536, 8960, 28, 12, 2, 151936, tied=True),
    "qwen2.5-3b": QwenShape(2048, 11008, 36, 16, 2, 151936, tied=True),
    "qwen2.5-7b": QwenShape(3584, 18944, 28, 28, 4, 152064, tied=False),
    "qwen2.5-14b": QwenShape(5120, 13824, 48, 40, 8, 152064, tied=False),
}


def known_shape(model: ModelConfig) -> QwenShape | None:
    """The shape of a model by its name in conf/model; None for any other, and where the weights are
    of a path of one's own."""
    known = QWEN.get(model.name.removesuffix("-instruct"))
    if known is None or has_own_path(model.name, model.path):
        return None
    return replace(known, layers=model.layers or known.layers)
