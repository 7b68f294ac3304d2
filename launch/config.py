"""What `python -m launch` can be told: a study is a list of stages, a grid of cells, or both, and what its report compares."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from ratiocine.config import Seed, StrictConfig
from ratiocine.executors import ExecutorConfig, LocalConfig
from ratiocine.runs import tracking

NAME = re.compile(r"[\w.+-]+")
AXES = (
    "pairs",
    "verify",
    "models",
    "scenarios",
    "ratios",
    "match",
    "lr_policy",
    "seeds",
)  # may be extended


class StageConfig(StrictConfig):
    """One call of a verb, or one for every combination of the values under `each`. In `name` and `set`, `$key` stands for
    such a value and `{stage}` for the folder of another stage."""

    name: str
    verb: Literal["distill", "train", "rl", "eval"]
    matrix: dict[str, Annotated[list[int | float | str], Field(min_length=1)]] = {}
    overrides: list[str] = []


class RLGridConfig(StrictConfig):
    """What goes on with GRPO: the students of these ratios, or of all; `set` are the words of `rl`."""

    ratios: list[float] | None = None
    overrides: list[str] = []


class Assumptions(StrictConfig):
    """What is taken as known of what is not there yet, to estimate its cost: pairs of a set and their mean tokens, problems of
    the benchmarks with their mean tokens, and FLOPs a second that a worker comes to, by verb."""

    pairs: dict[str, PositiveInt] = {}
    prompt: dict[str, PositiveFloat] = {}
    ift: dict[str, PositiveFloat] = {}
    reasoning: dict[str, PositiveFloat] = {}
    problems: PositiveInt | None = None
    asked: PositiveFloat = 150
    answered: dict[Literal["ift", "reasoning"], PositiveFloat] = {}
    rate: dict[Literal["train", "eval", "rl"], PositiveFloat] = {}


class GridConfig(StrictConfig):
    """Cells: every model taught by every set of pairs, scenario, ratio and seed, and evaluated. A model or a set is a name with
    the words that choose it; of a list of names, `model=NAME` and `data=NAME` do. Scenarios that say every ratio have one cell
    for all ratios, and what orders two formats has none where there is one format only (`mixed` is the same there).
    `untrained` are further words for models before training; null leaves them out."""

    models: dict[str, list[str]] = Field(min_length=1)
    pairs: dict[str, list[str]] = Field(min_length=1)
    ratios: list[float] = Field(min_length=1)
    scenarios: list[str] = Field(default=["mixed"], min_length=1)
    seeds: list[Seed] = Field(default=[0], min_length=1)
    equalize: list[Literal["examples", "tokens", "flops"]] = Field(
        default=["examples"], min_length=1
    )
    lr_policy: list[Literal["per_format", "matched"]] = Field(default=["per_format"], min_length=1)
    verify: list[Literal["both", "reasoning", "either", "none"]] = []
    distill: list[str] = []
    train: list[str] = []
    rl: RLGridConfig | None = None
    benchmarks: list[str] = Field(min_length=1)
    max_new_tokens: PositiveInt | None = None
    eval: list[str] = []
    baseline: list[str] | None = []
    assumptions: Assumptions = Assumptions()

    @field_validator("models", "pairs", mode="before")
    @classmethod
    def _names_of_stages(cls, value: Any, info: Any) -> Any:
        """Names alone are words as well; stages are called by them."""
        word = {"models": "model", "pairs": "data"}[info.field_name]
        names = list(value) if isinstance(value, (list, dict)) else []
        if repeated := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"'{repeated[0]}' occurs twice")
        if unnamed := [
            name for name in names if not isinstance(name, str) or not NAME.fullmatch(name)
        ]:
            raise ValueError(
                f"{unnamed[0]!r} is no name of letters, digits and -._+; give it one: {{NAME: ['{word}=…']}}"
            )
        return {name: [f"{word}={name}"] for name in names} if isinstance(value, list) else value

    @model_validator(mode="after")
    def _no_cell_twice(self) -> Self:
        for axis in AXES:
            values = list(getattr(self, axis))
            if repeated := [value for value in values if values.count(value) > 1]:
                raise ValueError(
                    f"{axis}={values}: {repeated[0]} occurs twice, and so would its cells"
                )
        if wrong := [ratio for ratio in self.ratios if not 0 <= ratio <= 1]:
            raise ValueError(f"ratios={self.ratios}: {wrong[0]:g} is no share from 0 to 1")
        return self


class StudyConfig(StrictConfig):
    """conf/study. One that is made `beside` another goes on from the stages that they share, in the other's folder. The stages
    come before the grid, whose words may name them; the report of a grid compares all its evaluations."""

    name: str
    stages: list[StageConfig] = []
    grid: GridConfig | None = None
    report: list[str] = []
    base_study: str | None = None
    retain: Literal["weights", "scores"] = "weights"

    @model_validator(mode="after")
    def _something_to_do(self) -> Self:
        if not self.stages and self.grid is None:
            raise ValueError("a study has stages, a grid, or both")
        return self


class Config(StrictConfig):
    """conf/launch.yaml says what each key means."""

    study: StudyConfig
    executor: ExecutorConfig = LocalConfig()
    dry_run: bool = False
    retain: Literal["weights", "scores"] | None = None
    tracker: tracking.Name = "none"
    project: str = "ratiocine"
    out: str | None = None

    @model_validator(mode="after")
    def _on_one_machine(self) -> Self:
        if self.executor.name == "local" and self.executor.nodes > 1:
            raise ValueError(
                f"executor.nodes={self.executor.nodes}: one machine starts all stages of a study; give executor=slurm or executor=ray"
            )
        return self
