"""What `python -m distill` can be told, and what its result depends on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal, TypedDict

from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from distill.select import SelectConfig
from ratiocine import cli, models
from ratiocine.config import ByContent, Hashed, Seed, StrictConfig, Unhashed
from ratiocine.data import DataConfig, sources
from ratiocine.devices import Device, Dtype
from ratiocine.engines import EngineConfig
from ratiocine.executors import VerbConfig
from ratiocine.models import ModelConfig
from ratiocine.records import MODES, Mode
from ratiocine.rewards import RewardConfig
from ratiocine.runs import check_finished

TopP = Annotated[float, Field(gt=0, le=1)]
Verify = Literal["both", "reasoning", "either", "none"]
Pick = Literal["first", "shortest", "majority", "reward"]
REWARD = "r1"  # conf/distill.yaml's own
FOR_STUDENTS = (
    "binary",
    "tag_count",
)  # terms for which a direct answer is worth less than one with a trace
# keys that teachers which are no models have no use for
FOR_MODELS = (
    "samples",
    "answer_selection",
    "max_new_tokens",
    "temperature",
    "top_p",
    "dtype",
    "retry_refused",
    "max_spend",
)


class Decoding(TypedDict):
    temperature: float
    top_p: float


class TeacherConfig(StrictConfig):
    """conf/teacher: `oracle` solves the embedded families, `reference` gives a data set's own worked solutions, `published`
    takes both answers from the data set; the others are models behind an `engine`, and `model` is what a local engine loads."""

    name: Hashed[Literal["oracle", "reference", "published", "openai", "transformers", "vllm"]]
    engine: Hashed[EngineConfig | None] = None
    model: Hashed[str | None] = None


class AskConfig(StrictConfig):
    """What is different in one mode: the chat template's switch, the messages, the served model, or the decoding."""

    thinking: Hashed[bool | None] = None
    system: Hashed[str] = ""
    user: Hashed[str] = "{prompt}"
    model: Hashed[str | None] = None
    temperature: Hashed[NonNegativeFloat | None] = None
    top_p: Hashed[TopP | None] = None

    @field_validator("user")
    @classmethod
    def _holds_the_prompt(cls, value: str) -> str:
        try:
            if value.format(prompt="\x1f").count("\x1f") == 1:
                return value
        except (LookupError, ValueError):
            pass
        raise ValueError("should hold {prompt} once, and other braces doubled")


class ThinkingPromptConfig(StrictConfig):
    """conf/thinking_prompt: how a teacher is told to answer directly and how to reason. `trace` says where a reasoning answer has its
    trace: in think tags, or in the steps before its last paragraph."""

    name: Hashed[str]
    ift: Hashed[AskConfig] = AskConfig()
    reasoning: Hashed[AskConfig] = AskConfig()
    trace: Hashed[Literal["tags", "steps"]] = "tags"

    @model_validator(mode="after")
    def _tells_the_modes_apart(self) -> ThinkingPromptConfig:
        if self.ift == self.reasoning:
            raise ValueError("should ask differently in the two modes")
        return self

    def mode(self, mode: Mode) -> AskConfig:
        return self.ift if mode == "ift" else self.reasoning


class Price(StrictConfig):
    """Of a million tokens, in any one currency."""

    prompt: Hashed[NonNegativeFloat] = 0.0
    completion: Hashed[NonNegativeFloat] = 0.0


class Spend(StrictConfig):
    """What the answers of one run may cost in all; None is no limit."""

    tokens: Hashed[PositiveInt | None] = None
    money: Hashed[PositiveFloat | None] = None


class Config(VerbConfig):
    """conf/distill.yaml says what each key means."""

    data_parallel: ClassVar[bool] = True

    teacher: Hashed[TeacherConfig]
    thinking_prompt: Hashed[ThinkingPromptConfig]
    data: Hashed[DataConfig]
    select: Hashed[SelectConfig]
    model: Hashed[ModelConfig]
    tokenizers: Hashed[list[str]] = Field(default=[])
    limit: Hashed[PositiveInt | None] = None
    samples: Hashed[PositiveInt] = 1
    answer_selection: Hashed[Pick] = "first"
    reward: Hashed[RewardConfig]
    verify: Hashed[Verify] = "both"
    max_new_tokens: Hashed[PositiveInt] = 8192
    temperature: Hashed[NonNegativeFloat] = 0.6
    top_p: Hashed[TopP] = 0.95
    price: Unhashed[Price] = Price()
    max_spend: Unhashed[Spend] = Spend()
    retry_refused: Hashed[bool] = False
    answer_cache: ByContent[str] = "runs/answers.sqlite"
    dtype: Hashed[Dtype] = "auto"
    device: Unhashed[Device] = "auto"
    threads: Unhashed[PositiveInt | None] = None
    seed: Hashed[Seed] = 0
    out: Unhashed[str | None] = None
    push_to_hub: Unhashed[str | None] = None

    @property
    def alone(self) -> bool:
        return self.teacher.engine is None

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        if self.teacher.engine is None:
            for key in FOR_MODELS:
                if (value := getattr(self, key)) != type(self).model_fields[key].default:
                    raise ValueError(
                        f"{key}={value} means nothing with teacher={self.teacher.name}, which is no model"
                    )
            if self.alone and self.num_workers:
                raise ValueError(
                    f"executor={self.executor.name}: teacher={self.teacher.name} has nothing to share out, being no model"
                )
        if self.teacher.name in ("oracle", "reference") and self.verify != "both":
            raise ValueError(
                f"verify={self.verify} means nothing with teacher={self.teacher.name}, both of whose answers are right"
            )
        if self.max_spend.money is not None and not self.price.prompt + self.price.completion:
            raise ValueError(
                f"max_spend.money={self.max_spend.money:g} needs price.prompt and price.completion"
            )
        if self.answer_selection != "reward" and self.reward != cli.named(
            "reward", REWARD, RewardConfig
        ):
            raise ValueError(
                f"reward={self.reward.name} means nothing with answer_selection={self.answer_selection}; try answer_selection=reward"
            )
        if self.answer_selection != "first" and self.samples == 1:
            raise ValueError(
                f"answer_selection={self.answer_selection} has one answer to choose from; give more, such as samples=4"
            )
        for term in self.reward.terms if self.answer_selection == "reward" else ():
            if term.name in FOR_STUDENTS or (term.name == "repetition" and term.form == "dense"):
                raise ValueError(
                    f"reward={self.reward.name}: '{term.name}' looks at a student's tags or tokens; leave it out"
                )
        for mode in MODES:
            if self.samples > 1 and self.decoding(mode)["temperature"] == 0:
                raise ValueError(
                    f"samples={self.samples} at temperature=0 would be the same answer {self.samples} times"
                )
            if self.thinking_prompt.mode(mode).model is not None and self.teacher.name != "openai":
                raise ValueError(
                    f"switch.{mode}.model is for teacher=openai, not {self.teacher.name}"
                )
        return self

    def decoding(self, mode: Mode) -> Decoding:
        """The decoding of one mode: what the switch says, else what holds for both."""
        how = self.thinking_prompt.mode(mode)
        return {
            "temperature": self.temperature if how.temperature is None else how.temperature,
            "top_p": self.top_p if how.top_p is None else how.top_p,
        }

    def confounds(self) -> list[str]:
        """What differs between the modes beside thinking: reasons other than the trace for one side to be better."""
        ift, reasoning = (
            {"model": teacher_name(self, mode), **self.decoding(mode)} for mode in MODES
        )
        return [key for key in ift if ift[key] != reasoning[key]]


def teacher_model(config: Config) -> ModelConfig | None:
    """What a local engine loads: a name from conf/model, a folder or a hub id."""
    return None if config.teacher.model is None else model_named(config.teacher.model)


def model_named(name: str) -> ModelConfig:
    """A model by its name in conf/model, its folder or its hub id."""
    return (
        ModelConfig(name=name, path=name) if "/" in name else cli.named("model", name, ModelConfig)
    )


def teacher_name(config: Config, mode: Mode) -> str:
    """The model that answers in this mode: by content, template and dtype where it is here, else by the name that its server
    gives it."""
    model = teacher_model(config)
    if model is not None:
        return f"{models.fingerprint(model)} {model.chat_template} {config.dtype}"
    assert config.teacher.engine is not None
    assert config.teacher.engine.name == "openai"
    return config.thinking_prompt.mode(mode).model or config.teacher.engine.model


def inputs(config: Config) -> dict[str, str]:
    """Content hashes of what a run reads, and the names of the models that answer."""
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
    for at, rule in enumerate(config.select.pass_rates):
        if rule.run is not None:
            found[f"pass_rates:{at}"] = check_finished(Path(rule.run)).hash
    return found
