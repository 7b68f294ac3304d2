"""Bytes that each GPU sends in a training step, by what is sharded.

Gathering a tensor of B bytes across N GPUs, or reducing it in shards, takes (N − 1)/N · B per GPU,
an all-reduce twice that, as with ring algorithms; none needs less. Weights and gradients are
float32. Gradient norms and losses, some bytes a step, are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

from ratiocine.memory.activations import FLOAT, ParameterCounts
from ratiocine.memory.sharding import MAX_LIVE_PARAMETERS, ShardingPlan


@dataclass(frozen=True)
class CommunicationVolume:
    """Bytes that a GPU sends in a step."""

    gradients: int
    weights: int = 0

    @property
    def total(self) -> int:
        return self.gradients + self.weights


def communication_volume(
    counts: ParameterCounts,
    plan: ShardingPlan,
    micro_batches: int,
    reuse_distance: int = MAX_LIVE_PARAMETERS,
) -> CommunicationVolume:
    """Volume of a step with this many micro-batches per GPU. Between forward and backward ZeRO-3
    keeps weights that are used again within `reuse_distance` parameters.

    As DeepSpeed 0.19 implements it: stage 1 all-reduces gradients at the end of a step; stage 2
    does so after every micro-batch, unsharded; both then gather the weights that each GPU has
    updated. Stage 3 gathers every weight, frozen ones too, for forward and again for backward, and
    reduces gradients in shards, in every micro-batch. DistributedDataParallel all-reduces at the
    end of a step."""
    ring = FLOAT * (plan.gpus - 1) / plan.gpus
    if plan.sharding == "none":
        return CommunicationVolume(round(2 * ring * counts.trained))
    if plan.stage < 3:
        reductions = 2 if plan.stage == 1 else 2 * micro_batches
        return CommunicationVolume(
            round(reductions * ring * counts.trained), round(ring * counts.trained)
        )
    unsharded = 0 if plan.sharding == "fsdp" else counts.small
    sharded = counts.all + (counts.trained if counts.rank else 0) - unsharded
    # Between a block's forward and its backward lie all blocks above it, twice.
    again = sharded if plan.sharding == "fsdp" else max(0, sharded - reuse_distance // 2)
    return CommunicationVolume(
        round(micro_batches * ring * counts.trained),
        round(micro_batches * ring * (sharded + again) + ring * unsharded),
    )
