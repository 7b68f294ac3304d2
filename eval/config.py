"""What `python -m eval` can be told, and what its result depends on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    field_validator,
    model_validator,
)

from ratiocine import cli, models
from ratiocine.data import DataConfig, sources
from ratiocine.devices import Device, Dtype
from ratiocine.engines import EngineConfig, TransformersConfig
from ratiocine.errors import BadInput
from ratiocine.executors import Seed
from ratiocine.models import ModelConfig
from ratiocine.runs import Tracked

BUDGET = 2048  # tokens, where neither the command line nor the benchmark says


class Root(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    root: str | None = None


class Config(Tracked):
    """conf/eval.yaml says what each key means."""

    shares_out: ClassVar[bool] = True

    model: ModelConfig
    engine: EngineConfig = TransformersConfig()
    benchmarks: list[str]
    data: Root = Root()
    limit: PositiveInt | None = None
    shots: NonNegativeInt = 0
    budget: PositiveInt | None = None
    temperature: NonNegativeFloat = 0.0
    top_p: float = Field(default=1.0, gt=0, le=1)
    samples: PositiveInt = 1
    thinking: bool | None = None
    logprobs: bool = False
    dtype: Dtype = "auto"
    seed: Seed = 0
    device: Device = "auto"
    threads: PositiveInt | None = None
    check: bool = False
    out: str | None = None

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
        return self.budget or data.budget or BUDGET

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
                data if data.families else data.model_copy(update={"root": self.data.root})
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
        if config.budget
        else {f"budget:{data.name}": str(config.budget_of(data)) for data in config.sources()}
    )
    return {**benchmark_inputs(config), **own, "model": models.fingerprint(config.model)}
