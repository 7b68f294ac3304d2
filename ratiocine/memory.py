"""What a run will need of each card, told from the model's shapes before its weights are read: a run that cannot fit ends at
once.

Counted are the bytes of tensors at the fullest moment of a step, as torch.cuda.max_memory_allocated counts them; `bench.memory`
compares. Not counted, because no shape tells it: what the system and libraries hold (a CUDA context has some hundred MB), what
an allocator keeps of freed memory, and on a CPU the weights that oneDNN packs anew for a product.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from ratiocine import devices, loss, models
from ratiocine.compute import REDUCED_AT_ONCE, Compute, Sharding, Trained
from ratiocine.cost import Shape
from ratiocine.errors import BadInput
from ratiocine.models import ModelConfig

FLOAT = 4  # bytes of a master weight, of a gradient and of each of Adam's two moments
FOUR_BIT = (4 + 0.127) / 8  # of a 4-bit weight with its part of the constants, which are quantized too
GATHERED = 10**9  # weights that DeepSpeed's ZeRO-3 keeps whole at a time, at most (stage3_max_live_parameters)
SMALL = 10**5  # a weight of no more numbers is left whole by ZeRO-3 (stage3_param_persistence_threshold)
TOGETHER = ({"q_proj", "k_proj", "v_proj"}, {"gate_proj", "up_proj"})  # linear layers that read the same tensor
CARDS = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Spread:
    """Over how many cards a run goes, and what of the model is cut over them: nothing; moments (`zero1`); gradients as well
    (`zero2`); weights as well (`zero3`, `fsdp`)."""

    sharding: Sharding = "none"
    cards: int = 1

    @property
    def cuts(self) -> int:
        """How many of moments, gradients and weights are cut."""
        return {"none": 0, "zero1": 1, "zero2": 2, "zero3": 3, "fsdp": 3}[self.sharding]

    @property
    def deepspeed(self) -> bool:
        return self.sharding.startswith("zero")


@dataclass(frozen=True)
class States:
    """Bytes a card of what outlives a step, and of what the cards exchange it through (`buffers`)."""

    weights: int
    gradients: int
    moments: int
    buffers: int = 0

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.moments + self.buffers


def states(
    parameters: float, trained: float, spread: Spread = Spread(), *, weight: float = FLOAT, gradient: float = FLOAT,
    moments: float = 2 * FLOAT, master: float = 0,
) -> States:  # fmt: skip
    """Of so many weights, of which so many are trained, at these bytes for each (ZeRO, arXiv 1910.02054, section 3): here
    float32 all through; the paper's mixed precision is 2, 2 and 8, with a `master` copy of 4, which is cut as moments are."""
    by = [spread.cards if spread.cuts > cut else 1 for cut in range(3)]
    kept = master * trained / by[0]
    return States(
        round(weight * parameters / by[2] + kept), round(gradient * trained / by[1]), round(moments * trained / by[0])
    )  # fmt: skip


@dataclass(frozen=True)
class Need:
    """Bytes a card, at the fullest moment of a step: weights; their gradients and Adam's moments; what cards exchange weights
    and gradients through; weights in the type of products; activations of the largest micro-batch, so far as they are there
    beside the others; in rl what its rollouts cache, so far as it is more than all that."""

    weights: int
    gradients: int
    moments: int
    buffers: int
    copies: int
    activations: int
    rows: int
    length: int
    spread: Spread = Spread()
    dtype: str = "float32"
    cache: int = 0

    @property
    def state(self) -> int:
        return self.weights + self.gradients + self.moments + self.buffers

    @property
    def total(self) -> int:
        return self.state + self.copies + self.activations + self.cache

    def __str__(self) -> str:
        spread = self.spread
        where = f" a card, over {spread.cards} with {spread.sharding}" if spread.sharding != "none" else " a card"
        parts = {
            "weights": self.weights, "gradients": self.gradients, "moments": self.moments,
            "buffers between cards": self.buffers, f"copies in {self.dtype}": self.copies, "activations": self.activations,
            "cached rollouts": self.cache,
        }  # fmt: skip
        told = ", ".join(f"{n / 2**30:.3g} of {what}" for what, n in parts.items() if n)
        where = where if spread.cards > 1 else ""
        return f"about {self.total / 2**30:.3g} GB{where}: {told} ({self.rows} rows of {self.length} tokens)"


@dataclass(frozen=True)
class Largest:
    """A micro-batch: its rows, their length, and how many tokens of it are learned from. The `first` of a step finds no
    gradients of others: they come as activations go."""

    rows: int
    length: int
    supervised: int
    first: bool = False


@dataclass(frozen=True)
class Sampling:
    """What rl holds beside the model that it trains: so many more weights (as float32 ones), and while it answers a cache of so
    many tokens, of so many bytes a number."""

    copies: float = 0
    tokens: int = 0
    number: int = FLOAT


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
    linear = {name: module for name, module in modules.items() if isinstance(module, torch.nn.Linear) and module is not head}
    layers = [module for module in modules.values() if isinstance(module, torch.nn.ModuleList) and len(module) == shape.layers]
    first = dict(layers[0][0].named_modules()) if layers else {}
    norms = [name for name, module in first.items() if getattr(getattr(module, "weight", None), "ndim", 0) == 1]
    everything = sum(weight.numel() for weight in model.parameters())
    unit = sum(weight.numel() for weight in layers[0][0].parameters()) if layers else everything
    found = {"all": everything, "linear": sum(m.weight.numel() for m in linear.values()), "head": head.weight.numel()}
    read = {
        name.rpartition(".")[2]: module.in_features for name, module in first.items() if isinstance(module, torch.nn.Linear)
    }
    wanted, trained = set(read), everything
    if rank:
        model = models.add_lora(model, rank, targets, seed=0)
        trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
        wanted = {name.rpartition(".")[2] for name, module in model.named_modules() if hasattr(module, "lora_A")}
    small = sum(weight.numel() for weight in model.parameters() if weight.numel() <= SMALL)
    return Counts(
        **found, small=small, layer=max(unit, head.weight.numel()), trained=trained, rank=rank, tied=tied,
        inputs=tuple((name, size) for name, size in read.items() if name in wanted),
        norms=sum("q_norm" not in name and "k_norm" not in name for name in norms),
        head_norms=any("q_norm" in name for name in norms),
    )  # fmt: skip


@dataclass(frozen=True)
class Kept:
    """How a model computes, so far as it decides about what backward keeps."""

    attention: str
    half: bool = False  # products of matrices in bfloat16
    again: bool = False  # layers are computed again in backward
    masked: bool = True  # a mask says who sees whom, rather than the order of tokens alone
    cells: int = loss.CELLS  # logits that the loss looks at at once
    grown: int = 0  # bytes of one layer's weights in bfloat16, where they are made for the time of the layer
    head: int = 0  # the same of the head
    made: int = 0  # of the head's gradient, when it is made
    pending: int = 0  # of what is left of it, while layers are gone through
    residual: int = FLOAT  # bytes of a number between layers
    logit: int = 0  # bytes of a logit with all that is made of it; 0: of the two that the loss here has


def activations(shape: Shape, counts: Counts, largest: Largest, kept: Kept) -> int:
    """Bytes beside weights, their copies and gradients, at the fullest moment of forward and backward. Of every token a layer
    keeps the inputs of its norms in float32, and in the type of products those of linear layers whose weights learn, queries,
    keys and values, both sides of the gate, and where attention is eager its scores; of each supervised token there are logits
    and their gradient. Of layers that are computed again the input alone is kept, and all of one layer at a time."""
    number, full, adapted = 2 if kept.half else FLOAT, not counts.rank, {name for name, _ in counts.inputs}
    width, heads, ff, eager = shape.width, shape.heads * shape.head, shape.ff, kept.attention == "eager"
    tokens, scores = largest.rows * largest.length, shape.heads * largest.length
    norm = (2 if full else 1) * FLOAT * width + FLOAT
    own = norm * counts.norms // 2 + (norm * (shape.heads + shape.kv_heads) * shape.head // width if counts.head_norms else 0)

    def inputs(*names: str) -> int:
        """Of linear layers that learn; in float32 one tensor for all that read it, else each has its own."""
        read = [(name, size) for name, size in counts.inputs if name in names]
        if not kept.half:
            read = [
                item for i, item in enumerate(read) if not any({item[0], n} <= both for n, _ in read[:i] for both in TOGETHER)
            ]
        return number * sum(size for _, size in read)

    attention = own + inputs("q_proj", "k_proj", "v_proj", "qkv_proj")
    if kept.attention == "flash_attention_2":
        attention += number * (2 * heads + 2 * shape.kv_heads * shape.head) + FLOAT * shape.heads
    elif eager:
        attention += number * 3 * heads + inputs("o_proj") + (FLOAT + (number if kept.half else 0)) * scores
    else:
        attention += number * 4 * heads + FLOAT * shape.heads + (number * largest.length if kept.masked else 0)
    gate = number * (3 if shape.gated else 1) * ff
    feed = norm * counts.norms // 2 + inputs("gate_proj", "up_proj", "gate_up_proj") + gate + inputs("down_proj")
    small = number * counts.rank * len(counts.inputs)
    layer, mask = attention + feed + small, FLOAT * largest.length if eager else largest.length
    below, again = (shape.layers - 1) * (kept.residual * width if kept.again else layer), mask if kept.again else 0
    moments = [below + layer + number * 2 * ff + FLOAT * width + again]  # backward through the last feed-forward
    if eager:  # forward through the softmax, and backward
        moments += [below + attention + FLOAT * scores + mask]
        moments += [below + attention + (6 if kept.half else 8) * scores + FLOAT * width + again]
    if kept.half and "down_proj" in adapted and not full:  # adapters take their inputs in float32
        late = 2 * FLOAT * width if kept.again else 0  # gradients that are there when the layer is computed again
        moments += [below + layer + (number + FLOAT) * ff + (FLOAT + number) * width + late + mask]
    at_layers = tokens * max(moments) + kept.grown + kept.pending
    whole = tokens * (shape.layers * (kept.residual * width if kept.again else layer) + norm)
    logits = largest.supervised * number * shape.vocab
    both = largest.supervised * kept.logit * shape.vocab or 2 * logits
    some = min(largest.supervised * shape.vocab, kept.cells)
    rest = min(largest.supervised * shape.vocab - some, some)  # the loss looks at a part while it has the one before
    looked_at = FLOAT * max(some * (1 + kept.half), some + rest * (1 + kept.half) if rest else 0)
    at_head = whole + both + looked_at + kept.head + (number * largest.supervised * width if full else 0)
    return max(at_layers, at_head, whole + logits + kept.head + kept.made)


def needed(
    config: Trained, chosen: Compute, largest: Sequence[Largest], spread: Spread = Spread(), sampling: Sampling = Sampling()
) -> Need:  # fmt: skip
    """What a run needs of each card, of whose micro-batches these are the largest. Raises BadInput where adapters are to be
    added to modules that are not there."""
    told = _told(config)
    return max((estimate(*told, config, chosen, one, spread, sampling) for one in largest), key=lambda need: need.total)


def _told(config: Trained) -> tuple[Shape, Counts]:
    targets = (config.lora_targets,) if isinstance(config.lora_targets, str) else tuple(config.lora_targets)
    return _shape_and_counts(config.model, config.lora, config.lora_rank, targets)


@lru_cache
def _shape_and_counts(name: ModelConfig, lora: bool, rank: int, targets: tuple[str, ...]) -> tuple[Shape, Counts]:
    model: Any = models.skeleton(name)
    return Shape.of(model.config), counted(
        model, rank if lora else 0, targets[0] if targets == ("all-linear",) else list(targets)
    )


def estimate(
    shape: Shape, counts: Counts, config: Trained, chosen: Compute, largest: Largest, spread: Spread = Spread(),
    sampling: Sampling = Sampling(),
) -> Need:  # fmt: skip
    """What a run needs of each card whose model has these dimensions and weights, while this micro-batch goes through it."""
    full, half, again = not config.lora, chosen.dtype != torch.float32, config.gradient_checkpointing
    everything, last = counts.all + (0 if full else counts.trained), counts.head
    master = FLOAT if spread.deepspeed else 0  # it keeps the weights that a card is to change apart from those it computes with
    held = states(everything, counts.trained, spread, master=master)
    weights = held.weights + round(sampling.copies * FLOAT * counts.all)
    linear = counts.linear
    if config.load_in_4bit:
        weights -= round((FLOAT - FOUR_BIT) * linear)
        linear = 0  # what a product needs of them is made for its time
    # Autocast keeps what it made of a weight that learns for all micro-batches of a step, so long as weights are whole; what
    # backward needs of others, or of those that are cut, goes with the graph.
    always = half and ((full and spread.sharding == "none") or not again)
    unit = 0 if always or not half else linear // shape.layers
    copies = 2 * (linear + last if always else 0) + (2 * counts.trained if half and not full else 0)
    grown = 2 * (unit + (shape.width * shape.ff if config.load_in_4bit else 0))
    masked = largest.rows > 1 or chosen.padding_free
    cells = loss.CELLS if chosen.device.type == "cpu" else loss.CELLS_ELSEWHERE
    # Gradients of weights that autocast made for an earlier micro-batch come in its type, and stay so till the end of backward:
    # autograd takes first what was made last. Those of a tied head wait for the embedding's.
    first = largest.first or spread.deepspeed
    late, embedding = half and not first, FLOAT * shape.vocab * shape.width
    made = 2 * last if late else (FLOAT + 2 * half) * last
    pending = 2 * last if late else FLOAT * last if counts.tied or first else 0
    end = 2 * (linear + last) * late + embedding * (1 if not counts.tied else 2 if late or first else 3)
    kept = Kept(
        chosen.attention, half, again, masked, cells, grown, 2 * last if half and not always else 0, made * full, pending * full
    )  # fmt: skip
    passed, end = activations(shape, counts, largest, kept), end * full
    if first and not spread.deepspeed:
        alone = activations(replace(shape, layers=1), replace(counts, head=0), replace(largest, supervised=0), kept)
        bottom = alone - FLOAT * counts.layer * full  # backward through the first layer, which has no gradients yet
        extra = max(passed - held.gradients, bottom, end, 0)
    else:  # before DeepSpeed's step the gradients of a card's part are there once more, in one tensor
        extra = max(passed, end, FLOAT * counts.trained // spread.cards if spread.deepspeed else 0)
    cache = 0
    if sampling.tokens:  # answers are taken where there are neither gradients nor activations
        cache = sampling.tokens * sampling.number * 2 * shape.layers * shape.kv_heads * shape.head
        cache = max(0, cache - held.gradients - copies - extra)
    return Need(
        weights, held.gradients, held.moments, _buffers(counts, held, spread), copies, extra, largest.rows, largest.length,
        spread, devices.name(chosen.dtype), cache,
    )  # fmt: skip


def steep(config: Trained, chosen: Compute) -> float:
    """How much more a long row needs than so many tokens in short ones: of n tokens as n · (1 + steep · n)."""
    shape, counts = _told(config)
    kept = Kept(chosen.attention, chosen.dtype != torch.float32, config.gradient_checkpointing)
    one, two = (activations(shape, counts, Largest(2, n, 0), kept) / n for n in (1000, 2000))
    return (two - one) / 1000 / (2 * one - two)


def _buffers(counts: Counts, held: States, spread: Spread) -> int:
    """What cards exchange weights and gradients through."""
    if spread.cards == 1 and spread.sharding == "none":
        return 0
    if spread.sharding == "none":  # the buckets of DistributedDataParallel, as large as the gradients
        return held.gradients
    if spread.sharding == "fsdp":  # a unit, the one that is gathered meanwhile, and their gradients
        return 3 * FLOAT * counts.layer
    bucket = FLOAT * REDUCED_AT_ONCE
    if spread.cuts < 3:
        return bucket
    return bucket + FLOAT * min(REDUCED_AT_ONCE, counts.trained) + FLOAT * min(counts.all, GATHERED)


def there(device: torch.device) -> int | None:
    """Bytes free on a device, for each of the processes that share it; None where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free.append(next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")))
        group = Path("/sys/fs/cgroup")  # a container may be given less than the machine has
        most = (group / "memory.max").read_text().strip()
        if most != "max":
            free.append(int(most) - int((group / "memory.current").read_text()))
    except (OSError, StopIteration, ValueError):
        pass
    return min(free) // int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if free else None


def check(
    config: Trained, chosen: Compute, largest: Sequence[Largest], shorter: str, spread: Spread = Spread(),
    sampling: Sampling = Sampling(),
) -> Need:  # fmt: skip
    """What the run needs. Raises BadInput, with what to do, where there is not that much; `shorter` is the key that makes rows
    shorter. On an accelerator the dry pass over the longest micro-batch decides about activations; a CPU that runs out would
    end the process without a word."""
    need, free = needed(config, chosen, largest, spread, sampling), there(chosen.device)
    certain = need.total if chosen.device.type == "cpu" else need.state
    if free is None or certain <= free:
        return need
    tried = Tried(config, largest, spread, chosen, sampling, shorter)
    raise BadInput(
        f"model={config.model.name} will not fit: it needs {need}, and {free / 2**30:.3g} GB are free; "
        f"try {advice(tried, free)}"
    )


@dataclass(frozen=True)
class Tried:
    """A run as it was asked for, or with something changed."""

    config: Trained
    largest: Sequence[Largest]
    spread: Spread
    chosen: Compute
    sampling: Sampling
    shorter: str

    @property
    def total(self) -> int:
        return needed(self.config, self.chosen, self.largest, self.spread, self.sampling).total

    def having(self, **keys: Any) -> Tried:
        return replace(self, config=self.config.model_copy(update=keys))

    def of_length(self, most: int) -> Tried:
        cut = [
            replace(one, length=min(one.length, most), supervised=min(one.supervised, one.rows * most)) for one in self.largest
        ]
        return replace(self, largest=cut)


def advice(tried: Tried, free: int) -> str:
    """What would make a run fit that does not: each of the changes that does so alone, else the first of them that do together;
    shorter rows; else a smaller model."""
    found = [word for word, other in changes(tried, free) if other.total <= free]
    if not found:
        words, now = list[str](), tried
        while (step := next(((w, other) for w, other in changes(now, free) if other.total < now.total), None)) is not None:
            words, now = [*words, step[0]], step[1]
            if now.total <= free:
                found = [" with ".join(words)]
                break
    most = max(one.length for one in tried.largest)
    fitting = next((n for n in range(most - 1, 1, -max(1, most // 64)) if tried.of_length(n).total <= free), 0)
    found += [f"rows of at most {fitting} tokens ({tried.shorter})"] if fitting else []
    return ", or ".join(found) or "a smaller model"


def changes(tried: Tried, free: int) -> Iterator[tuple[str, Tried]]:
    """What could be done about a run that does not fit into `free` bytes, the least harmful first."""
    config, largest, spread = tried.config, tried.largest, tried.spread
    if not config.gradient_checkpointing:
        yield "gradient_checkpointing=true", tried.having(gradient_checkpointing=True)
    if (rows := config.micro_batch_size) > 1:
        free_of = tried.chosen.padding_free  # then it is one row of several documents
        less = [
            replace(
                one, rows=1, length=-(-one.length // rows) if free_of else one.length,
                supervised=-(-one.supervised // (rows if free_of else one.rows)),
            ) for one in largest
        ]  # fmt: skip
        yield "micro_batch_size=1", replace(tried.having(micro_batch_size=1), largest=less)
    if tried.chosen.device.type != "cpu":
        for cards in [spread.cards] if spread.cards > 1 else CARDS[1:]:
            over = replace(tried, spread=Spread("zero3", cards))
            if spread.cuts < 3 and not config.load_in_4bit and (over.total <= free or cards in (spread.cards, CARDS[-1])):
                yield f"deepspeed=zero3 over {cards} cards", over
                break
    if not config.lora:
        yield "lora=true", tried.having(lora=True)
    elif not config.load_in_4bit and tried.chosen.device.type == "cuda" and spread.cuts < 3:
        yield "load_in_4bit=true", tried.having(load_in_4bit=True)
