"""What `python -m rl` can be told, and what its result depends on."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from ratiocine import models
from ratiocine.data import DataConfig, sources
from ratiocine.devices import Dtype
from ratiocine.engines import TransformersConfig, VLLMConfig
from ratiocine.errors import BadInput
from ratiocine.rewards import RewardConfig
from ratiocine.training import Trained

Loss = Literal["sequence-mean", "token-mean", "constant", "mirror-descent"]
Std = Literal["population", "sample", "none"]
Room = Annotated[float, Field(ge=0, lt=1e3, allow_inf_nan=False)]


class ObjectiveConfig(BaseModel):
    """conf/objective. `loss` says over what token losses are averaged, `std` by which deviation of its group a reward is
    divided; `clip` is the room below and above a ratio of 1; `kl` the weight of the divergence from the reference: the policy
    at the start or, every `reference_every` steps, the one of that time. Up to `redraw` times groups of equal rewards are
    replaced by others; `overlong` says whether answers that the budget cut count in the loss; `tau` is mirror descent's."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    loss: Loss
    std: Std
    clip: tuple[Room, Room] = (0.2, 0.2)
    kl: NonNegativeFloat = 0.0
    reference_every: PositiveInt | None = None
    tau: NonNegativeFloat = 0.0
    redraw: NonNegativeInt = 0
    overlong: Literal["keep", "drop"] = "keep"

    @model_validator(mode="after")
    def _no_key_for_nothing(self) -> Self:
        if self.tau and self.loss != "mirror-descent":
            raise ValueError(
                f"tau={self.tau:g} is for loss=mirror-descent, not for loss={self.loss}"
            )
        if self.kl and self.loss == "mirror-descent":
            raise ValueError(
                f"kl={self.kl:g}: with loss=mirror-descent tau says how near to the reference the policy stays"
            )
        if self.loss == "mirror-descent" and self.clip != type(self).model_fields["clip"].default:
            raise ValueError(
                f"clip={list(self.clip)} means nothing with loss=mirror-descent, whose ratios are not clipped"
            )
        if self.reference_every and not self.kl:
            raise ValueError(f"reference_every={self.reference_every} means nothing with kl=0")
        return self


class Config(Trained):
    """conf/rl.yaml says what each key means."""

    data: DataConfig
    reward: RewardConfig
    objective: ObjectiveConfig
    engine: Annotated[TransformersConfig | VLLMConfig, Field(discriminator="name")] = (
        TransformersConfig()
    )
    max_steps: PositiveInt = 200
    batch_size: PositiveInt = 32
    group_size: PositiveInt = 8
    micro_batch_size: PositiveInt = 8
    updates: PositiveInt = 1
    iterations: PositiveInt = 1
    budget: PositiveInt | None = None
    temperature: PositiveFloat = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    thinking: bool | None = None
    prefill: bool = False
    lr: PositiveFloat = 1e-6
    warmup: NonNegativeFloat = 0.0
    decay: NonNegativeFloat = 0.0
    limit: PositiveInt | None = None
    held_out: NonNegativeInt = 100
    held_out_every: PositiveInt = 10
    tables: NonNegativeInt = 1
    constant_for: PositiveInt = 10
    shuffle_rewards: bool = False
    sample_dtype: Dtype = "auto"
    save_steps: PositiveInt = 20

    @model_validator(mode="after")
    def _groups(self) -> Self:
        if self.group_size < 2:
            raise ValueError(
                f"group_size={self.group_size}: an answer is judged against others of its group; give 2 or more"
            )
        if self.batch_size % self.group_size:
            raise ValueError(
                f"batch_size={self.batch_size} is no multiple of group_size={self.group_size}"
            )
        if self.batch_size % (self.updates * self.micro_batch_size * self.world):
            among = f" times {self.world} ranks" if self.world > 1 else ""
            raise ValueError(
                f"batch_size={self.batch_size} is no multiple of updates={self.updates} times "
                f"micro_batch_size={self.micro_batch_size}{among}"
            )
        return self

    @model_validator(mode="after")
    def _tried(self) -> Self:
        """What is in the README's table of ways to train on several ranks."""
        zero, objective = self.deepspeed, self.objective
        if self.fsdp:
            raise ValueError(
                "fsdp=true is not tried in reinforcement learning; deepspeed=zero3 cuts as much over the ranks"
            )
        if self.engine.name == "vllm" and zero.stage == 3:
            raise ValueError(
                f"deepspeed={zero.name}: engine=vllm is given whole weights, which no rank has; try zero2"
            )
        if zero.stage and self.load_in_4bit:
            raise ValueError(
                f"deepspeed={zero.name}: load_in_4bit=true is not tried with it; take deepspeed=none"
            )
        if zero.stage and not self.lora and (objective.kl or objective.reference_every):
            raise ValueError(
                f"objective.kl={objective.kl:g}: under deepspeed={zero.name} no reference is held beside the policy; lora=true "
                "has it in the weights under its adapters, and deepspeed=none beside"
            )
        return self

    @model_validator(mode="after")
    def _adapters_and_reference(self) -> Self:
        if self.lora and self.objective.reference_every:
            raise ValueError(
                f"objective.reference_every={self.objective.reference_every}: with lora=true the reference is the model "
                "without adapters, which does not move"
            )
        return self

    @property
    def problems(self) -> int:
        """How many problems are answered in a step."""
        return self.batch_size // self.group_size

    @property
    def optimizer_steps(self) -> int:
        """Updates of a step."""
        return self.updates * self.iterations

    @property
    def tokens(self) -> int:
        """Tokens that a completion may have."""
        return self.budget or self.data.budget or 256


def check_here(config: Config) -> None:
    """Raise BadInput where a package that is needed is not installed."""
    if find_spec("trl") is None:
        raise BadInput("python -m rl needs an extra: pip install 'ratiocine[rl]'")
    if config.engine.name == "vllm" and find_spec("vllm") is None:
        raise BadInput(
            "engine=vllm needs the package vllm: pip install 'ratiocine[vllm]'; engine=transformers is here"
        )


def inputs(config: Config) -> dict[str, str]:
    """Content hashes of what a run reads."""
    found = {
        "data": sources.fingerprint(config.data, "train"),
        "model": models.fingerprint(config.model),
    }
    return (
        found if config.engine.name == "transformers" else {**found, "engine": config.engine.name}
    )
