"""What `python -m distill` can be told, and what its result depends on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal, TypedDict

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from distill.select import SelectConfig
from ratiocine import cli, models
from ratiocine.data import DataConfig, sources
from ratiocine.devices import Device, Dtype
from ratiocine.engines import EngineConfig
from ratiocine.executors import Placed, Seed
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
    "pick",
    "budget",
    "temperature",
    "top_p",
    "dtype",
    "retry_refused",
    "spend",
)


class Decoding(TypedDict):
    temperature: float
    top_p: float


class TeacherConfig(BaseModel):
    """conf/teacher: `oracle` solves the embedded families, `reference` gives a data set's own worked solutions, `published`
    takes both answers from the data set; the others are models behind an `engine`, and `model` is what a local engine loads."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: Literal["oracle", "reference", "published", "openai", "transformers", "vllm"]
    engine: EngineConfig | None = None
    model: str | None = None


class AskConfig(BaseModel):
    """What is different in one mode: the chat template's switch, the messages, the served model, or the decoding."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    thinking: bool | None = None
    system: str = ""
    user: str = "{prompt}"
    model: str | None = None
    temperature: NonNegativeFloat | None = None
    top_p: TopP | None = None

    @field_validator("user")
    @classmethod
    def _holds_the_prompt(cls, value: str) -> str:
        try:
            if value.format(prompt="\x1f").count("\x1f") == 1:
                return value
        except (LookupError, ValueError):
            pass
        raise ValueError("should hold {prompt} once, and other braces doubled")


class SwitchConfig(BaseModel):
    """conf/switch: how a teacher is told to answer directly and how to reason. `trace` says where a reasoning answer has its
    trace: in think tags, or in the steps before its last paragraph."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    ift: AskConfig = AskConfig()
    reasoning: AskConfig = AskConfig()
    trace: Literal["tags", "steps"] = "tags"

    @model_validator(mode="after")
    def _tells_the_modes_apart(self) -> SwitchConfig:
        if self.ift == self.reasoning:
            raise ValueError("should ask differently in the two modes")
        return self

    def mode(self, mode: Mode) -> AskConfig:
        return self.ift if mode == "ift" else self.reasoning


class Price(BaseModel):
    """Of a million tokens, in any one currency."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    prompt: NonNegativeFloat = 0.0
    completion: NonNegativeFloat = 0.0


class Spend(BaseModel):
    """What the answers of one run may cost in all; None is no limit."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    tokens: PositiveInt | None = None
    money: PositiveFloat | None = None


class Config(Placed):
    """conf/distill.yaml says what each key means."""

    shares_out: ClassVar[bool] = True

    teacher: TeacherConfig
    switch: SwitchConfig
    data: DataConfig
    select: SelectConfig
    model: ModelConfig
    tokenizers: list[str] = Field(default=[])
    limit: PositiveInt | None = None
    samples: PositiveInt = 1
    pick: Pick = "first"
    reward: RewardConfig
    verify: Verify = "both"
    budget: PositiveInt = 8192
    temperature: NonNegativeFloat = 0.6
    top_p: TopP = 0.95
    price: Price = Price()
    spend: Spend = Spend()
    retry_refused: bool = False
    answers: str = "runs/answers.sqlite"
    dtype: Dtype = "auto"
    device: Device = "auto"
    threads: PositiveInt | None = None
    seed: Seed = 0
    out: str | None = None
    push_to_hub: str | None = None

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
            if self.alone and self.askers:
                raise ValueError(
                    f"on={self.on.name}: teacher={self.teacher.name} has nothing to share out, being no model"
                )
        if self.teacher.name in ("oracle", "reference") and self.verify != "both":
            raise ValueError(
                f"verify={self.verify} means nothing with teacher={self.teacher.name}, both of whose answers are right"
            )
        if self.spend.money is not None and not self.price.prompt + self.price.completion:
            raise ValueError(
                f"spend.money={self.spend.money:g} needs price.prompt and price.completion"
            )
        if self.pick != "reward" and self.reward != cli.named("reward", REWARD, RewardConfig):
            raise ValueError(
                f"reward={self.reward.name} means nothing with pick={self.pick}; try pick=reward"
            )
        if self.pick != "first" and self.samples == 1:
            raise ValueError(
                f"pick={self.pick} has one answer to choose from; give more, such as samples=4"
            )
        for term in self.reward.terms if self.pick == "reward" else ():
            if term.name in FOR_STUDENTS or (term.name == "repetition" and term.form == "dense"):
                raise ValueError(
                    f"reward={self.reward.name}: '{term.name}' looks at a student's tags or tokens; leave it out"
                )
        for mode in MODES:
            if self.samples > 1 and self.decoding(mode)["temperature"] == 0:
                raise ValueError(
                    f"samples={self.samples} at temperature=0 would be the same answer {self.samples} times"
                )
            if self.switch.mode(mode).model is not None and self.teacher.name != "openai":
                raise ValueError(
                    f"switch.{mode}.model is for teacher=openai, not {self.teacher.name}"
                )
        return self

    def decoding(self, mode: Mode) -> Decoding:
        """The decoding of one mode: what the switch says, else what holds for both."""
        how = self.switch.mode(mode)
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
    return config.switch.mode(mode).model or config.teacher.engine.model


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
            found[f"pass_rates:{at}"] = check_finished(Path(rule.run))["hash"]
    return found
