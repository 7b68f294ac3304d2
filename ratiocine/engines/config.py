"""Configuration of engines (conf/engine)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator

from ratiocine.config import ByContent, Hashed, HashedIfSet, PositiveShare, StrictConfig, Unhashed
from ratiocine.devices import Attention

NO_FINISH_REASON = "no_finish_reason"  # the name of null


class TransformersConfig(StrictConfig):
    """conf/engine/transformers.yaml documents the keys."""

    name: Hashed[Literal["transformers"]] = "transformers"
    max_batch_size: Unhashed[PositiveInt] = 128
    max_cache_tokens: Unhashed[PositiveInt] = 65536
    attention: Hashed[Attention] = "auto"
    enforce_eager: HashedIfSet[bool] = False
    """Whether a GPU gets the kernels of a decode step one by one, not as a recorded CUDA graph."""


class VLLMConfig(StrictConfig):
    """conf/engine/vllm.yaml documents the keys."""

    name: Hashed[Literal["vllm"]]
    gpu_memory_utilization: Unhashed[PositiveShare] = 0.9
    merge_adapter: HashedIfSet[bool | None] = None
    """Whether a LoRA adapter is merged with its base model, or applied by vLLM; None: on a CPU."""


class OpenAIConfig(StrictConfig):
    """conf/engine/openai.yaml documents the keys."""

    name: Hashed[Literal["openai"]]
    base_url: ByContent[str | Annotated[list[str], Field(min_length=1)]]
    model: Hashed[str]
    api_key_env: Unhashed[str] = "OPENAI_API_KEY"
    concurrency: Unhashed[PositiveInt] = 64
    timeout: Unhashed[PositiveFloat] = 600
    retry_seconds: Unhashed[PositiveFloat] = 600
    stop_reasons: HashedIfSet[Annotated[list[str | None], Field(min_length=1)]] = Field(["stop"])
    """Finish reasons of a complete answer; null for servers that send none."""
    drop_params: HashedIfSet[list[str]] = Field([])
    """Parameters of a request that are left out."""
    rename_params: HashedIfSet[dict[str, str] | None] = None
    """Names of parameters on this server, by the usual name."""
    extra_body: HashedIfSet[dict[str, Any] | None] = None
    """Further parameters of every request."""

    @field_validator("base_url")
    @classmethod
    def _not_an_endpoint(cls, given: str | list[str]) -> str | list[str]:
        for url in [given] if isinstance(given, str) else given:
            base = re.sub(r"(?:/chat)?/completions$|/models$|/chat$", "", url.rstrip("/"))
            if base != url.rstrip("/"):
                raise ValueError(f"is an endpoint; its base is {base}")
        return given

    @property
    def complete(self) -> frozenset[str]:
        """`stop_reasons` as `Completion.stop` names them."""
        return frozenset(reason or NO_FINISH_REASON for reason in self.stop_reasons)

    @property
    def urls(self) -> list[str]:
        return [self.base_url] if isinstance(self.base_url, str) else self.base_url


EngineConfig = Annotated[
    TransformersConfig | VLLMConfig | OpenAIConfig, Field(discriminator="name")
]


def servers(engine: EngineConfig | None) -> str:
    """The addresses of a served engine; empty for others."""
    return " and ".join(engine.urls) if isinstance(engine, OpenAIConfig) else ""


def finished_line(out: Path, engine: EngineConfig | None) -> str:
    """What is said of a run that is finished: that a server, whose address is no part of the run's
    hash, gets no call."""
    address = servers(engine)
    return f"{out} is finished" + (f"; no call was made to {address}" if address else "")
