"""What `python -m eval` can be told, and what its result depends on."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, PositiveInt, field_validator

from ratiocine import cli, models, sources
from ratiocine.models import Device, ModelConfig
from ratiocine.sources import DataConfig


class Root(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    root: str | None = None


class EngineConfig(BaseModel):
    """`batch`: rows decoded together; `tokens`: cached tokens that they may come to hold; `attention`: auto, or any name
    that transformers knows (sdpa, eager, …)."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    batch: PositiveInt = 128
    tokens: PositiveInt = 1 << 16
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = "auto"


class Config(BaseModel):
    """conf/eval.yaml says what each key means."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    model: ModelConfig
    benchmarks: list[str]
    data: Root = Root()
    limit: PositiveInt | None = None
    budget: PositiveInt | None = None
    dtype: models.Dtype = "auto"
    seed: int = 0
    engine: EngineConfig = EngineConfig()
    device: Device = "auto"
    threads: PositiveInt | None = None
    check: bool = False
    out: str | None = None

    @field_validator("benchmarks", mode="before")
    @classmethod
    def _one_or_more(cls, value: object) -> object:
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or not names or len(set(names)) != len(names):
            raise ValueError("should name one benchmark or more, each once")
        return names

    def sources(self) -> list[DataConfig]:
        """The benchmarks: names from conf/data, or files in the shared schema. Raises BadInput for an unknown one."""
        found = []
        for name in self.benchmarks:
            if name.endswith((".jsonl", ".parquet")):
                found.append(DataConfig(name=Path(name).stem, path=name))
                continue
            data = cli.named("data", name, DataConfig, called="benchmark")
            found.append(data if data.families else data.model_copy(update={"root": self.data.root}))
        return found


def inputs(config: Config) -> dict[str, str]:
    """Content hashes of what a run reads."""
    benchmarks = {f"benchmark:{data.name}": sources.fingerprint(data, "test") for data in config.sources()}
    return {**benchmarks, "model": models.fingerprint(config.model)}
