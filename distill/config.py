"""The configuration of `python -m distill`, and the inputs of a run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from distill import difficulty_scores
from distill.select_config import SelectConfig
from distill.teacher_config import (
    TeacherConfig,
    ThinkingPromptConfig,
    local_name,
    model_named,
    served_name,
)
from ratiocine import cli, models
from ratiocine.config import Hashed, PositiveShare, Seed, StrictConfig, TokenCount, Unhashed
from ratiocine.data import DataConfig, sources
from ratiocine.devices import Device, Dtype
from ratiocine.errors import BadInput
from ratiocine.executors import VerbConfig
from ratiocine.models import ModelConfig
from ratiocine.records import MODES, Mode
from ratiocine.rewards import RewardConfig
from ratiocine.runs import check_finished, hash_path

Verify = Literal["both", "reasoning", "either", "none"]
AnswerSelection = Literal["first", "shortest", "majority", "reward"]
DEFAULT_REWARD = "r1"  # as in conf/distill.yaml
# Reward terms that score the tags or tokens of a student's rollout, which a teacher's answer lacks.
STUDENT_TERMS = ("binary", "tag_count")
# Keys that only a model as teacher reads.
MODEL_KEYS = (
    "samples",
    "answer_selection",
    "max_new_tokens",
    "temperature",
    "top_p",
    "dtype",
    "retry_refused",
    "max_spend",
)


@dataclass(frozen=True)
class Decoding:
    """Sampling parameters of one mode."""

    temperature: float
    top_p: float


class Price(StrictConfig):
    """Of a million tokens, in any one currency."""

    prompt: Unhashed[NonNegativeFloat] = 0.0
    completion: Unhashed[NonNegativeFloat] = 0.0


class Spend(StrictConfig):
    """Limits of all answers of a run; None is no limit."""

    tokens: Unhashed[PositiveInt | None] = None
    money: Unhashed[PositiveFloat | None] = None


class Config(VerbConfig):
    """conf/distill.yaml documents the keys."""

    data_parallel: ClassVar[bool] = True

    teacher: Hashed[TeacherConfig]
    thinking_prompt: Hashed[ThinkingPromptConfig]
    data: Hashed[DataConfig]
    select: Hashed[SelectConfig]
    model: Hashed[ModelConfig]
    tokenizers: Hashed[list[str]] = Field(default=[])
    limit: Hashed[PositiveInt | None] = None
    samples: Hashed[PositiveInt] = 1
    answer_selection: Hashed[AnswerSelection] = "first"
    reward: Hashed[RewardConfig]
    verify: Hashed[Verify] = "both"
    max_new_tokens: Hashed[TokenCount] = 8192
    temperature: Hashed[NonNegativeFloat] = 0.6
    top_p: Hashed[PositiveShare] = 0.95
    price: Unhashed[Price] = Price()
    max_spend: Unhashed[Spend] = Spend()
    retry_refused: Hashed[bool] = False
    answer_cache: Unhashed[str] = "runs/answers.sqlite"
    dtype: Hashed[Dtype] = "auto"
    device: Unhashed[Device] = "auto"
    threads: Unhashed[PositiveInt | None] = None
    seed: Hashed[Seed] = 0
    out: Unhashed[str | None] = None
    push_to_hub: Unhashed[str | None] = None

    @property
    def single_process(self) -> bool:
        return self.teacher.engine is None or self.teacher.engine.name == "openai"

    @model_validator(mode="after")
    def _teacher_fits(self) -> Config:
        """Keys that mean nothing with this teacher are refused."""
        teacher = self.teacher.name
        if self.teacher.mistakes and teacher != "oracle":
            raise ValueError(
                f"teacher.mistakes={self.teacher.mistakes:g} is for teacher=oracle, not {teacher}"
            )
        if self.teacher.engine is None:
            for key in MODEL_KEYS:
                if (value := getattr(self, key)) != type(self).model_fields[key].default:
                    raise ValueError(
                        f"{key}={value} means nothing with teacher={teacher}, which is no model"
                    )
            if self.num_workers:
                raise ValueError(
                    f"executor={self.executor.name}: teacher={teacher} has nothing to share out, "
                    "being no model"
                )
        if teacher in ("oracle", "reference") and self.verify != "both":
            raise ValueError(
                f"verify={self.verify} means nothing with teacher={teacher}, both of whose answers "
                "are right"
            )
        for mode in MODES:
            if self.thinking_prompt.mode(mode).model is not None and teacher != "openai":
                raise ValueError(
                    f"thinking_prompt.{mode}.model is for teacher=openai, not {teacher}"
                )
        return self

    @model_validator(mode="after")
    def _spending_has_prices(self) -> Config:
        if self.max_spend.money is not None and not self.price.prompt + self.price.completion:
            raise ValueError(
                f"max_spend.money={self.max_spend.money:g} needs price.prompt and price.completion"
            )
        return self

    @model_validator(mode="after")
    def _selection_can_decide(self) -> Config:
        """Answers can be selected only from several different ones, by a reward that applies to
        them."""
        selection = self.answer_selection
        default_reward = cli.named("reward", DEFAULT_REWARD, RewardConfig)
        if selection != "reward" and self.reward != default_reward:
            raise ValueError(
                f"reward={self.reward.name} means nothing with answer_selection={selection}; "
                "try answer_selection=reward"
            )
        if selection != "first" and self.samples == 1:
            raise ValueError(
                f"answer_selection={selection} has one answer to choose from; give more, such as "
                "samples=4"
            )
        for term in self.reward.terms if selection == "reward" else ():
            if term.name in STUDENT_TERMS or (term.name == "repetition" and term.form == "dense"):
                raise ValueError(
                    f"reward={self.reward.name}: '{term.name}' looks at a student's tags or "
                    "tokens; leave it out"
                )
        for mode in MODES:
            if self.samples > 1 and self.decoding(mode).temperature == 0:
                raise ValueError(
                    f"samples={self.samples} at temperature=0 would be the same answer "
                    f"{self.samples} times"
                )
        return self

    def decoding(self, mode: Mode) -> Decoding:
        """The decoding of one mode: that of `thinking_prompt`, else the common one."""
        how = self.thinking_prompt.mode(mode)
        return Decoding(
            self.temperature if how.temperature is None else how.temperature,
            self.top_p if how.top_p is None else how.top_p,
        )

    def confounds(self) -> list[str]:
        """What differs between the modes besides thinking: other reasons for one side to be
        better."""
        ift, reasoning = (
            {"model": teacher_name(self, mode), **asdict(self.decoding(mode))} for mode in MODES
        )
        return [key for key in ift if ift[key] != reasoning[key]]


def check_oracle(config: Config) -> None:
    """Raise BadInput where `teacher=oracle` is to solve other problems than embedded families."""
    if config.teacher.name == "oracle" and not config.data.families:
        raise BadInput(
            "teacher=oracle solves embedded families only, not "
            f"data={config.data.path or config.data.name}; try teacher=reference for worked "
            "solutions in a column, else a model: teacher=openai, transformers or vllm"
        )


def teacher_model(config: Config) -> ModelConfig | None:
    """The model of a local engine: a name from conf/model, a folder or a hub id."""
    return None if config.teacher.model is None else model_named(config.teacher.model)


def teacher_name(config: Config, mode: Mode) -> str:
    """The model that answers in this mode: by content, template and dtype if it is local, else by
    its served name. Enters the keys of the answer cache."""
    model = teacher_model(config)
    if model is not None:
        return local_name(model, config.dtype)
    assert config.teacher.engine is not None
    assert config.teacher.engine.name == "openai"
    return served_name(config.teacher.engine, config.thinking_prompt.mode(mode).model)


def inputs(config: Config) -> dict[str, str]:
    """Content hashes of a run's inputs, and the names of its teachers."""
    found = {
        "data": sources.fingerprint(config.data, "train"),
        "tokenizer": models.fingerprint(config.model),
    }
    found |= {
        f"tokenizer:{name}": models.fingerprint(model_named(name)) for name in config.tokenizers
    }
    if config.teacher.engine is not None:
        found |= {f"teacher:{mode}": teacher_name(config, mode) for mode in MODES}
    found |= {
        f"benchmark:{data.name}": sources.fingerprint(data, "test")
        for data in config.select.benchmarks()
    }
    if config.select.embedding_model is not None:
        encoder = config.select.embedding_model
        found["embedding_model"] = models.fingerprint(ModelConfig(name=encoder, path=encoder))
    if config.select.difficulty is not None:
        found["difficulty"] = hash_path(difficulty_scores.existing(config.select.difficulty))
    for at, rule in enumerate(config.select.pass_rates):
        if rule.run is not None:
            found[f"pass_rates:{at}"] = check_finished(Path(rule.run)).hash
    return found
