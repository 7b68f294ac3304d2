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
    found = needs(config, prepared.max_prompt_tokens, compute, _plan(config))
    needed = check_memory(
        config, compute, [found.batch], "max_new_tokens", _plan(config), found.rollouts
    )
    if config.engine.name == "vllm":
        check_vllm_share(config.engine.gpu_memory_utilization, needed, compute.device)
    return needed


def largest_micro_batch(config: Config, prepared: PreparedProblems, compute: Compute) -> int | None:
    """Answers of a micro-batch that fit a GPU, beside what vLLM reserves; None without one."""
    if (available := available_memory(compute.device)) is None:
        return None
    plan = _plan(config)

    def needed(rows: int) -> MemoryEstimate:
        sized = replace(compute, micro_batch_size=rows)
        found = needs(config, prepared.max_prompt_tokens, sized, plan)
        return estimate_run(config, sized, [found.batch], plan, found.rollouts)

    if config.engine.name == "vllm":
        available -= round(config.engine.gpu_memory_utilization * total_memory(compute.device))
    return largest_fitting(config.micro_batch_sizes, needed, available)


@dataclass(frozen=True)
class Needs:
    """What decides the memory of a run beside its configuration."""

    batch: MicroBatchShape
    rollouts: RolloutMemory


def needs(config: Config, prompt: int, compute: Compute, plan: ShardingPlan) -> Needs:
    """Of a run whose longest prompt has so many tokens."""
    rows = compute.micro_batch_size
    length = prompt + config.tokens
    # Whether an update has a single micro-batch.
    only = config.batch_size == config.num_minibatches * rows * plan.gpus
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
    return Needs(batch, RolloutMemory(copies + reference, cached, cache_bytes))


def _plan(config: Config) -> ShardingPlan:
    return ShardingPlan(config.sharding, distributed.world_size())


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
