"""Whether a run fits into memory: the training, and the engine that samples beside it."""

from __future__ import annotations

import torch

from ratiocine.errors import BadInput
from ratiocine.executors import distributed
from ratiocine.memory import (
    MemoryEstimate,
    MicroBatchShape,
    RolloutMemory,
    ShardingPlan,
    check_memory,
    free_memory,
    total_memory,
)
from ratiocine.training import Compute
from rl.config import Config
from rl.policy import rollout_dtype
from rl.preparation import PreparedProblems


def check_run(config: Config, prepared: PreparedProblems, compute: Compute) -> MemoryEstimate:
    """The memory estimate. Raises BadInput where it exceeds free memory."""
    rows, ranks = config.micro_batch_size, distributed.world_size()
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
    rollouts = RolloutMemory(copies + reference, cached, number)
    plan = ShardingPlan(config.sharding, ranks)
    needed = check_memory(config, compute, [batch], "max_new_tokens", plan, rollouts)
    if config.engine.name == "vllm":
        check_vllm_share(config.engine.gpu_memory_utilization, needed, compute.device)
    return needed


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
