"""Configuration of engines (conf/engine)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from ratiocine.config import ByContent, Hashed, StrictConfig, Unhashed
from ratiocine.devices import Attention


class TransformersConfig(StrictConfig):
    name: Hashed[Literal["transformers"]] = "transformers"
    max_batch_size: Unhashed[PositiveInt] = 128
    max_cache_tokens: Unhashed[PositiveInt] = 65536
    attention: Hashed[Attention] = "auto"


class VLLMConfig(StrictConfig):
    name: Hashed[Literal["vllm"]]
    gpu_memory_utilization: Unhashed[Annotated[float, Field(gt=0, le=1)]] = 0.9


class OpenAIConfig(StrictConfig):
    name: Hashed[Literal["openai"]]
    base_url: ByContent[str | Annotated[list[str], Field(min_length=1)]]
    model: Hashed[str]
    api_key_env: Unhashed[str] = "OPENAI_API_KEY"
    concurrency: Unhashed[PositiveInt] = 64
    timeout: Unhashed[PositiveFloat] = 600
    retry_seconds: Unhashed[PositiveFloat] = 600

    @property
    def urls(self) -> list[str]:
        return [self.base_url] if isinstance(self.base_url, str) else self.base_url


EngineConfig = Annotated[
    TransformersConfig | VLLMConfig | OpenAIConfig, Field(discriminator="name")
]
