"""Configuration of `python -m eval`, and the inputs of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    field_validator,
    model_validator,
)

from ratiocine import cli, models
from ratiocine.config import (
    ByContent,
    Hashed,
    HashedIfSet,
    PositiveShare,
    Seed,
    Share,
    StrictConfig,
    TokenLimit,
    Unhashed,
)
from ratiocine.cuts import By
from ratiocine.data import (
    TEST_FILE,
    DataConfig,
    TestSize,
    Tolerance,
    ending,
    is_stored,
    pairs_beside,
    sources,
    stem,
    stored_source,
)
from ratiocine.devices import Device, Dtype
from ratiocine.engines import EngineConfig, TransformersConfig, check_capabilities
from ratiocine.errors import BadInput
from ratiocine.models import ModelConfig
from ratiocine.records import Decimal, Kind, category_name
from ratiocine.runs import CONFIG, TrackedConfig, check_finished, hash_path, read_config
from ratiocine.stores import completions_file
from ratiocine.strategies import Strategy, StrategyConfig

MAX_NEW_TOKENS = 2048  # default of a benchmark without its own
# Keys of benchmark files, as `data.KEY` of distill.
OF_FILES = ("test_size", "columns", "kind", "category", "tolerance", "decimal")


class RelayConfig(StrictConfig):
    """A relay: the model goes on from the beginnings of another one's traces."""

    source: ByContent[str]
    """A finished evaluation of the other model, on the same problems."""
    at: Hashed[Share] = 0.5
    """Share of the trace; at 0 the model answers alone, at 1 the source has answered."""
    by: Hashed[By] = "surprisal"
    """What the share is of."""
    force_answer: Hashed[bool] = False
    """Whether the trace is closed at the cut."""


class Config(TrackedConfig):
    """The keys of conf/eval.yaml, which documents them."""

    data_parallel: ClassVar[bool] = True

    model: Hashed[ModelConfig]
    engine: Hashed[EngineConfig] = TransformersConfig()
    benchmarks: Hashed[list[str]]
    data_dir: ByContent[str | None] = None
    test_size: HashedIfSet[TestSize | None] = None
    columns: HashedIfSet[dict[str, str] | None] = None
    kind: HashedIfSet[Kind | None] = None
    category: HashedIfSet[str | None] = None
    tolerance: HashedIfSet[Tolerance | None] = None
    decimal: HashedIfSet[Decimal | None] = None
    limit: Hashed[PositiveInt | None] = None
    num_fewshot: Hashed[NonNegativeInt] = 0
    max_new_tokens: Hashed[TokenLimit] = None
    temperature: Hashed[NonNegativeFloat] = 0.0
    top_p: Hashed[PositiveShare] = 1.0
    samples: Hashed[PositiveInt] = 1
    thinking: Hashed[bool | None] = None
    logprobs: Hashed[bool] = False
    relay: HashedIfSet[RelayConfig | None] = None
    strategy: HashedIfSet[StrategyConfig | None] = None
    samples_from: ByContent[str | None] = None
    dtype: Hashed[Dtype] = "auto"
    seed: Hashed[Seed] = 0
    device: Unhashed[Device] = "auto"
    threads: Unhashed[PositiveInt | None] = None
    validate_only: Unhashed[bool] = False
    out: Unhashed[str | None] = None

    @property
    def single_process(self) -> bool:
        return self.engine.name == "openai" or self.samples_from is not None

    @model_validator(mode="before")
    @classmethod
    def _served(cls, values: Any) -> Any:
        """A served model is the engine's; `model` is ignored."""
        engine = values.get("engine") if isinstance(values, dict) else None
        if isinstance(engine, dict) and engine.get("name") == "openai":
            return {**values, "model": {"name": engine.get("model"), "kind": "served"}}
        return values

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        if self.samples > 1 and self.temperature == 0:
            raise ValueError(
                f"samples={self.samples} needs temperature above 0: greedy decoding repeats one "
                "completion"
            )
        if self.temperature == 0 and self.top_p < 1:
            raise ValueError(f"top_p={self.top_p:g} has no effect at temperature=0")
        if self.strategy is not None:
            self._check_strategy(self.strategy)
        elif self.samples_from is not None:
            raise ValueError(f"samples_from={self.samples_from} is for a strategy; give strategy=")
        if self.relay is not None and self.max_new_tokens == "auto":
            raise ValueError("max_new_tokens=auto is no limit of a relay; give a number")
        return self

    def _check_strategy(self, strategy: Strategy) -> None:
        """Raise ValueError for a strategy that the other settings leave nothing to do."""
        if self.relay is not None:
            raise ValueError(f"strategy={strategy.name} and relay= exclude each other; give one")
        if strategy.differing and self.temperature == 0:
            raise ValueError(
                f"strategy={strategy.name} needs temperature above 0, such as temperature=0.7: "
                "greedy decoding repeats one completion"
            )
        if self.samples_from is None:
            check_capabilities(self.engine.name, set(strategy.needs))
        elif strategy.budget is not None:
            raise ValueError(
                f"samples_from={self.samples_from}: strategy.budget={strategy.budget} would cut "
                "samples short as they are generated; leave one of the two out"
            )
        elif not strategy.replayable:
            raise ValueError(
                f"samples_from={self.samples_from}: strategy={strategy.name} asks for more than "
                "samples of the problem; leave it out"
            )

    @field_validator("category")
    @classmethod
    def _category_has_a_name(cls, name: str | None) -> str | None:
        return None if name is None else category_name(name)

    @field_validator("benchmarks", mode="before")
    @classmethod
    def _one_or_more(cls, value: object) -> object:
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or not names or len(set(names)) != len(names):
            raise ValueError("should name one benchmark or more, each once")
        return names

    @property
    def completions(self) -> int:
        """Of each problem, at most; 0 where none is generated."""
        if self.samples_from is not None:
            return 0
        return self.samples * (1 if self.strategy is None else self.strategy.most)

    def max_new_tokens_of(self, data: DataConfig) -> int:
        """The limit of a completion of this benchmark, in tokens; for `auto`, a server's cap in
        the pilot."""
        if isinstance(self.max_new_tokens, int):
            return self.max_new_tokens
        return data.max_new_tokens or MAX_NEW_TOKENS

    def sources(self) -> list[DataConfig]:
        """The benchmarks, by name in conf/data or by file in the shared schema.

        Raises BadInput for an unknown name, and for two files with one name.
        """
        found: list[DataConfig] = []
        for name in self.benchmarks:
            if ending(name) or "/" in name:
                data = self._local(name)
            else:
                data = cli.named("data", name, DataConfig, called="benchmark")
                if not data.families and self.data_dir is not None:
                    data = data.model_copy(update={"data_dir": self.data_dir})
            if data.name in {other.name for other in found}:
                raise BadInput(
                    f"benchmarks={name}: another benchmark is called '{data.name}' too; rename the "
                    "file or leave one out"
                )
            found.append(data)
        self._check_file_keys()
        return found

    def _check_file_keys(self) -> None:
        """Raise BadInput where a key of benchmark files is set and there is none."""
        if any(self._is_file(name) for name in self.benchmarks):
            return
        for key in OF_FILES:
            if (value := getattr(self, key)) is not None:
                raise BadInput(
                    f"{key}={value} is for a benchmark file; benchmarks="
                    f"{','.join(self.benchmarks)} state their own"
                )

    @staticmethod
    def _is_file(name: str) -> bool:
        """Whether a benchmark is a file or a hub id, not a name in conf/data or a set of pairs."""
        return bool(ending(name) or "/" in name) and not (Path(name) / CONFIG).is_file()

    def _local(self, name: str) -> DataConfig:
        """A benchmark by its file, its hub id, or the finished pairs that its other side is in."""
        if (Path(name) / CONFIG).is_file():
            return _test_side(Path(name))
        values = cli.named("data", "local", DataConfig).model_dump()
        called = stem(name) if ending(name) else name
        values |= {"name": called, "path": name}
        values |= {key: getattr(self, key) for key in OF_FILES}
        return cli.check(DataConfig, values)


def _test_side(pairs: Path) -> DataConfig:
    """The test split of finished pairs. Raises BadInput if they are no pairs, have no test split,
    or lack a copy of it (as those of earlier releases do) and their source has changed."""
    manifest = check_finished(pairs, "distill")
    data = cli.check(DataConfig, read_config(pairs)["data"])
    if (pairs / TEST_FILE).is_file():
        return stored_source(data, pairs / TEST_FILE)
    if not sources.has(data, "test"):
        raise BadInput(
            f"benchmarks={pairs}: data={data.path or data.name} has no test split; make these "
            "pairs with data.test_size=0.2"
        )
    if is_stored(data) and sources.fingerprint(data, "train") != manifest.inputs["data"]:
        raise BadInput(
            f"benchmarks={pairs}: {data.path or data.name} has changed since these pairs were "
            "made, and they hold no copy of its test split; make them again with distill"
        )
    name = Path(data.path).name.split(".")[0] if data.path else data.name
    return data.model_copy(update={"name": name}) if data.name == "local" else data


def benchmark_inputs(config: Config) -> dict[str, str]:
    """Content hashes of the benchmarks, by name of the input."""
    return {
        f"benchmark:{data.name}": sources.fingerprint(data, "test") for data in config.sources()
    }


def inputs(config: Config) -> dict[str, str]:
    """Content hashes of what a run reads, by name of the input."""
    found = {**benchmark_inputs(config), "model": models.fingerprint(config.model)}
    if config.relay is not None:
        source = check_finished(Path(config.relay.source), "eval")
        found["relay"] = source.outputs[completions_file(Path(config.relay.source)).name]
    if config.samples_from is not None:
        samples = check_finished(Path(config.samples_from), "eval")
        found["samples"] = samples.outputs[completions_file(Path(config.samples_from)).name]
    for data in config.sources() if config.num_fewshot else ():
        if (pairs := pairs_beside(data)) is not None:
            found[f"examples:{data.name}"] = hash_path(pairs)
    if not isinstance(config.max_new_tokens, int):  # else it is hashed as a field
        for data in config.sources():
            found[f"max_new_tokens:{data.name}"] = str(config.max_new_tokens_of(data))
    return found
