"""What `python -m rl` can be told, and what its result depends on."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from ratiocine import models
from ratiocine.config import Hashed, StrictConfig, Unhashed
from ratiocine.data import DataConfig, sources
from ratiocine.devices import Dtype
from ratiocine.engines import TransformersConfig, VLLMConfig
from ratiocine.errors import BadInput
from ratiocine.rewards import RewardConfig
from ratiocine.training import TrainingConfig

Loss = Literal["sequence-mean", "token-mean", "constant", "mirror-descent"]
Std = Literal["population", "sample", "none"]
Room = Annotated[float, Field(ge=0, lt=1e3, allow_inf_nan=False)]


class ObjectiveConfig(StrictConfig):
    """conf/objective. `loss` says over what token losses are averaged, `std` by which deviation of its group a reward is
    divided; `clip` is the room below and above a ratio of 1; `kl` the weight of the divergence from the reference: the policy
    at the start or, every `reference_every` steps, the one of that time. Up to `redraw` times groups of equal rewards are
    replaced by others; `overlong` says whether answers that the budget cut count in the loss; `tau` is mirror descent's."""

    name: Hashed[str]
    loss: Hashed[Loss]
    scale_rewards_by: Hashed[Std]
    epsilon: Hashed[Room] = 0.2
    epsilon_high: Hashed[Room] = 0.2
    beta: Hashed[NonNegativeFloat] = 0.0
    ref_model_sync_steps: Hashed[PositiveInt | None] = None
    tau: Hashed[NonNegativeFloat] = 0.0
    dynamic_sampling_rounds: Hashed[NonNegativeInt] = 0
    mask_truncated_completions: Hashed[bool] = False

    @model_validator(mode="after")
    def _no_key_for_nothing(self) -> Self:
        if self.tau and self.loss != "mirror-descent":
            raise ValueError(
                f"tau={self.tau:g} is for loss=mirror-descent, not for loss={self.loss}"
            )
        if self.beta and self.loss == "mirror-descent":
            raise ValueError(
                f"kl={self.beta:g}: with loss=mirror-descent tau says how near to the reference the policy stays"
            )
        if self.loss == "mirror-descent" and (self.epsilon, self.epsilon_high) != (0.2, 0.2):
            raise ValueError(
                f"epsilon={self.epsilon:g}, epsilon_high={self.epsilon_high:g}: "
                "loss=mirror-descent does not clip its ratios"
            )
        if self.ref_model_sync_steps and not self.beta:
            raise ValueError(f"reference_every={self.ref_model_sync_steps} means nothing with kl=0")
        return self


class Config(TrainingConfig):
    """conf/rl.yaml says what each key means."""

    data: Hashed[DataConfig]
    reward: Hashed[RewardConfig]
    objective: Hashed[ObjectiveConfig]
    engine: Hashed[Annotated[TransformersConfig | VLLMConfig, Field(discriminator="name")]] = (
        TransformersConfig()
    )
    max_steps: Hashed[PositiveInt] = 200
    batch_size: Hashed[PositiveInt] = 32
    num_generations: Hashed[PositiveInt] = 8
    micro_batch_size: Hashed[PositiveInt] = 8
    num_minibatches: Hashed[PositiveInt] = 1
    num_iterations: Hashed[PositiveInt] = 1
    max_new_tokens: Hashed[PositiveInt | None] = None
    temperature: Hashed[PositiveFloat] = 1.0
    top_p: Hashed[Annotated[float, Field(gt=0, le=1)]] = 1.0
    thinking: Hashed[bool | None] = None
    prefill_think: Hashed[bool] = False
    lr: Hashed[PositiveFloat] = 1e-6
    warmup: Hashed[NonNegativeFloat] = 0.0
    decay: Hashed[NonNegativeFloat] = 0.0
    limit: Hashed[PositiveInt | None] = None
    val_size: Hashed[NonNegativeInt] = 100
    eval_steps: Hashed[PositiveInt] = 10
    tables: Unhashed[NonNegativeInt] = 1
    constant_reward_steps: Unhashed[PositiveInt] = 10
    shuffle_rewards: Hashed[bool] = False
    rollout_dtype: Hashed[Dtype] = "auto"
    save_steps: Unhashed[PositiveInt] = 20

    @model_validator(mode="after")
    def _groups(self) -> Self:
        if self.num_generations < 2:
            raise ValueError(
                f"num_generations={self.num_generations}: an answer is judged against others of its group; give 2 or more"
            )
        if self.batch_size % self.num_generations:
            raise ValueError(
                f"batch_size={self.batch_size} is no multiple of num_generations={self.num_generations}"
            )
        if self.batch_size % (self.num_minibatches * self.micro_batch_size * self.world_size):
            among = f" times {self.world_size} ranks" if self.world_size > 1 else ""
            raise ValueError(
                f"batch_size={self.batch_size} is no multiple of num_minibatches={self.num_minibatches} times "
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
        if zero.stage and not self.lora and (objective.beta or objective.ref_model_sync_steps):
            raise ValueError(
                f"objective.beta={objective.beta:g}: under deepspeed={zero.name} no reference is held beside the policy; lora=true "
                "has it in the weights under its adapters, and deepspeed=none beside"
            )
        return self

    @model_validator(mode="after")
    def _adapters_and_reference(self) -> Self:
        if self.lora and self.objective.ref_model_sync_steps:
            raise ValueError(
                f"objective.ref_model_sync_steps={self.objective.ref_model_sync_steps}: with lora=true the reference is the model "
                "without adapters, which does not move"
            )
        return self

    @property
    def problems(self) -> int:
        """How many problems are answered in a step."""
        return self.batch_size // self.num_generations

    @property
    def optimizer_steps(self) -> int:
        """Updates of a step."""
        return self.num_minibatches * self.num_iterations

    @property
    def tokens(self) -> int:
        """Tokens that a completion may have."""
        return self.max_new_tokens or self.data.max_new_tokens or 256


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
