"""What a run will need of each card, told from the model's shapes before its weights are read: a run that cannot fit ends at
once.

Counted are the bytes of tensors at the fullest moment of a step, as torch.cuda.max_memory_allocated counts them; `bench.memory`
compares. Not counted, because no shape tells it: what the system and libraries hold (a CUDA context has some hundred MB), what
an allocator keeps of freed memory, and on a CPU the weights that oneDNN packs anew for a product.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from ratiocine import devices, models
from ratiocine.cost import Shape
from ratiocine.memory.activations import FLOAT, Counts, Kept, Largest, activations, counted
from ratiocine.models import ModelConfig
from ratiocine.training import REDUCED_AT_ONCE, Compute, Sharding, TrainingConfig, loss

FOUR_BIT = (
    4 + 0.127
) / 8  # of a 4-bit weight with its part of the constants, which are quantized too
GATHERED = (
    10**9
)  # weights that DeepSpeed's ZeRO-3 keeps whole at a time, at most (stage3_max_live_parameters)


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
    parameters: float,
    trained: float,
    spread: Spread = Spread(),
    *,
    weight: float = FLOAT,
    gradient: float = FLOAT,
    moments: float = 2 * FLOAT,
    master: float = 0,
) -> States:
    """Of so many weights, of which so many are trained, at these bytes for each (ZeRO, arXiv 1910.02054, section 3): here
    float32 all through; the paper's mixed precision is 2, 2 and 8, with a `master` copy of 4, which is cut as moments are."""
    by = [spread.cards if spread.cuts > cut else 1 for cut in range(3)]
    kept = master * trained / by[0]
    return States(
        round(weight * parameters / by[2] + kept),
        round(gradient * trained / by[1]),
        round(moments * trained / by[0]),
    )


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
        where = (
            f" a card, over {spread.cards} with {spread.sharding}"
            if spread.sharding != "none"
            else " a card"
        )
        parts = {
            "weights": self.weights,
            "gradients": self.gradients,
            "moments": self.moments,
            "buffers between cards": self.buffers,
            f"copies in {self.dtype}": self.copies,
            "activations": self.activations,
            "cached rollouts": self.cache,
        }
        told = ", ".join(f"{n / 2**30:.3g} of {what}" for what, n in parts.items() if n)
        where = where if spread.cards > 1 else ""
        return f"about {self.total / 2**30:.3g} GB{where}: {told} ({self.rows} rows of {self.length} tokens)"


@dataclass(frozen=True)
class Sampling:
    """What rl holds beside the model that it trains: so many more weights (as float32 ones), and while it answers a cache of so
    many tokens, of so many bytes a number."""

    copies: float = 0
    tokens: int = 0
    number: int = FLOAT


def needed(
    config: TrainingConfig,
    chosen: Compute,
    largest: Sequence[Largest],
    spread: Spread = Spread(),
    sampling: Sampling = Sampling(),
) -> Need:
    """What a run needs of each card, of whose micro-batches these are the largest. Raises BadInput where adapters are to be
    added to modules that are not there."""
    told = _told(config)
    return max(
        (estimate(*told, config, chosen, one, spread, sampling) for one in largest),
        key=lambda need: need.total,
    )


def _told(config: TrainingConfig) -> tuple[Shape, Counts]:
    targets = (
        (config.lora_targets,)
        if isinstance(config.lora_targets, str)
        else tuple(config.lora_targets)
    )
    return _shape_and_counts(config.model, config.lora, config.lora_rank, targets)


@lru_cache
def _shape_and_counts(
    name: ModelConfig, lora: bool, rank: int, targets: tuple[str, ...]
) -> tuple[Shape, Counts]:
    model: Any = models.skeleton(name)
    return Shape.of(model.config), counted(
        model, rank if lora else 0, targets[0] if targets == ("all-linear",) else list(targets)
    )


def estimate(
    shape: Shape,
    counts: Counts,
    config: TrainingConfig,
    chosen: Compute,
    largest: Largest,
    spread: Spread = Spread(),
    sampling: Sampling = Sampling(),
) -> Need:
    """What a run needs of each card whose model has these dimensions and weights, while this micro-batch goes through it."""
    full, half, again = (
        not config.lora,
        chosen.dtype != torch.float32,
        config.gradient_checkpointing,
    )
    everything, last = counts.all + (0 if full else counts.trained), counts.head
    master = (
        FLOAT if spread.deepspeed else 0
    )  # it keeps the weights that a card is to change apart from those it computes with
    held = states(everything, counts.trained, spread, master=master)
    if config.deepspeed.offload:  # to the processor's memory: moments and what they change, and all weights where these are cut
        whole = states(everything, counts.trained, spread)
        held = replace(held, moments=0, weights=0 if spread.cuts == 3 else whole.weights)
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
    end = 2 * (linear + last) * late + embedding * (
        1 if not counts.tied else 2 if late or first else 3
    )
    kept = Kept(
        chosen.attention,
        half,
        again,
        masked,
        cells,
        grown,
        2 * last if half and not always else 0,
        made * full,
        pending * full,
    )
    passed, end = activations(shape, counts, largest, kept), end * full
    if first and not spread.deepspeed:
        alone = activations(
            replace(shape, layers=1), replace(counts, head=0), replace(largest, supervised=0), kept
        )
        bottom = (
            alone - FLOAT * counts.layer * full
        )  # backward through the first layer, which has no gradients yet
        extra = max(passed - held.gradients, bottom, end, 0)
    else:  # before DeepSpeed's step the gradients of a card's part are there once more, in one tensor
        extra = max(passed, end, FLOAT * counts.trained // spread.cards if spread.deepspeed else 0)
    cache = 0
    if sampling.tokens:  # answers are taken where there are neither gradients nor activations
        cache = sampling.tokens * sampling.number * 2 * shape.layers * shape.kv_heads * shape.head
        cache = max(0, cache - held.gradients - copies - extra)
    return Need(
        weights,
        held.gradients,
        held.moments,
        _buffers(counts, held, spread),
        copies,
        extra,
        largest.rows,
        largest.length,
        spread,
        devices.name(chosen.dtype),
        cache,
    )


def steep(config: TrainingConfig, chosen: Compute) -> float:
    """How much more a long row needs than so many tokens in short ones: of n tokens as n · (1 + steep · n)."""
    shape, counts = _told(config)
    kept = Kept(chosen.attention, chosen.dtype != torch.float32, config.gradient_checkpointing)
    one, two = (activations(shape, counts, Largest(2, n, 0), kept) / n for n in (1000, 2000))
    return (two - one) / 1000 / (2 * one - two)


def _buffers(counts: Counts, held: States, spread: Spread) -> int:
    """What cards exchange weights and gradients through."""
    if spread.cards == 1 and spread.sharding == "none":
        return 0
    if (
        spread.sharding == "none"
    ):  # the buckets of DistributedDataParallel, as large as the gradients
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
        free.append(
            next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
        )
        group = Path("/sys/fs/cgroup")  # a container may be given less than the machine has
        most = (group / "memory.max").read_text().strip()
        if most != "max":
            free.append(int(most) - int((group / "memory.current").read_text()))
    except (OSError, StopIteration, ValueError):
        pass
    return min(free) // int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if free else None
