"""TRL's GRPOConfig of a run: its keys by TRL's names, and what is fixed."""

from __future__ import annotations

from pathlib import Path

from trl import GRPOConfig

from ratiocine.executors import distributed
from ratiocine.training import Compute, training_arguments
from rl.config import Config
from rl.objectives import TRL_LOSSES


def arguments(config: Config, compute: Compute, folder: Path) -> GRPOConfig:
    """TRL's configuration of a run."""
    objective, ranks = config.objective, distributed.world_size()
    update = config.num_minibatches * compute.micro_batch_size * ranks
    accumulation = config.batch_size // update
    return training_arguments(
        GRPOConfig,
        config,
        compute,
        folder,
        max_steps=config.max_steps * config.optimizer_steps,
        gradient_accumulation_steps=accumulation,
        steps_per_generation=accumulation * config.num_minibatches,
        num_iterations=config.num_iterations,
        num_generations=config.num_generations,
        max_completion_length=config.tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        loss_type=TRL_LOSSES[objective.loss],
        scale_rewards="none",
        epsilon=objective.epsilon,
        epsilon_high=objective.epsilon_high,
        beta=objective.beta,
        mask_truncated_completions=objective.mask_truncated_completions,
        sync_ref_model=objective.ref_model_sync_steps is not None,
        ref_model_mixup_alpha=1.0,
        ref_model_sync_steps=(objective.ref_model_sync_steps or 1) * config.optimizer_steps,
        bf16=False,
        save_steps=config.save_steps * config.optimizer_steps,
        dataloader_pin_memory=False,
        disable_dropout=True,
        router_aux_loss_coef=0.0,
    )
