"""What each engine can be told; conf/engine says what the keys mean."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

from ratiocine.devices import Attention


class TransformersConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    name: Literal["transformers"] = "transformers"
    batch: PositiveInt = 128
    tokens: PositiveInt = 65536
    attention: Attention = "auto"


class VLLMConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    name: Literal["vllm"]
    memory: Annotated[float, Field(gt=0, le=1)] = 0.9


class OpenAIConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    name: Literal["openai"]
    url: str | list[str]
    model: str
    key_env: str = "OPENAI_API_KEY"
    concurrency: PositiveInt = 64
    timeout: PositiveFloat = 600
    patience: PositiveFloat = 600

    @property
    def urls(self) -> list[str]:
        return [self.url] if isinstance(self.url, str) else self.url


EngineConfig = Annotated[
    TransformersConfig | VLLMConfig | OpenAIConfig, Field(discriminator="name")
]
