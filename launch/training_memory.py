"""Memory of a planned training: of a process on a CPU, or of a GPU of the assumed card."""

from __future__ import annotations

from math import ceil

from launch.cards import Card
from launch.cost_model import CostModel
from launch.stages import Stage
from ratiocine.memory import NO_ROLLOUTS, Attempt, MicroBatchShape, ShardingPlan
from ratiocine.training import Compute, TrainingConfig
from rl.config import Config as RLConfig
from train.config import Config as TrainConfig


def training_config(stage: Stage) -> TrainConfig | RLConfig:
    """Of a stage that trains."""
    return stage.planned(RLConfig) if stage.verb == "rl" else stage.planned(TrainConfig)


def attempt(stage: Stage, model: CostModel, card: Card | None = None) -> Attempt | None:
    """A step of a training with rows as long as the traces of its pairs, on a CPU or a card; there
    `micro_batch_size=auto` has one row at least. None where the model is not at hand."""
    import torch

    start = model.starting_model(stage)
    if start is None:
        return None
    config = training_config(stage).model_copy(update={"model": start})
    rows = config.micro_batch_size
    if rows == "auto":
        rows = 1 if card else config.micro_batch_size_on_cpu
    dtype = "bfloat16" if card is None or card.bfloat16 else "float32"
    if config.precision != "auto":
        dtype = config.precision
    device = torch.device("cuda" if card else "cpu")
    compute = Compute(device, getattr(torch, dtype), "sdpa", False, rows)
    plan = ShardingPlan(config.sharding, stage.executor.world_size)
    prompt = ceil(2 * model.prompt_tokens(stage))
    if isinstance(config, RLConfig):
        from rl.memory_checks import needs

        if config.rollout_dtype == "auto" and card:
            config = config.model_copy(update={"rollout_dtype": dtype})
        found = needs(config, prompt, compute, plan)
        return Attempt(config, compute, [found.batch], plan, found.rollouts, "max_new_tokens")
    pairs = model.pairs.of_student(stage)
    reasoning = (pairs.long_trace or 2 * pairs.reasoning) if pairs else config.max_length
    length = min(config.max_length, ceil(prompt + reasoning))
    batch = MicroBatchShape(rows, length, rows * length)
    return Attempt(config, compute, [batch], plan, NO_ROLLOUTS, "max_length")


def free_for(config: TrainingConfig, card: Card) -> int:
    """Bytes of a card for a training, beside what vLLM reserves."""
    share = 0.0
    if isinstance(config, RLConfig) and config.engine.name == "vllm":
        share = config.engine.gpu_memory_utilization
    return round(card.usable - share * card.gb * 2**30)
