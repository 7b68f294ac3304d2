"""Configuration of `python -m rl`, and the content hashes of its inputs."""

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
from ratiocine.config import (
    Hashed,
    Identity,
    MicroBatchSize,
    PositiveShare,
    StrictConfig,
    TokenCount,
    Unhashed,
)
from ratiocine.data import DataConfig, sources
from ratiocine.devices import Dtype
from ratiocine.engines import TransformersConfig, VLLMConfig, check_vllm
from ratiocine.errors import BadInput
from ratiocine.rewards import RewardConfig
from ratiocine.training import TrainingConfig

Loss = Literal["sequence-mean", "token-mean", "constant", "mirror-descent"]
RewardScale = Literal["population", "sample", "none"]
ClipRange = Annotated[float, Field(ge=0, lt=1e3)]


class ObjectiveConfig(StrictConfig):
    """conf/objective: the loss of the update. Keys are TRL's where they mean the same."""

    name: Hashed[str]
    loss: Hashed[Loss]
    """How token losses are averaged."""
    scale_rewards_by: Hashed[RewardScale]
    """Standard deviation of a group that divides its rewards."""
    epsilon: Hashed[ClipRange] = 0.2
    """Clip range of the importance ratio below 1."""
    epsilon_high: Hashed[ClipRange] = 0.2
    """The same above 1."""
    beta: Hashed[NonNegativeFloat] = 0.0
    """Weight of the divergence from the reference policy, that of the start."""
    ref_model_sync_steps: Hashed[PositiveInt | None] = None
    """Steps after which the reference becomes the current policy."""
    tau: Hashed[NonNegativeFloat] = 0.0
    """Regularization of mirror descent."""
    dynamic_sampling_rounds: Hashed[NonNegativeInt] = 0
    """How often groups of equal rewards are replaced within a step."""
    mask_truncated_completions: Hashed[bool] = False
    """Whether truncated answers are left out of the loss."""

    @model_validator(mode="after")
    def _keys_apply_to_the_loss(self) -> Self:
        if self.tau and self.loss != "mirror-descent":
            raise ValueError(
                f"tau={self.tau:g} is for loss=mirror-descent, not for loss={self.loss}"
            )
        if self.beta and self.loss == "mirror-descent":
            raise ValueError(
                f"beta={self.beta:g}: with loss=mirror-descent tau keeps the policy near the "
                "reference"
            )
        if self.loss == "mirror-descent" and (self.epsilon, self.epsilon_high) != (0.2, 0.2):
            raise ValueError(
                f"epsilon={self.epsilon:g}, epsilon_high={self.epsilon_high:g}: "
                "loss=mirror-descent does not clip its ratios"
            )
        if self.ref_model_sync_steps and not self.beta:
            raise ValueError(
                f"ref_model_sync_steps={self.ref_model_sync_steps} has no effect with beta=0"
            )
        return self


class Config(TrainingConfig):
    """conf/rl.yaml describes the keys."""

    data: Hashed[DataConfig]
    reward: Hashed[RewardConfig]
    objective: Hashed[ObjectiveConfig]
    engine: Hashed[Annotated[TransformersConfig | VLLMConfig, Field(discriminator="name")]] = (
        TransformersConfig()
    )
    max_steps: Hashed[PositiveInt] = 200
    batch_size: Hashed[PositiveInt] = 32
    num_generations: Hashed[PositiveInt] = 8
    micro_batch_size: Annotated[MicroBatchSize, Identity("value", auto=8)] = "auto"
    num_minibatches: Hashed[PositiveInt] = 1
    num_iterations: Hashed[PositiveInt] = 1
    max_new_tokens: Hashed[TokenCount | None] = None
    temperature: Hashed[PositiveFloat] = 1.0
    top_p: Hashed[PositiveShare] = 1.0
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
    def _batches_divide(self) -> Self:
        if self.num_generations < 2:
            raise ValueError(
                f"num_generations={self.num_generations}: an answer's advantage is relative to "
                "others of its group; give 2 or more"
            )
        if self.batch_size % self.num_generations:
            raise ValueError(
                f"batch_size={self.batch_size} is no multiple of "
                f"num_generations={self.num_generations}"
            )
        auto = self.micro_batch_size == "auto"
        micro = 1 if self.micro_batch_size == "auto" else self.micro_batch_size
        if self.batch_size % (self.num_minibatches * micro * self.world_size):
            rows = "" if auto else f" times micro_batch_size={micro}"
            ranks = f" times {self.world_size} ranks" if self.world_size > 1 else ""
            raise ValueError(
                f"batch_size={self.batch_size} is no multiple of "
                f"num_minibatches={self.num_minibatches}{rows}{ranks}"
            )
        return self

    @model_validator(mode="after")
    def _adapters_are_merged(self) -> Self:
        if self.engine.name == "vllm" and self.engine.merge_adapter is not None:
            raise ValueError(
                f"engine.merge_adapter={str(self.engine.merge_adapter).lower()} has no effect in "
                "rl, which merges adapters into the weights that sample"
            )
        return self

    @model_validator(mode="after")
    def _sharding_is_supported(self) -> Self:
        """Combinations that tests cover."""
        zero, objective = self.deepspeed, self.objective
        if self.fsdp:
            raise ValueError("fsdp=true is not supported in rl; deepspeed=zero3 shards as much")
        if self.engine.name == "vllm" and zero.stage == 3:
            raise ValueError(
                f"deepspeed={zero.name}: engine=vllm needs whole weights, which no rank has; try "
                "zero2"
            )
        if zero.stage and self.load_in_4bit:
            raise ValueError(
                f"deepspeed={zero.name}: load_in_4bit=true is not supported with it; take "
                "deepspeed=none"
            )
        if zero.stage and not self.lora and (objective.beta or objective.ref_model_sync_steps):
            raise ValueError(
                f"objective.beta={objective.beta:g}: deepspeed={zero.name} holds no reference "
                "model beside the policy; take lora=true, where it is the model without adapters, "
                "or deepspeed=none"
            )
        return self

    @model_validator(mode="after")
    def _reference_can_move(self) -> Self:
        if self.lora and self.objective.ref_model_sync_steps:
            raise ValueError(
                f"objective.ref_model_sync_steps={self.objective.ref_model_sync_steps}: with "
                "lora=true the reference is the model without adapters, which does not change"
            )
        return self

    @model_validator(mode="after")
    def _updates_are_fixed(self) -> Self:
        fixed = {"num_minibatches", "num_iterations"} & set(self.resume_overrides)
        if fixed:
            raise ValueError(
                f"resume_overrides={sorted(fixed)}: a resumed run keeps its number of updates per "
                "step"
            )
        return self

    @property
    def micro_batch_sizes(self) -> list[int]:
        """Powers of two that divide the answers of an update and rank."""
        answers = self.batch_size // (self.num_minibatches * self.world_size)
        return [2**n for n in range(answers.bit_length()) if answers % 2**n == 0]

    @property
    def micro_batch_size_on_cpu(self) -> int:
        return min(super().micro_batch_size_on_cpu, self.micro_batch_sizes[-1])

    @property
    def problems(self) -> int:
        """Problems per step."""
        return self.batch_size // self.num_generations

    @property
    def optimizer_steps(self) -> int:
        """Updates per step."""
        return self.num_minibatches * self.num_iterations

    @property
    def tokens(self) -> int:
        """Maximum tokens of an answer."""
        return self.max_new_tokens or self.data.max_new_tokens or 256


def check_packages(config: Config) -> None:
    """Raise BadInput where a needed package is not installed."""
    if find_spec("trl") is None:
        raise BadInput("python -m rl needs an extra: pip install -e '.[rl]'")
    if config.engine.name == "vllm":
        check_vllm()


def inputs(config: Config) -> dict[str, str]:
    """Content hashes of what a run reads, by name."""
    return {
        "data": sources.fingerprint(config.data, "train"),
        "model": models.fingerprint(config.model),
    }
