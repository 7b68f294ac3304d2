"""Peak memory of a training run per GPU, from a model's shapes, before any weights are read.

Counted are bytes of tensors at the peak of a step, as torch.cuda.max_memory_allocated counts them;
`bench.memory` compares. Not counted, as shapes do not tell it: memory of the system and of
libraries (a CUDA context takes some hundred MB), fragmentation and caching of the allocator, and on
a CPU the weights that oneDNN repacks for a matmul.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch

from ratiocine import devices, models
from ratiocine.cost import Shape
from ratiocine.memory.activations import (
    FLOAT,
    ActivationSettings,
    MicroBatchShape,
    ParameterCounts,
    activations,
    count_parameters,
)
from ratiocine.memory.sharding import (
    SINGLE_GPU,
    ModelStates,
    ShardingPlan,
    communication_buffers,
    model_states,
)
from ratiocine.models import ModelConfig
from ratiocine.training import Compute, TrainingConfig, chunk_size

FOUR_BIT = (4 + 0.127) / 8  # bytes of an NF4 weight with its doubly quantized constants (QLoRA)


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes per GPU at the peak of a step."""

    weights: int
    gradients: int
    optimizer: int
    buffers: int
    """Through which GPUs exchange weights and gradients."""
    copies: int
    """Weights in the dtype of matmuls."""
    activations: int
    """Of the micro-batch, with temporary gradients: the part that adds to the peak."""
    rows: int
    length: int
    plan: ShardingPlan = SINGLE_GPU
    dtype: str = "float32"
    cache: int = 0
    """Key-value cache of rollouts (rl): the part beyond the memory of the update."""

    @property
    def states(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.buffers

    @property
    def total(self) -> int:
        return self.states + self.copies + self.activations + self.cache

    def __str__(self) -> str:
        where = " per GPU"
        if self.plan.sharding != "none":
            where += f", across {self.plan.gpus} with {self.plan.sharding}"
        parts = {
            "weights": self.weights,
            "gradients": self.gradients,
            "optimizer states": self.optimizer,
            "communication buffers": self.buffers,
            f"copies in {self.dtype}": self.copies,
            "activations and temporaries": self.activations,
            "cached rollouts": self.cache,
        }
        unit, size = unit_of(self.total)
        listed = ", ".join(f"{n / size:.3g} of {name}" for name, n in parts.items() if n)
        return (
            f"about {self.total / size:.3g} {unit}{where if self.plan.gpus > 1 else ''}: {listed} "
            f"({self.rows} row{'s' * (self.rows > 1)} of {self.length} tokens)"
        )


def unit_of(n: float) -> tuple[str, int]:
    """The unit in which `n` bytes are printed, and its bytes."""
    return ("GB", 2**30) if n >= 2**30 else ("MB", 2**20)


@dataclass(frozen=True)
class RolloutMemory:
    """Memory that rl needs in addition to the trained model."""

    copies: float = 0
    """Further sets of weights, in units of a float32 set."""
    cached_tokens: int = 0
    bytes_per_number: int = FLOAT
    """Of the key-value cache."""


NO_ROLLOUTS = RolloutMemory()


def estimate_run(
    config: TrainingConfig,
    compute: Compute,
    batches: Sequence[MicroBatchShape],
    plan: ShardingPlan = SINGLE_GPU,
    rollouts: RolloutMemory = NO_ROLLOUTS,
) -> MemoryEstimate:
    """The largest estimate over these micro-batches. Raises BadInput where adapters have targets
    that are not modules."""
    shape, counts = shape_and_counts(config)
    return max(
        (estimate(shape, counts, config, compute, batch, plan, rollouts) for batch in batches),
        key=lambda found: found.total,
    )


def shape_and_counts(config: TrainingConfig) -> tuple[Shape, ParameterCounts]:
    """Dimensions of the model of a run, and its numbers of parameters with adapters as
    configured."""
    targets = config.lora_targets
    names = (targets,) if isinstance(targets, str) else tuple(targets)
    return _shape_and_counts(config.model, config.lora, config.lora_rank, names)


@lru_cache
def _shape_and_counts(
    name: ModelConfig, lora: bool, rank: int, targets: tuple[str, ...]
) -> tuple[Shape, ParameterCounts]:
    model = models.skeleton(name)
    wanted = targets[0] if targets == ("all-linear",) else list(targets)
    return Shape.of(model.config), count_parameters(model, rank if lora else 0, wanted)


def estimate(
    shape: Shape,
    counts: ParameterCounts,
    config: TrainingConfig,
    compute: Compute,
    batch: MicroBatchShape,
    plan: ShardingPlan = SINGLE_GPU,
    rollouts: RolloutMemory = NO_ROLLOUTS,
) -> MemoryEstimate:
    """Peak memory while this micro-batch goes through a model of these dimensions."""
    states = _states(counts, config, plan)
    weights = states.weights + round(rollouts.copies * FLOAT * counts.all)
    step = _Step.of(counts, config, compute, batch, plan)
    copies, settings = _copies_and_settings(shape, counts, config, compute, batch, plan, step)
    beside = _beside_states(shape, counts, batch, plan, states, settings, step)
    cache = 0
    if rollouts.cached_tokens:  # there are neither gradients nor activations while answering
        numbers = 2 * shape.layers * shape.kv_heads * shape.head
        cache = rollouts.cached_tokens * rollouts.bytes_per_number * numbers
        cache = max(0, cache - states.gradients - copies - beside)
    if config.load_in_4bit:
        rest = FLOAT - compute.dtype.itemsize  # of the frozen weights beside linear layers
        weights -= round((FLOAT - FOUR_BIT) * counts.linear + rest * (counts.all - counts.linear))
    return MemoryEstimate(
        weights,
        states.gradients,
        states.optimizer,
        communication_buffers(counts, states.gradients, plan),
        copies,
        beside,
        batch.rows,
        batch.length,
        plan,
        devices.dtype_name(compute.dtype),
        cache,
    )


def _states(counts: ParameterCounts, config: TrainingConfig, plan: ShardingPlan) -> ModelStates:
    parameters = counts.all + (counts.trained if config.lora else 0)
    # DeepSpeed steps on a flat master copy of a GPU's share, beside the weights that it computes
    # with.
    master = FLOAT if plan.deepspeed else 0
    states = model_states(parameters, counts.trained, plan, master=master)
    if not config.deepspeed.offload:
        return states
    # In CPU memory: optimizer states with their master copy, and all weights where these are
    # sharded.
    unsharded = model_states(parameters, counts.trained, plan).weights
    return replace(states, optimizer=0, weights=0 if plan.stage == 3 else unsharded)


@dataclass(frozen=True)
class _Step:
    """What decides which copies and gradients a micro-batch adds."""

    full: bool
    """Whether all weights are trained."""
    bf16: bool
    """Whether matmuls are in bfloat16."""
    linear: int
    """Weights of linear layers of which autocast makes copies for backward: not of 4-bit ones, nor
    of those of ZeRO-3, which are converted again in each matmul."""
    head: int
    """The same of the head, also under ZeRO-3: its copy for one matmul is the largest."""
    first: bool
    """Whether no gradients are held yet."""
    late: bool
    """Whether the gradient of a weight that autocast copied in an earlier micro-batch has the
    copy's dtype until backward ends: autograd runs the latest nodes first."""

    @staticmethod
    def of(
        counts: ParameterCounts,
        config: TrainingConfig,
        compute: Compute,
        batch: MicroBatchShape,
        plan: ShardingPlan,
    ) -> _Step:
        bf16, first = compute.dtype != torch.float32, batch.first or plan.deepspeed
        linear = 0 if config.load_in_4bit or plan.sharding == "zero3" else counts.linear
        head = 0 if config.load_in_4bit else counts.head
        return _Step(not config.lora, bf16, linear, head, first, late=bf16 and not first)


def _copies_and_settings(
    shape: Shape,
    counts: ParameterCounts,
    config: TrainingConfig,
    compute: Compute,
    batch: MicroBatchShape,
    plan: ShardingPlan,
    step: _Step,
) -> tuple[int, ActivationSettings]:
    """Bytes of bfloat16 weights that live through a step, and how the model computes."""
    full, bf16, linear = step.full, step.bf16, step.linear
    # Autocast caches its copy of a weight with a gradient for all micro-batches of a step, as long
    # as weights are unsharded; what backward needs of other weights, or of sharded ones, is freed
    # with the graph.
    cached = bf16 and ((full and plan.sharding == "none") or not config.gradient_checkpointing)
    block = 0 if cached or not bf16 else linear // shape.layers
    copies = 2 * (linear + step.head if cached else 0)
    copies += 2 * counts.trained if bf16 and not full else 0
    one_matmul = config.load_in_4bit or (bf16 and not linear)
    converted = shape.width * shape.ff if one_matmul else 0
    grad = 2 * counts.head if step.late else (FLOAT + 2 * bf16) * counts.head
    held = counts.tied or step.first  # the gradient of a tied head waits for the embedding's
    pending = 2 * counts.head if step.late else FLOAT * counts.head if held else 0
    return copies, ActivationSettings(
        compute.attention,
        bf16,
        config.gradient_checkpointing,
        masked=batch.rows > 1 or compute.padding_free,
        loss_chunk=chunk_size(compute.device),
        block_copy=2 * (block + converted),
        head_copy=2 * step.head if bf16 and not cached else 0,
        head_grad=grad * full,
        head_grad_pending=pending * full,
        residual_bytes=compute.dtype.itemsize if config.load_in_4bit else FLOAT,
        shared_input=0 if linear else compute.dtype.itemsize if config.load_in_4bit else FLOAT,
    )


def _beside_states(
    shape: Shape,
    counts: ParameterCounts,
    batch: MicroBatchShape,
    plan: ShardingPlan,
    states: ModelStates,
    settings: ActivationSettings,
    step: _Step,
) -> int:
    """Bytes of activations and temporary gradients that add to states and copies at the peak."""
    embedding = FLOAT * shape.vocab * shape.width
    end = 2 * (step.linear + counts.head) * step.late + embedding * (
        1 if not counts.tied else 2 if step.late or step.first else 3
    )
    peak, end = activations(shape, counts, batch, settings), end * step.full
    if step.first and not plan.deepspeed:
        # Gradients fill up as activations are freed: the peak, the first block's backward, or the
        # end.
        last = activations(
            replace(shape, layers=1),
            replace(counts, head=0),
            replace(batch, supervised=0),
            settings,
        )
        first_block = last - FLOAT * counts.layer * step.full  # whose gradients do not exist yet
        return max(peak - states.gradients, first_block, end, 0)
    # Before its step DeepSpeed flattens the gradients of a GPU's share into one more tensor.
    flat = FLOAT * counts.trained // plan.gpus if plan.deepspeed else 0
    return max(peak, end, flat)


def quadratic_coefficient(config: TrainingConfig, compute: Compute) -> float:
    """The c with which a row of n tokens needs activations in proportion to n · (1 + c · n)."""
    shape, counts = shape_and_counts(config)
    settings = ActivationSettings(
        compute.attention, compute.dtype != torch.float32, config.gradient_checkpointing
    )
    one, two = (
        activations(shape, counts, MicroBatchShape(2, n, 0), settings) / n for n in (1000, 2000)
    )
    return (two - one) / 1000 / (2 * one - two)
