"""Whether a run fits into memory: the training, and the engine that samples beside it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from ratiocine.errors import BadInput
from ratiocine.executors import distributed
from ratiocine.memory import (
    MemoryEstimate,
    MicroBatchShape,
    RolloutMemory,
    ShardingPlan,
    available_memory,
    check_memory,
    estimate_run,
    free_memory,
    largest_fitting,
    total_memory,
)
from ratiocine.training import Compute
from rl.config import Config
from rl.policy import rollout_dtype
from rl.preparation import PreparedProblems


def check_run(config: Config, prepared: PreparedProblems, compute: Compute) -> MemoryEstimate:
    """The memory estimate. Raises BadInput where it exceeds free memory."""
    needs = _needs(config, prepared, compute)
    needed = check_memory(
        config, compute, [needs.batch], "max_new_tokens", needs.plan, needs.rollouts
    )
    if config.engine.name == "vllm":
        check_vllm_share(config.engine.gpu_memory_utilization, needed, compute.device)
    return needed


def largest_micro_batch(config: Config, prepared: PreparedProblems, compute: Compute) -> int | None:
    """Answers of a micro-batch that fit a GPU, beside what vLLM reserves; None without one."""
    if (available := available_memory(compute.device)) is None:
        return None

    def needed(rows: int) -> MemoryEstimate:
        sized = replace(compute, micro_batch_size=rows)
        needs = _needs(config, prepared, sized)
        return estimate_run(config, sized, [needs.batch], needs.plan, needs.rollouts)

    if config.engine.name == "vllm":
        available -= round(config.engine.gpu_memory_utilization * total_memory(compute.device))
    return largest_fitting(config.micro_batch_sizes, needed, available)


@dataclass(frozen=True)
class _Needs:
    """What decides the memory of a run beside its configuration."""

    batch: MicroBatchShape
    plan: ShardingPlan
    rollouts: RolloutMemory


def _needs(config: Config, prepared: PreparedProblems, compute: Compute) -> _Needs:
    rows, ranks = compute.micro_batch_size, distributed.world_size()
    length = prepared.max_prompt_tokens + config.tokens
    only = config.batch_size == config.num_minibatches * rows * ranks  # micro-batch of an update
    batch = MicroBatchShape(rows, length, rows * config.tokens, first=only)
    number, cached, copies = rollout_dtype(config, compute.device).itemsize, 0, 0.0
    if config.engine.name == "transformers":
        copies = number / 4
        cached = min(
            max(config.engine.max_cache_tokens, length),
            min(config.engine.max_batch_size, config.batch_size) * length,
        )
    reference = bool(config.objective.beta) and not config.lora
    cache_bytes = 4 if compute.device.type == "cpu" else number  # float32, see `kv_cache`
    rollouts = RolloutMemory(copies + reference, cached, cache_bytes)
    return _Needs(batch, ShardingPlan(config.sharding, ranks), rollouts)


def check_vllm_share(share: float, needed: MemoryEstimate, device: torch.device) -> None:
    """Raise BadInput where the share of the memory that vLLM reserves does not fit beside what the
    training needs."""
    free, total = free_memory(device), total_memory(device)
    if free is None or share * total <= free - needed.total:
        return
    fits = max(0, int(100 * (free - needed.total) / total)) / 100
    raise BadInput(
        f"engine.gpu_memory_utilization={share}: vLLM would reserve {share * total / 2**30:.3g} GB "
        f"beside the training, which needs {needed}; {free / 2**30:.3g} GB are free: at most "
        f"{fits} fits"
    )
