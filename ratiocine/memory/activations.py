"""What backward needs of forward: bytes of the activations of a micro-batch, told from a model's shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ratiocine import models
from ratiocine.cost import Shape
from ratiocine.training import loss

FLOAT = 4  # bytes of a master weight, of a gradient and of each of Adam's two moments
SMALL = (
    10**5
)  # a weight of no more numbers is left whole by ZeRO-3 (stage3_param_persistence_threshold)
TOGETHER = (
    {"q_proj", "k_proj", "v_proj"},
    {"gate_proj", "up_proj"},
)  # linear layers that read the same tensor


@dataclass(frozen=True)
class Largest:
    """A micro-batch: its rows, their length, and how many tokens of it are learned from. The `first` of a step finds no
    gradients of others: they come as activations go."""

    rows: int
    length: int
    supervised: int
    first: bool = False


@dataclass(frozen=True)
class Counts:
    """Numbers of weights: all; those of linear layers but the head; those of the head; of the largest unit that is gathered at
    a time; those trained, and the inputs that they want of a layer kept (numbers a token)."""

    all: int
    linear: int
    head: int
    layer: int
    trained: int
    inputs: tuple[tuple[str, int], ...]
    tied: bool = False  # the head's are the embedding's
    small: int = 0  # those that ZeRO-3 leaves whole
    rank: int = 0
    norms: int = 2
    head_norms: bool = False


def counted(model: Any, rank: int = 0, targets: str | list[str] = "all-linear") -> Counts:
    """Of a skeleton, which is given adapters of so high a rank. Raises BadInput where their targets are no modules of it."""
    head, shape = models.head(model), Shape.of(model.config)
    tied = head.weight is model.get_input_embeddings().weight
    modules = dict(model.named_modules())
    linear = {
        name: module
        for name, module in modules.items()
        if isinstance(module, torch.nn.Linear) and module is not head
    }
    layers = [
        module
        for module in modules.values()
        if isinstance(module, torch.nn.ModuleList) and len(module) == shape.layers
    ]
    first = dict(layers[0][0].named_modules()) if layers else {}
    norms = [
        name
        for name, module in first.items()
        if getattr(getattr(module, "weight", None), "ndim", 0) == 1
    ]
    everything = sum(weight.numel() for weight in model.parameters())
    unit = sum(weight.numel() for weight in layers[0][0].parameters()) if layers else everything
    found = {
        "all": everything,
        "linear": sum(m.weight.numel() for m in linear.values()),
        "head": head.weight.numel(),
    }
    read = {
        name.rpartition(".")[2]: module.in_features
        for name, module in first.items()
        if isinstance(module, torch.nn.Linear)
    }
    wanted, trained = set(read), everything
    if rank:
        model = models.add_lora(model, rank, targets, seed=0)
        trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
        wanted = {
            name.rpartition(".")[2]
            for name, module in model.named_modules()
            if hasattr(module, "lora_A")
        }
    small = sum(weight.numel() for weight in model.parameters() if weight.numel() <= SMALL)
    return Counts(
        **found,
        small=small,
        layer=max(unit, head.weight.numel()),
        trained=trained,
        rank=rank,
        tied=tied,
        inputs=tuple((name, size) for name, size in read.items() if name in wanted),
        norms=sum("q_norm" not in name and "k_norm" not in name for name in norms),
        head_norms=any("q_norm" in name for name in norms),
    )


@dataclass(frozen=True)
class Kept:
    """How a model computes, so far as it decides about what backward keeps."""

    attention: str
    half: bool = False  # products of matrices in bfloat16
    again: bool = False  # layers are computed again in backward
    masked: bool = True  # a mask says who sees whom, rather than the order of tokens alone
    cells: int = loss.CELLS  # logits that the loss looks at at once
    grown: int = (
        0  # bytes of one layer's weights in bfloat16, where they are made for the time of the layer
    )
    head: int = 0  # the same of the head
    made: int = 0  # of the head's gradient, when it is made
    pending: int = 0  # of what is left of it, while layers are gone through
    residual: int = FLOAT  # bytes of a number between layers
    logit: int = (
        0  # bytes of a logit with all that is made of it; 0: of the two that the loss here has
    )


def activations(shape: Shape, counts: Counts, largest: Largest, kept: Kept) -> int:
    """Bytes beside weights, their copies and gradients, at the fullest moment of forward and backward. Of every token a layer
    keeps the inputs of its norms in float32, and in the type of products those of linear layers whose weights learn, queries,
    keys and values, both sides of the gate, and where attention is eager its scores; of each supervised token there are logits
    and their gradient. Of layers that are computed again the input alone is kept, and all of one layer at a time."""
    number, full, adapted = (
        2 if kept.half else FLOAT,
        not counts.rank,
        {name for name, _ in counts.inputs},
    )
    width, heads, ff, eager = (
        shape.width,
        shape.heads * shape.head,
        shape.ff,
        kept.attention == "eager",
    )
    tokens, scores = largest.rows * largest.length, shape.heads * largest.length
    norm = (2 if full else 1) * FLOAT * width + FLOAT
    own = norm * counts.norms // 2 + (
        norm * (shape.heads + shape.kv_heads) * shape.head // width if counts.head_norms else 0
    )

    def inputs(*names: str) -> int:
        """Of linear layers that learn; in float32 one tensor for all that read it, else each has its own."""
        read = [(name, size) for name, size in counts.inputs if name in names]
        if not kept.half:
            read = [
                item
                for i, item in enumerate(read)
                if not any({item[0], n} <= both for n, _ in read[:i] for both in TOGETHER)
            ]
        return number * sum(size for _, size in read)

    attention = own + inputs("q_proj", "k_proj", "v_proj", "qkv_proj")
    if kept.attention == "flash_attention_2":
        attention += number * (2 * heads + 2 * shape.kv_heads * shape.head) + FLOAT * shape.heads
    elif eager:
        attention += (
            number * 3 * heads + inputs("o_proj") + (FLOAT + (number if kept.half else 0)) * scores
        )
    else:
        attention += (
            number * 4 * heads
            + FLOAT * shape.heads
            + (number * largest.length if kept.masked else 0)
        )
    gate = number * (3 if shape.gated else 1) * ff
    feed = (
        norm * counts.norms // 2
        + inputs("gate_proj", "up_proj", "gate_up_proj")
        + gate
        + inputs("down_proj")
    )
    small = number * counts.rank * len(counts.inputs)
    layer, mask = attention + feed + small, FLOAT * largest.length if eager else largest.length
    below, again = (
        (shape.layers - 1) * (kept.residual * width if kept.again else layer),
        mask if kept.again else 0,
    )
    moments = [
        below + layer + number * 2 * ff + FLOAT * width + again
    ]  # backward through the last feed-forward
    if eager:  # forward through the softmax, and backward
        moments += [below + attention + FLOAT * scores + mask]
        moments += [below + attention + (6 if kept.half else 8) * scores + FLOAT * width + again]
    if kept.half and "down_proj" in adapted and not full:  # adapters take their inputs in float32
        late = (
            2 * FLOAT * width if kept.again else 0
        )  # gradients that are there when the layer is computed again
        moments += [below + layer + (number + FLOAT) * ff + (FLOAT + number) * width + late + mask]
    at_layers = tokens * max(moments) + kept.grown + kept.pending
    whole = tokens * (shape.layers * (kept.residual * width if kept.again else layer) + norm)
    logits = largest.supervised * number * shape.vocab
    both = largest.supervised * kept.logit * shape.vocab or 2 * logits
    some = min(largest.supervised * shape.vocab, kept.cells)
    rest = min(
        largest.supervised * shape.vocab - some, some
    )  # the loss looks at a part while it has the one before
    looked_at = FLOAT * max(some * (1 + kept.half), some + rest * (1 + kept.half) if rest else 0)
    at_head = (
        whole + both + looked_at + kept.head + (number * largest.supervised * width if full else 0)
    )
    return max(at_layers, at_head, whole + logits + kept.head + kept.made)
