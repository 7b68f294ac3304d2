"""Model states (weights, gradients, optimizer states) of one GPU under data parallelism, ZeRO and
full sharding."""

from __future__ import annotations

from dataclasses import dataclass

from ratiocine.memory.activations import FLOAT, ParameterCounts
from ratiocine.training import REDUCE_BUCKET_SIZE, Sharding

# Weights that DeepSpeed's ZeRO-3 holds gathered at a time, at most (stage3_max_live_parameters).
MAX_LIVE_PARAMETERS = 10**9


@dataclass(frozen=True)
class ShardingPlan:
    """Number of GPUs, and what is sharded across them: nothing (`none`); optimizer states
    (`zero1`); gradients as well (`zero2`); weights as well (`zero3`, `fsdp`)."""

    sharding: Sharding = "none"
    gpus: int = 1

    @property
    def stage(self) -> int:
        """How many of optimizer states, gradients and weights are sharded, in this order."""
        return {"none": 0, "zero1": 1, "zero2": 2, "zero3": 3, "fsdp": 3}[self.sharding]

    @property
    def deepspeed(self) -> bool:
        return self.sharding.startswith("zero")


SINGLE_GPU = ShardingPlan()


@dataclass(frozen=True)
class ModelStates:
    """Bytes per GPU that outlive a step."""

    weights: int
    gradients: int
    optimizer: int

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer


def model_states(
    parameters: float,
    trained: float,
    plan: ShardingPlan = SINGLE_GPU,
    *,
    weight: float = FLOAT,
    gradient: float = FLOAT,
    optimizer: float = 2 * FLOAT,
    master: float = 0,
) -> ModelStates:
    """States of a model of which `trained` parameters learn, at these bytes per parameter (ZeRO,
    arXiv 1910.02054, section 3). Defaults are float32 throughout; the paper's mixed precision is 2,
    2 and 8 with a `master` copy of 4, which is sharded as optimizer states are."""
    shards = [plan.gpus if plan.stage > state else 1 for state in range(3)]
    return ModelStates(
        round(weight * parameters / shards[2] + master * trained / shards[0]),
        round(gradient * trained / shards[1]),
        round(optimizer * trained / shards[0]),
    )


def communication_buffers(counts: ParameterCounts, gradients: int, plan: ShardingPlan) -> int:
    """Bytes per GPU of the buffers that exchange weights and gradients; its gradients take
    `gradients` bytes."""
    if plan.sharding == "none":  # buckets of DistributedDataParallel, as large as the gradients
        return gradients if plan.gpus > 1 else 0
    if plan.sharding == "fsdp":  # a unit, the one that is prefetched, and their gradients
        return 3 * FLOAT * counts.layer
    bucket = FLOAT * REDUCE_BUCKET_SIZE
    if plan.stage < 3:
        return bucket
    reduced = FLOAT * min(REDUCE_BUCKET_SIZE, counts.trained)
    if plan.gpus == 1:  # a single rank's shares are the weights, which nothing gathers
        return bucket + reduced
    return bucket + reduced + FLOAT * min(counts.all, MAX_LIVE_PARAMETERS)
