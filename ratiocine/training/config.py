"""How a model is trained and on what: the keys that verbs which train have in common, and what `auto` means in them. It is
settled once, before any weights are read, and kept by a run that goes on."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import (
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from ratiocine import devices, models
from ratiocine.config import Hashed, StrictConfig, Unhashed
from ratiocine.devices import Attention, Device, Dtype
from ratiocine.errors import BadInput
from ratiocine.executors import Seed, distributed
from ratiocine.models import ModelConfig
from ratiocine.runs import TrackedConfig, write_whole

if TYPE_CHECKING:
    import torch

BEGAN = "began.json"
REDUCED_AT_ONCE = (
    5 * 10**7
)  # gradients in a bucket of DeepSpeed; its own 5e8 would take 2 GB of every card
Sharding = Literal["none", "zero1", "zero2", "zero3", "fsdp"]


class DeepSpeedConfig(StrictConfig):
    """conf/deepspeed: what ZeRO cuts over the ranks; 0 is nothing, without DeepSpeed. `offload` keeps the moments, and what
    stage 3 cuts, in the memory of the processor."""

    name: Unhashed[str]
    stage: Unhashed[Literal[0, 1, 2, 3]] = 0
    offload: Unhashed[bool] = False

    @property
    def settings(self) -> dict[str, Any] | None:
        """As DeepSpeed reads them; None where it has no part. What transformers knows it fills in."""
        if not self.stage:
            return None
        zero: dict[str, Any] = {"stage": self.stage, "reduce_bucket_size": REDUCED_AT_ONCE}
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


class TrainingConfig(TrackedConfig):
    """The keys of every verb that trains; conf/train.yaml and conf/rl.yaml say what each means."""

    model: Hashed[ModelConfig]
    micro_batch_size: Hashed[PositiveInt] = 4
    attention: Hashed[Attention] = "auto"
    gradient_checkpointing: Hashed[bool] = False
    weight_decay: Hashed[NonNegativeFloat] = 0.0
    max_grad_norm: Hashed[PositiveFloat] = 1.0
    lora: Hashed[bool] = False
    lora_rank: Hashed[PositiveInt] = 16
    lora_targets: Hashed[str | list[str]] = "all-linear"
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

    @property
    def sharding(self) -> Sharding:
        """What is cut over the ranks."""
        stages: tuple[Sharding, ...] = ("none", "zero1", "zero2", "zero3")
        return "fsdp" if self.fsdp else stages[self.deepspeed.stage]

    @model_validator(mode="after")
    def _ranks_that_can_work(self) -> Self:
        zero = self.deepspeed
        if zero.stage and find_spec("deepspeed") is None:
            raise ValueError(
                f"deepspeed={zero.name} needs an extra: pip install 'ratiocine[deepspeed]'"
            )
        if zero.stage and not distributed.is_launched() and not self.is_remote:
            how = "executor.gpus_per_node=8, deepspeed --no_local_rank --num_gpus 8 --module …"
            raise ValueError(
                f"deepspeed={zero.name} cuts a model over ranks, which a launcher starts: {how}, or torchrun"
            )
        for name, key in (
            ("ACCELERATE_USE_FSDP", "fsdp"),
            ("ACCELERATE_USE_DEEPSPEED", "deepspeed"),
        ):
            if os.environ.get(name) == "true":
                raise ValueError(
                    f"accelerate launch --use_{key}: here that is said by {key}= itself; leave it out"
                )
        if self.sharding in ("zero3", "fsdp") and self.load_in_4bit:
            raise ValueError(
                "load_in_4bit=true: 4-bit weights cannot be cut over ranks; zero1 and zero2 leave them whole"
            )
        if self.fsdp and zero.stage:
            raise ValueError(
                f"fsdp=true and deepspeed={zero.name} both cut a model over ranks; give one of them"
            )
        if self.fsdp and self.world_size == 1:
            raise ValueError(
                "fsdp=true cuts a model over ranks: executor.gpus_per_node=8, or torchrun --nproc_per_node 8 -m …"
            )
        return self

    @model_validator(mode="after")
    def _no_adapter_key_for_nothing(self) -> Self:
        if not self.lora:
            for key in ("lora_rank", "lora_targets", "load_in_4bit"):
                if (value := getattr(self, key)) != type(self).model_fields[key].default:
                    raise ValueError(f"{key}={value} is for adapters; lora=true trains them")
        return self


@dataclass(frozen=True)
class Compute:
    """`dtype` is that of matrix products; weights are float32. With `padding_free` a micro-batch is one row of documents."""

    device: torch.device
    dtype: torch.dtype
    attention: str
    padding_free: bool

    @property
    def facts(self) -> dict[str, Any]:
        return {
            "device": str(self.device),
            "precision": devices.name(self.dtype),
            "attention": self.attention,
            "padding_free": self.padding_free,
        }


def compute(
    config: TrainingConfig,
    folder: Path | None = None,
    *,
    padding_free: bool | Literal["auto"] = False,
) -> Compute:
    """As the configuration says, and for `auto` as suits this machine; a run whose checkpoints are in `folder` multiplies in
    the type that it began with. Raises BadInput where something asked for is not here."""
    import torch

    device = devices.resolve_device(config.device)
    if device.type == "cuda" and distributed.is_launched():  # before anything is put there
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    began = _began(folder)
    if began:
        _check_goes_on(config, began)
    if device.type == "cpu":
        os.environ.setdefault(
            "DS_ACCELERATOR", "cpu"
        )  # DeepSpeed, where it is installed, would look for another and say so
    if began:
        dtype = getattr(torch, began["precision"])
    else:
        # An adapter's first steps are smaller than half a unit in the last place of the bfloat16 number that they are added to,
        # and are rounded away: SmolLM2-135M after 12 steps at 1e-4 had a held-out loss of 1.55, in float32 1.44. All weights
        # learn the same in both (0.565 and 0.563), so on a CPU, where bfloat16 saves little, adapters alone do without.
        alone = config.lora and device.type == "cpu" and config.precision == "auto"
        dtype = torch.float32 if alone else devices.computes_in(config.precision, device)
    attention = devices.attends_by(config.attention, device, dtype)
    if config.load_in_4bit:
        models.check_four_bit(config.model)
    # Only flash attention skips what documents may not see of each other; the others compute it and mask it.
    free = attention == "flash_attention_2" if padding_free == "auto" else padding_free
    return Compute(device, dtype, attention, free)


def save_compute(folder: Path, config: TrainingConfig, chosen: Compute) -> None:
    """For a run that goes on from here, be it on another machine."""
    if distributed.is_first():
        folder.mkdir(parents=True, exist_ok=True)
        facts = {
            "precision": devices.name(chosen.dtype),
            "sharding": config.sharding,
            "ranks": distributed.world_size(),
        }
        write_whole(folder / BEGAN, json.dumps(facts))


def _began(folder: Path | None) -> dict[str, Any]:
    return (
        json.loads((folder / BEGAN).read_text())
        if folder is not None and (folder / BEGAN).exists()
        else {}
    )


def _check_goes_on(config: TrainingConfig, began: dict[str, Any]) -> None:
    """Raise BadInput where checkpoints cannot be read as they are to be: those of whole weights and of FSDP by any number of
    ranks, DeepSpeed's by as many as wrote them."""
    same = began["ranks"] == distributed.world_size() or began["sharding"] in ("none", "fsdp")
    if config.sharding != began["sharding"] or not same:
        raise BadInput(
            f"the interrupted run in out has checkpoints of {began['ranks']} ranks with sharding {began['sharding']}, which "
            f"are not read by {distributed.world_size()} with {config.sharding}; go on as it began, or choose another out"
        )


def load(config: TrainingConfig, chosen: Compute) -> Any:
    """The model to be trained, with its adapters where it has some."""
    four_bit = chosen.dtype if config.load_in_4bit else None
    model: Any = models.load_model(
        config.model, config.device, attention=chosen.attention, four_bit=four_bit
    )
    if config.lora:
        model = models.add_lora(model, config.lora_rank, config.lora_targets, seed=config.seed)
    return model
