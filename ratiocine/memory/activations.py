"""Bytes of the activations that a micro-batch keeps for the backward pass, from a model's shapes.

Korthikanti et al. (arXiv 2205.05198, section 4) count the same tensors for 16-bit training of GPT.
Here weights are float32 masters under autocast, norms are RMSNorms in float32, queries may share
keys and values, the feed-forward may be gated, and adapters may leave most linear layers without a
gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch

from ratiocine import models
from ratiocine.cost import Shape
from ratiocine.training import chunk_size

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FLOAT = 4  # bytes of a master weight, of a gradient and of each of Adam's two states
PERSISTENT = 10**5  # smaller weights stay unsharded (DeepSpeed: stage3_param_persistence_threshold)
SAME_INPUT = (
    {"q_proj", "k_proj", "v_proj"},
    {"gate_proj", "up_proj"},
)  # layers that share a tensor


@dataclass(frozen=True)
class MicroBatchShape:
    """Dimensions of a micro-batch, padding included."""

    rows: int
    length: int
    """Tokens of a row."""
    supervised: int
    """Tokens with a label, over all rows."""
    first: bool = False
    """First of its step: no gradients are held yet, they replace activations as these are freed."""

    @property
    def tokens(self) -> int:
        return self.rows * self.length


@dataclass(frozen=True)
class ParameterCounts:
    """Numbers of a model's parameters by what training does with them."""

    all: int
    linear: int
    """Of linear layers without the head."""
    head: int
    layer: int
    """Of the largest unit that full sharding gathers at a time."""
    trained: int
    inputs: tuple[tuple[str, int], ...]
    """Linear layers of one block whose weights have gradients, with the width of the input that
    each keeps."""
    tied: bool = False
    """Whether the head is the embedding."""
    small: int = 0
    """Of weights that ZeRO-3 leaves unsharded."""
    rank: int = 0
    """Of the adapters; 0 without."""
    norms: int = 2
    """Norms per block."""
    head_norms: bool = False
    """Whether queries and keys are normalized per attention head."""


def count_parameters(
    model: PreTrainedModel, rank: int = 0, targets: str | list[str] = "all-linear"
) -> ParameterCounts:
    """Counts of a skeleton (`models.skeleton`), which is given adapters where `rank` is above 0.
    Raises BadInput where `targets` are not modules of it."""
    head, shape = cast(torch.nn.Linear, models.head(model)), Shape.of(model.config)
    tied = head.weight is model.get_input_embeddings().weight
    modules = dict(model.named_modules())
    linear = [m for m in modules.values() if isinstance(m, torch.nn.Linear) and m is not head]
    stacks = [
        module
        for module in modules.values()
        if isinstance(module, torch.nn.ModuleList) and len(module) == shape.layers
    ]
    block = dict(stacks[0][0].named_modules()) if stacks else {}
    norms = [
        name
        for name, module in block.items()
        if getattr(getattr(module, "weight", None), "ndim", 0) == 1
    ]
    total = sum(weight.numel() for weight in model.parameters())
    unit = sum(weight.numel() for weight in stacks[0][0].parameters()) if stacks else total
    n_linear, n_head = sum(m.weight.numel() for m in linear), head.weight.numel()
    widths = {
        name.rpartition(".")[2]: module.in_features
        for name, module in block.items()
        if isinstance(module, torch.nn.Linear)
    }
    learning, trained = set(widths), total
    if rank:
        model = models.add_lora(model, rank, targets, seed=0)
        trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
        learning = {
            name.rpartition(".")[2]
            for name, module in model.named_modules()
            if hasattr(module, "lora_A")
        }
    return ParameterCounts(
        all=total,
        linear=n_linear,
        head=n_head,
        layer=max(unit, n_head),
        trained=trained,
        inputs=tuple((name, width) for name, width in widths.items() if name in learning),
        tied=tied,
        small=sum(w.numel() for w in model.parameters() if w.numel() <= PERSISTENT),
        rank=rank,
        norms=sum("q_norm" not in name and "k_norm" not in name for name in norms),
        head_norms=any("q_norm" in name for name in norms),
    )


@dataclass(frozen=True)
class ActivationSettings:
    """How a model computes, as far as it decides what backward keeps. Sizes are bytes, but for
    `loss_chunk` (logits)."""

    attention: str
    bf16: bool = False
    """Matmuls in bfloat16."""
    checkpointing: bool = False
    """Gradient checkpointing: blocks are recomputed in backward."""
    masked: bool = True
    """A mask tensor is passed, rather than causality alone."""
    loss_chunk: int = chunk_size(torch.device("cpu"))
    """Logits that the loss converts to float32 at a time."""
    block_copy: int = 0
    """bfloat16 copy of one block's weights, where copies live as long as the block runs."""
    head_copy: int = 0
    """The same of the head."""
    head_grad: int = 0
    """Gradient of the head at the moment it is computed."""
    head_grad_pending: int = 0
    """What remains of it while backward goes through the blocks."""
    residual_bytes: int = FLOAT
    """Per number between blocks."""
    shared_input: int = 0
    """Per number of a normalized input that the linear layers which read it keep once; 0: each
    keeps a copy in the dtype of matmuls, as under autocast, or all the input itself in float32."""
    logit_bytes: int = 0
    """Per logit with everything derived from it; 0: a logit and its gradient, as in
    `training.loss`."""


@dataclass(frozen=True)
class _Block:
    """Bytes that one block keeps per token."""

    norm: int
    attention: int
    whole: int


def activations(
    shape: Shape, counts: ParameterCounts, batch: MicroBatchShape, settings: ActivationSettings
) -> int:
    """Bytes beside weights, their copies and gradients at the peak of forward and backward.

    A block keeps, per token, its norms' inputs in float32, and in the dtype of matmuls the inputs
    of linear layers with a gradient, queries, keys and values, both sides of the gate, and with
    eager attention the scores. A supervised token has logits and their gradient. With checkpointing
    a block keeps its input alone, and one block everything at a time."""
    number = 2 if settings.bf16 else FLOAT
    block = _block(shape, counts, batch, settings)
    held = settings.residual_bytes * shape.width if settings.checkpointing else block.whole
    in_blocks = batch.tokens * max(_block_peaks(shape, counts, batch, settings, block, held))
    in_blocks += settings.block_copy + settings.head_grad_pending
    after_blocks = batch.tokens * (shape.layers * held + block.norm)
    cells = batch.supervised * shape.vocab
    logits = number * cells
    with_grad = settings.logit_bytes * cells or 2 * logits
    chunk = min(cells, settings.loss_chunk)
    rest = min(cells - chunk, chunk)  # a chunk is converted while the one before is still held
    in_loss = FLOAT * max(
        chunk * (1 + settings.bf16), chunk + rest * (1 + settings.bf16) if rest else 0
    )
    hidden_grad = 0 if counts.rank else number * batch.supervised * shape.width
    at_head = after_blocks + with_grad + in_loss + settings.head_copy + hidden_grad
    return max(in_blocks, at_head, after_blocks + logits + settings.head_copy + settings.head_grad)


def _block(
    shape: Shape, counts: ParameterCounts, batch: MicroBatchShape, settings: ActivationSettings
) -> _Block:
    number = 2 if settings.bf16 else FLOAT
    heads, kv_heads = shape.heads * shape.head, shape.kv_heads * shape.head
    # Full training keeps an RMSNorm's input and its normalized output, adapters the first alone.
    norm = (1 if counts.rank else 2) * FLOAT * shape.width + FLOAT
    per_head = norm * (shape.heads + shape.kv_heads) * shape.head // shape.width

    shared = settings.shared_input or (0 if settings.bf16 else FLOAT)

    def inputs(*names: str) -> int:
        """Inputs of linear layers with a gradient."""
        return number * sum(width for name, width in counts.inputs if name in names)

    def normalized(*names: str) -> int:
        """The same of layers that may share theirs."""
        read = [(name, width) for name, width in counts.inputs if name in names]
        first = [
            width
            for i, (name, width) in enumerate(read)
            if not any({name, n} <= same for n, _ in read[:i] for same in SAME_INPUT)
        ]
        return shared * sum(first) if shared else inputs(*names)

    attention = norm * counts.norms // 2 + (per_head if counts.head_norms else 0)
    attention += normalized("q_proj", "k_proj", "v_proj", "qkv_proj")
    if settings.attention == "flash_attention_2":
        attention += number * (2 * heads + 2 * kv_heads) + FLOAT * shape.heads
    elif settings.attention == "eager":
        scores = shape.heads * batch.length
        attention += number * 3 * heads + inputs("o_proj")
        attention += (FLOAT + (number if settings.bf16 else 0)) * scores
    else:
        attention += number * 4 * heads + FLOAT * shape.heads
        attention += number * batch.length if settings.masked else 0
    feed_forward = norm * counts.norms // 2 + normalized("gate_proj", "up_proj", "gate_up_proj")
    feed_forward += number * (3 if shape.gated else 1) * shape.ff + inputs("down_proj")
    adapters = number * counts.rank * len(counts.inputs)
    return _Block(norm, attention, attention + feed_forward + adapters)


def _block_peaks(
    shape: Shape,
    counts: ParameterCounts,
    batch: MicroBatchShape,
    settings: ActivationSettings,
    block: _Block,
    held: int,
) -> Iterator[int]:
    """Bytes per token at each moment that can be the peak of the pass through the last block."""
    number, width, recomputed = 2 if settings.bf16 else FLOAT, shape.width, settings.checkpointing
    eager = settings.attention == "eager"
    mask = FLOAT * batch.length if eager else batch.length
    below, again = (shape.layers - 1) * held, mask if recomputed else 0
    # backward through the feed-forward
    yield below + block.whole + number * 2 * shape.ff + FLOAT * width + again
    if eager:  # forward through the softmax, and backward
        scores = shape.heads * batch.length
        yield below + block.attention + FLOAT * scores + mask
        backward = (6 if settings.bf16 else 8) * scores
        yield below + block.attention + backward + FLOAT * width + again
    if settings.bf16 and counts.rank and any(name == "down_proj" for name, _ in counts.inputs):
        # adapters convert their input to float32
        late = 2 * FLOAT * width if recomputed else 0  # gradients held while a block is recomputed
        yield (
            below
            + block.whole
            + (number + FLOAT) * shape.ff
            + (FLOAT + number) * width
            + late
            + mask
        )
