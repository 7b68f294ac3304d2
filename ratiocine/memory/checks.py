"""Whether a run fits into free memory, and which settings would make it fit."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ratiocine.errors import BadInput
from ratiocine.memory.activations import MicroBatchShape
from ratiocine.memory.estimates import (
    NO_ROLLOUTS,
    MemoryEstimate,
    RolloutMemory,
    estimate_run,
    unit_of,
)
from ratiocine.memory.sharding import SINGLE_GPU, ShardingPlan
from ratiocine.training import Compute, TrainingConfig

GPU_COUNTS = (2, 4, 8, 16, 32, 64)
SHARE = 0.88  # of a GPU for a run's tensors; the rest for the CUDA context and fragmentation
IDLE = 0.9  # share that is free on a GPU without other processes


@dataclass(frozen=True)
class Attempt:
    """A run as configured, or with some of its settings changed."""

    config: TrainingConfig
    compute: Compute
    batches: Sequence[MicroBatchShape]
    """Shapes of its largest micro-batches."""
    plan: ShardingPlan
    rollouts: RolloutMemory
    length_key: str
    """The configuration key that shortens rows."""

    @property
    def estimate(self) -> MemoryEstimate:
        return estimate_run(self.config, self.compute, self.batches, self.plan, self.rollouts)

    @property
    def total(self) -> int:
        return self.estimate.total

    def having(self, **keys: object) -> Attempt:
        return replace(self, config=self.config.model_copy(update=keys))

    def truncated(self, length: int) -> Attempt:
        """With rows of at most this length."""
        batches = [
            replace(
                batch,
                length=min(batch.length, length),
                supervised=min(batch.supervised, batch.rows * length),
            )
            for batch in self.batches
        ]
        return replace(self, batches=batches)


def check_memory(
    config: TrainingConfig,
    compute: Compute,
    batches: Sequence[MicroBatchShape],
    length_key: str,
    plan: ShardingPlan = SINGLE_GPU,
    rollouts: RolloutMemory = NO_ROLLOUTS,
) -> MemoryEstimate:
    """The estimate of a run whose largest micro-batches have these shapes. Raises BadInput, with
    advice, where free memory is less. On an accelerator only the states have to fit: the trial
    step (`training.session`) over the longest micro-batch decides about activations. On a CPU the
    operating system would kill the process without a message."""
    attempt = Attempt(config, compute, batches, plan, rollouts, length_key)
    needed, free = attempt.estimate, free_memory(compute.device)
    certain = needed.total if compute.device.type == "cpu" else needed.states
    if free is None or certain <= free:
        return needed
    unit, size = unit_of(free)
    raise BadInput(
        f"model={config.model.given} will not fit: it needs {needed}, and {free / size:.3g} {unit} "
        f"are free; try {advice(attempt, free)}"
    )


def advice(attempt: Attempt, free: int) -> str:
    """Settings with which the run fits into `free` bytes: every single change that suffices, else
    the first changes that do together; shorter rows; else a smaller model."""
    found = [word for word, other in changes(attempt, free) if other.total <= free]
    if not found:
        words, current = list[str](), attempt
        while step := next(
            ((w, o) for w, o in changes(current, free) if o.total < current.total), None
        ):
            words, current = [*words, step[0]], step[1]
            if current.total <= free:
                found = [" with ".join(words)]
                break
    longest = max(batch.length for batch in attempt.batches)
    lengths = range(longest - 1, 1, -max(1, longest // 64))
    fitting = next((n for n in lengths if attempt.truncated(n).total <= free), 0)
    found += [f"rows of at most {fitting} tokens ({attempt.length_key})"] if fitting else []
    return ", or ".join(found) or "a smaller model"


def changes(attempt: Attempt, free: int) -> Iterator[tuple[str, Attempt]]:
    """Single changes that lower memory, the least harmful first."""
    config, plan = attempt.config, attempt.plan
    if not config.gradient_checkpointing:
        yield "gradient_checkpointing=true", attempt.having(gradient_checkpointing=True)
    if attempt.compute.micro_batch_size > 1:
        batches = [_single_row(batch, attempt) for batch in attempt.batches]
        single = replace(attempt.compute, micro_batch_size=1)
        yield "micro_batch_size=1", replace(attempt, compute=single, batches=batches)
    if attempt.compute.device.type != "cpu" and plan.stage < 3 and not config.load_in_4bit:
        counts = [plan.gpus] if plan.gpus > 1 else GPU_COUNTS
        sharded = [replace(attempt, plan=ShardingPlan("zero3", gpus)) for gpus in counts]
        enough = next((one for one in sharded if one.total <= free), sharded[-1])
        yield f"deepspeed=zero3 across {enough.plan.gpus} GPUs", enough
    if not config.lora:
        yield "lora=true", attempt.having(lora=True)
    elif not config.load_in_4bit and attempt.compute.device.type == "cuda" and plan.stage < 3:
        yield "load_in_4bit=true", attempt.having(load_in_4bit=True)


def _single_row(batch: MicroBatchShape, attempt: Attempt) -> MicroBatchShape:
    """The shape with one row; without padding a micro-batch is one row of several documents."""
    rows, packed = attempt.compute.micro_batch_size, attempt.compute.padding_free
    return replace(
        batch,
        rows=1,
        length=-(-batch.length // rows) if packed else batch.length,
        supervised=-(-batch.supervised // (rows if packed else batch.rows)),
    )


def largest_fitting(
    sizes: Sequence[int], needed: Callable[[int], MemoryEstimate], available: int
) -> int:
    """The largest of `sizes`, ascending, with which a run needs at most `SHARE` of `available`
    bytes; the first if none does. Prints it."""
    fitting = (size for size in reversed(sizes) if needed(size).total <= SHARE * available)
    size = next(fitting, sizes[0])
    unit, one = unit_of(available)
    within = f"within {SHARE:.0%} of {available / one:.3g} {unit}"
    print(f"micro_batch_size: {size} (auto: the largest of {sizes} {within})", flush=True)
    return size


def available_memory(device: torch.device) -> int | None:
    """Bytes of a GPU for `micro_batch_size=auto`: all where other processes use few, so that equal
    GPUs have the same; else the free ones. None on other devices."""
    if device.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(device)
    return total if free >= IDLE * total else free


def total_memory(device: torch.device) -> int:
    """Bytes of a device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def free_memory(device: torch.device) -> int | None:
    """Free bytes of a device per process that shares it; None where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = next(line for line in lines if line.startswith("MemAvailable"))
        free.append(int(available.split()[1]) * 1024)
        group = Path("/sys/fs/cgroup")  # a container's limit can be below the machine's memory
        limit = (group / "memory.max").read_text().strip()
        if limit != "max":
            free.append(int(limit) - int((group / "memory.current").read_text()))
    except (OSError, StopIteration, ValueError):
        pass
    return min(free) // int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if free else None
