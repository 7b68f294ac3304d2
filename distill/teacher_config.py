"""The configuration groups `teacher` and `thinking_prompt`; models by the names in a configuration,
and their names in the keys of the answer cache."""

from __future__ import annotations

import json
from typing import Literal

from pydantic import NonNegativeFloat, field_validator, model_validator

from ratiocine import cli, models
from ratiocine.config import Hashed, HashedIfSet, PositiveShare, Share, StrictConfig
from ratiocine.devices import Dtype
from ratiocine.engines import EngineConfig, OpenAIConfig
from ratiocine.models import ModelConfig
from ratiocine.records import Mode


class TeacherConfig(StrictConfig):
    """conf/teacher: `oracle` solves the embedded families; `reference` uses a data set's worked
    solutions; `published` uses both answers of the data set; the others are models behind an
    engine."""

    name: Hashed[Literal["oracle", "reference", "published", "openai", "transformers", "vllm"]]
    engine: Hashed[EngineConfig | None] = None
    model: Hashed[str | None] = None
    """The model of a local engine."""
    mistakes: HashedIfSet[Share] = 0.0
    """Share of the oracle's traces with a wrong step that the next line corrects."""


class AskConfig(StrictConfig):
    """What differs in one mode: the chat template's switch, the messages, the served model, or the
    decoding."""

    thinking: Hashed[bool | None] = None
    """`enable_thinking` of the chat template; None leaves its default."""
    system: Hashed[str] = ""
    user: Hashed[str] = "{prompt}"
    model: Hashed[str | None] = None
    """The served model, if not that of the teacher."""
    temperature: Hashed[NonNegativeFloat | None] = None
    top_p: Hashed[PositiveShare | None] = None

    @field_validator("user")
    @classmethod
    def _has_prompt(cls, value: str) -> str:
        try:
            if value.format(prompt="\x1f").count("\x1f") == 1:
                return value
        except (LookupError, ValueError):
            pass
        raise ValueError("should hold {prompt} once, and other braces doubled")


class ThinkingPromptConfig(StrictConfig):
    """conf/thinking_prompt: how a teacher is asked for a direct and for a reasoning answer."""

    name: Hashed[str]
    ift: Hashed[AskConfig] = AskConfig()
    reasoning: Hashed[AskConfig] = AskConfig()
    trace: Hashed[Literal["tags", "steps"]] = "tags"
    """Where a reasoning answer has its trace: in think tags, or in all paragraphs but the last."""

    @model_validator(mode="after")
    def _modes_differ(self) -> ThinkingPromptConfig:
        if self.ift == self.reasoning:
            raise ValueError("should ask differently in the two modes")
        return self

    def mode(self, mode: Mode) -> AskConfig:
        return self.ift if mode == "ift" else self.reasoning


def model_named(name: str) -> ModelConfig:
    """A model by its name in conf/model, its folder or its hub id."""
    if "/" in name:
        return ModelConfig(name=name, path=name)
    return cli.named("model", name, ModelConfig)


def local_name(model: ModelConfig, dtype: Dtype) -> str:
    """A model of a local engine, in the keys of the answer cache."""
    return f"{models.fingerprint(model)} {model.chat_template} {dtype}"


def served_name(engine: OpenAIConfig, model: str | None = None) -> str:
    """A model of a server (None: that of the engine), in the keys of the answer cache."""
    name = model or engine.model
    # Whatever else changes an answer; without it the name alone, which existing caches have.
    changed = {"extra_body": engine.extra_body, "drop_params": engine.drop_params}
    given = {key: value for key, value in changed.items() if value}
    return f"{name} {json.dumps(given, sort_keys=True)}" if given else name
