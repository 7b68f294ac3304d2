"""What each engine can be told; conf/engine says what the keys mean."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

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


class Where(BaseModel):
    """On this machine alone (`local`), or on `workers` processes of a Ray cluster."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    on: Literal["local", "ray"] = "local"
    workers: PositiveInt = 2

    @model_validator(mode="after")
    def _workers_of_a_cluster(self) -> Self:
        if self.on == "local" and self.workers != type(self).model_fields["workers"].default:
            raise ValueError(f"workers={self.workers} means nothing with on=local; try on=ray")
        return self

    @property
    def processes(self) -> int:
        """How many processes of a cluster; 0 is none but this one."""
        return 0 if self.on == "local" else self.workers


EngineConfig = Annotated[TransformersConfig | VLLMConfig | OpenAIConfig, Field(discriminator="name")]
