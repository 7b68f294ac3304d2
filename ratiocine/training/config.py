"""Configuration keys that all training verbs have in common."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from ratiocine.config import (
    Hashed,
    Identity,
    MicroBatchSize,
    Seed,
    StrictConfig,
    Unhashed,
    flattened,
    marker,
)
from ratiocine.devices import Attention, Device, Dtype
from ratiocine.executors import distributed
from ratiocine.models import ModelConfig
from ratiocine.runs import TrackedConfig

REDUCE_BUCKET_SIZE = 5 * 10**7  # gradients; DeepSpeed's default of 5e8 takes 2 GB of every GPU
Sharding = Literal["none", "zero1", "zero2", "zero3", "fsdp"]


class DeepSpeedConfig(StrictConfig):
    """conf/deepspeed: ZeRO stage (0: without DeepSpeed), and whether optimizer states, and at stage
    3 weights, are offloaded to CPU memory."""

    name: Unhashed[str]
    stage: Unhashed[Literal[0, 1, 2, 3]] = 0
    offload: Unhashed[bool] = False

    @property
    def settings(self) -> dict[str, Any] | None:
        """DeepSpeed's own configuration, of which transformers fills in `auto`; None at stage 0."""
        if not self.stage:
            return None
        zero: dict[str, Any] = {"stage": self.stage, "reduce_bucket_size": REDUCE_BUCKET_SIZE}
        if self.offload:
            zero["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
        if self.offload and self.stage == 3:
            zero["offload_param"] = {"device": "cpu", "pin_memory": True}
        if self.stage == 3:
            zero["stage3_gather_16bit_weights_on_model_save"] = True
        return {
            "zero_optimization": zero,
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,
            "train_micro_batch_size_per_gpu": "auto",
            "gradient_accumulation_steps": "auto",
            "gradient_clipping": "auto",
        }


# Keys that decide which weights a checkpoint holds.
WEIGHTS = {"lora", "lora_rank", "lora_targets", "load_in_4bit"}


class TrainingConfig(TrackedConfig):
    """Keys of every training verb; conf/train.yaml and conf/rl.yaml describe them."""

    model: Hashed[ModelConfig]
    micro_batch_size: Annotated[MicroBatchSize, Identity("value", auto=4)] = "auto"
    attention: Hashed[Attention] = "auto"
    gradient_checkpointing: Hashed[bool] = False
    weight_decay: Hashed[NonNegativeFloat] = 0.0
    max_grad_norm: Hashed[PositiveFloat] = 1.0
    lora: Hashed[bool] = False
    lora_rank: Hashed[PositiveInt] = 16
    lora_targets: Hashed[str | Annotated[list[str], Field(min_length=1)]] = "all-linear"
    load_in_4bit: Hashed[bool] = False
    seed: Hashed[Seed] = 0
    deepspeed: Unhashed[DeepSpeedConfig] = DeepSpeedConfig(name="none")
    fsdp: Unhashed[bool] = False
    ddp_timeout: Unhashed[PositiveInt] = 1800
    save_steps: Unhashed[PositiveInt] = 500
    save_total_limit: Unhashed[PositiveInt] = 1
    resume_overrides: Unhashed[list[str]] = []  # noqa: RUF012  (pydantic copies it)
    precision: Hashed[Dtype] = "auto"
    device: Unhashed[Device] = "auto"
    threads: Unhashed[PositiveInt | None] = None
    out: Unhashed[str | None] = None
    log_model: Unhashed[bool] = False

    @model_validator(mode="after")
    def _artifacts_of_wandb(self) -> Self:
        if self.log_model and self.tracker != "wandb":
            raise ValueError(f"log_model=true is for tracker=wandb, not tracker={self.tracker}")
        return self

    @model_validator(mode="after")
    def _overrides_are_keys(self) -> Self:
        known = flattened(self.model_dump())
        for key in self.resume_overrides:
            if key not in known:
                raise ValueError(
                    f"resume_overrides={self.resume_overrides}: '{key}' is no key of the "
                    "configuration"
                )
        if fixed := sorted(WEIGHTS & set(self.resume_overrides)):
            raise ValueError(
                f"resume_overrides={fixed}: a resumed run keeps the weights that it trains"
            )
        return self

    @property
    def micro_batch_sizes(self) -> list[int]:
        """What `micro_batch_size=auto` chooses from on a GPU, in ascending order; a verb adds those
        that its batches allow."""
        return [1]

    @property
    def micro_batch_size_on_cpu(self) -> int:
        """What `micro_batch_size=auto` is without a GPU."""
        size = marker(type(self), "micro_batch_size").auto
        assert size is not None
        return size

    @property
    def sharding(self) -> Sharding:
        """What is sharded across ranks."""
        stages: tuple[Sharding, ...] = ("none", "zero1", "zero2", "zero3")
        return "fsdp" if self.fsdp else stages[self.deepspeed.stage]

    @property
    def shards_weights(self) -> bool:
        """Whether no rank holds a whole model."""
        return self.sharding in ("zero3", "fsdp")

    @property
    def unused_packages(self) -> tuple[str, ...]:
        """Packages that transformers and TRL import where they are installed, and that this run
        does without (`startup.hidden`)."""
        used = {
            "bitsandbytes": self.load_in_4bit,
            "deepspeed": self.deepspeed.stage > 0,
            "trackio": self.tracker == "trackio",
            "wandb": self.tracker == "wandb",
        }
        return tuple(name for name, needed in used.items() if not needed)

    @model_validator(mode="after")
    def _deepspeed_is_usable(self) -> Self:
        zero = self.deepspeed
        if zero.stage and find_spec("deepspeed") is None and not self.is_remote:
            raise ValueError(f"deepspeed={zero.name} needs an extra: pip install -e '.[deepspeed]'")
        if zero.stage and not distributed.is_launched() and not self.is_remote:
            how = "executor.gpus_per_node=8, deepspeed --no_local_rank --num_gpus 8 --module …"
            raise ValueError(
                f"deepspeed={zero.name} shards a model across ranks, which a launcher starts: "
                f"{how}, or torchrun"
            )
        return self

    @model_validator(mode="after")
    def _sharding_is_unambiguous(self) -> Self:
        zero = self.deepspeed
        for variable, key in (
            ("ACCELERATE_USE_FSDP", "fsdp"),
            ("ACCELERATE_USE_DEEPSPEED", "deepspeed"),
        ):
            if os.environ.get(variable) == "true":
                raise ValueError(
                    f"accelerate launch --use_{key}: use {key}= instead, without that option"
                )
        if self.shards_weights and self.load_in_4bit:
            raise ValueError(
                f"load_in_4bit=true: 4-bit weights cannot be sharded by {self.sharding}; "
                "zero1 and zero2 leave weights unsharded"
            )
        if self.fsdp and zero.stage:
            raise ValueError(
                f"fsdp=true and deepspeed={zero.name} both shard a model; choose one of them"
            )
        if self.fsdp and self.world_size == 1:
            raise ValueError(
                "fsdp=true shards a model across ranks: executor.gpus_per_node=8, or "
                "torchrun --nproc_per_node 8 -m …"
            )
        return self

    @model_validator(mode="after")
    def _adapter_keys_need_adapters(self) -> Self:
        if not self.lora:
            for key in ("lora_rank", "lora_targets", "load_in_4bit"):
                if (value := getattr(self, key)) != type(self).model_fields[key].default:
                    raise ValueError(f"{key}={value} is for adapters; lora=true trains them")
        return self
