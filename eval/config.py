"""What `python -m eval` can be told, and what its result depends on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    field_validator,
    model_validator,
)

from ratiocine import cli, models
from ratiocine.config import ByContent, Hashed, Unhashed
from ratiocine.data import DataConfig, sources
from ratiocine.devices import Device, Dtype
from ratiocine.engines import EngineConfig, TransformersConfig
from ratiocine.errors import BadInput
from ratiocine.executors import Seed
from ratiocine.models import ModelConfig
from ratiocine.runs import TrackedConfig

BUDGET = 2048  # tokens, where neither the command line nor the benchmark says


class Config(TrackedConfig):
    """conf/eval.yaml says what each key means."""

    data_parallel: ClassVar[bool] = True

    model: Hashed[ModelConfig]
    engine: Hashed[EngineConfig] = TransformersConfig()
    benchmarks: Hashed[list[str]]
    data_dir: ByContent[str | None] = None
    limit: Hashed[PositiveInt | None] = None
    num_fewshot: Hashed[NonNegativeInt] = 0
    max_new_tokens: Hashed[PositiveInt | None] = None
    temperature: Hashed[NonNegativeFloat] = 0.0
    top_p: Hashed[float] = Field(default=1.0, gt=0, le=1)
    samples: Hashed[PositiveInt] = 1
    thinking: Hashed[bool | None] = None
    logprobs: Hashed[bool] = False
    dtype: Hashed[Dtype] = "auto"
    seed: Hashed[Seed] = 0
    device: Unhashed[Device] = "auto"
    threads: Unhashed[PositiveInt | None] = None
    validate_only: Unhashed[bool] = False
    out: Unhashed[str | None] = None

    @model_validator(mode="before")
    @classmethod
    def _served(cls, values: Any) -> Any:
        """What a server holds is the model, whatever `model` says."""
        engine = values.get("engine") if isinstance(values, dict) else None
        if isinstance(engine, dict) and engine.get("name") == "openai":
            return {**values, "model": {"name": engine.get("model"), "kind": "served"}}
        return values

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        if self.samples > 1 and self.temperature == 0:
            raise ValueError(
                f"samples={self.samples} at temperature=0 would be the same completion {self.samples} times"
            )
        if self.temperature == 0 and self.top_p < 1:
            raise ValueError(f"top_p={self.top_p:g} means nothing at temperature=0")
        return self

    @field_validator("benchmarks", mode="before")
    @classmethod
    def _one_or_more(cls, value: object) -> object:
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or not names or len(set(names)) != len(names):
            raise ValueError("should name one benchmark or more, each once")
        return names

    def budget_of(self, data: DataConfig) -> int:
        """The most tokens of a completion."""
        return self.max_new_tokens or data.max_new_tokens or BUDGET

    def sources(self) -> list[DataConfig]:
        """The benchmarks: names from conf/data, or files in the shared schema. Raises BadInput for an unknown one."""
        found: list[DataConfig] = []
        for name in self.benchmarks:
            if name.endswith((".jsonl", ".parquet")):
                if Path(name).stem in {data.name for data in found}:
                    raise BadInput(
                        f"benchmarks={name}: another benchmark is called '{Path(name).stem}' too; rename the file"
                    )
                own = cli.named("data", "local", DataConfig)
                found.append(own.model_copy(update={"name": Path(name).stem, "path": name}))
                continue
            data = cli.named("data", name, DataConfig, called="benchmark")
            found.append(
                data if data.families else data.model_copy(update={"data_dir": self.data_dir})
            )
        return found


def benchmark_inputs(config: Config) -> dict[str, str]:
    """Content hashes of the benchmarks."""
    return {
        f"benchmark:{data.name}": sources.fingerprint(data, "test") for data in config.sources()
    }


def inputs(config: Config) -> dict[str, str]:
    """Content hashes of what a run reads."""
    own = (
        {}
        if config.max_new_tokens
        else {
            f"max_new_tokens:{data.name}": str(config.budget_of(data)) for data in config.sources()
        }
    )
    return {**benchmark_inputs(config), **own, "model": models.fingerprint(config.model)}
