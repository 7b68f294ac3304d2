"""What a run will need, told from the model's shapes before its weights are read: a run that cannot fit ends at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ratiocine import models
from ratiocine.compute import Compute, Trained
from ratiocine.cost import Shape
from ratiocine.errors import BadInput

FLOAT = 4  # bytes of a master weight, of a gradient and of each of Adam's two moments
FOUR_BIT = (4 + 0.127) / 8  # of a 4-bit weight with its part of the constants, which are quantized too


@dataclass(frozen=True)
class Need:
    """Bytes: weights; what training keeps beside them (gradients, Adam's moments); activations of the largest micro-batch.
    These are an estimate, within 20 % where it was measured; the others are counts."""

    weights: int
    state: int
    activations: int
    rows: int
    length: int

    @property
    def total(self) -> int:
        return self.weights + self.state + self.activations

    def __str__(self) -> str:
        gb = [n / 2**30 for n in (self.total, self.weights, self.state, self.activations)]
        return (
            f"about {gb[0]:.3g} GB: {gb[1]:.3g} of weights, {gb[2]:.3g} of gradients and moments, {gb[3]:.3g} of activations "
            f"({self.rows} rows of {self.length} tokens)"
        )


@dataclass(frozen=True)
class Largest:
    """The micro-batch that needs most memory: its rows, their length, and how many tokens of it are learned from."""

    rows: int
    length: int
    supervised: int


def needed(config: Trained, chosen: Compute, largest: Largest, copies: float = 0) -> Need:
    """What a run needs that also holds `copies` of its weights in float32. Raises BadInput where adapters are to be added to
    modules that are not there."""
    model: Any = models.skeleton(config.model)
    shape = Shape.of(model.config)
    weights = sum(weight.numel() for weight in model.parameters())
    trained, held = weights, round((1 + copies) * FLOAT * weights)
    if config.load_in_4bit:
        layers = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear) and layer is not models.head(model)]
        held -= round((FLOAT - FOUR_BIT) * sum(layer.weight.numel() for layer in layers))
    if config.lora:
        model = models.add_lora(model, config.lora_rank, config.lora_targets, seed=config.seed)
        trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    kept = activations(
        shape, largest.rows, largest.length, largest.supervised, eager=chosen.attention == "eager",
        again=config.gradient_checkpointing,
    )  # fmt: skip
    return Need(held, 3 * FLOAT * trained, kept, largest.rows, largest.length)


def activations(shape: Shape, rows: int, length: int, supervised: int, *, eager: bool, again: bool = False) -> int:
    """Bytes that backward needs of forward, in float32: of every token what each layer keeps (inputs of norms and projections,
    queries, keys, values, both sides of the gate), where attention is `eager` its scores too, and of each supervised token
    logits, their gradient and as much again (torch's own loss needs it, ours does not: on the safe side). Of layers that are
    computed `again` only the inputs are kept, and all of one layer at a time."""
    heads = shape.head * (2 * shape.heads + 2 * shape.kv_heads)
    layer = length * (6 * shape.width + heads + (4 if shape.gated else 2) * shape.ff)
    layer += 2 * shape.heads * length**2 if eager else 0
    all_layers = shape.layers * length * shape.width + layer if again else shape.layers * layer
    return FLOAT * (rows * all_layers + 3 * supervised * shape.vocab)


def there(device: torch.device) -> int | None:
    """Bytes free on a device; None where the system does not say."""
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
    return min(free, default=None)


def check(config: Trained, chosen: Compute, largest: Largest, shorter: str, copies: float = 0) -> Need:
    """What the run needs. Raises BadInput, with what to do, where there is not that much; `shorter` is the key that makes rows
    shorter. On an accelerator the dry pass over the longest micro-batch decides about activations; a CPU that runs out would
    end the process without a word."""
    need, free = needed(config, chosen, largest, copies), there(chosen.device)
    certain = need.total if chosen.device.type == "cpu" else need.weights + need.state
    if free is None or certain <= free:
        return need
    advice = []
    if need.weights + need.state > free and not config.lora:
        advice.append("lora=true trains adapters alone")
    if need.weights > free:
        advice.append("a smaller model")
    if need.activations > free - need.weights - need.state:
        advice += [] if config.gradient_checkpointing else ["gradient_checkpointing=true"]
        advice += [f"micro_batch_size below {config.micro_batch_size}"] if need.rows > 1 else []
        advice += [f"{shorter} below {need.length}"]
    raise BadInput(
        f"model={config.model.name} will not fit: it needs {need}, and {free / 2**30:.3g} GB are free; "
        f"try {', or '.join(advice)}"
    )
