"""Micro-batches of a run: how many rows fit into memory, and the largest ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ratiocine.executors import distributed
from ratiocine.memory import (
    MemoryEstimate,
    MicroBatchShape,
    ShardingPlan,
    available_memory,
    check_memory,
    estimate_run,
    largest_fitting,
    quadratic_coefficient,
)
from ratiocine.training import Compute, resolve_compute
from train.batches import MicroBatchSampler
from train.config import Config
from train.planning import TrainingPlan, micro_batch_sampler


def resolve(config: Config, plan: TrainingPlan, folder: Path | None = None) -> Compute:
    """Device, dtype and micro-batches of a run: those of its checkpoints in `folder`, else the most
    rows that fit the memory of a GPU."""

    def largest(compute: Compute) -> int | None:
        if (available := available_memory(compute.device)) is None:
            return None
        sharding = ShardingPlan(config.sharding, distributed.world_size())

        def needed(rows: int) -> MemoryEstimate:
            sized = replace(compute, micro_batch_size=rows)
            return estimate_run(config, sized, _shapes(config, plan, sized), sharding)

        return largest_fitting(config.micro_batch_sizes, needed, available)

    return resolve_compute(
        config, folder, padding_free=config.padding_free, largest_micro_batch=largest
    )


def sampler(config: Config, plan: TrainingPlan, compute: Compute) -> MicroBatchSampler:
    """The sampler of this rank."""
    return micro_batch_sampler(
        config,
        plan,
        compute.micro_batch_size,
        padded=not compute.padding_free,
        quadratic=quadratic_coefficient(config, compute),
    )


def check_fit(config: Config, plan: TrainingPlan, compute: Compute) -> MemoryEstimate:
    """The memory estimate. Raises BadInput where it exceeds free memory."""
    sharding = ShardingPlan(config.sharding, distributed.world_size())
    return check_memory(config, compute, _shapes(config, plan, compute), "max_length", sharding)


def _shapes(config: Config, plan: TrainingPlan, compute: Compute) -> list[MicroBatchShape]:
    """Of the largest micro-batches: the first ones of a step, and the others."""
    batches, dataset, shapes = sampler(config, plan, compute), plan.dataset, []
    for first in (True, False):
        examples = [(name, mode) for name, mode, _ in batches.largest(after_first=not first)]
        if not examples:
            continue
        lengths = [dataset.length(*example) for example in examples]
        supervised = sum(dataset.supervised(*example) for example in examples)
        rows, length = (1, sum(lengths)) if compute.padding_free else (len(lengths), max(lengths))
        shapes.append(MicroBatchShape(rows, length, supervised, first))
    return shapes
