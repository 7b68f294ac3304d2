"""Configuration of `python -m launch`: a study of listed stages, a grid of cells, or both."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    Discriminator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Tag,
    field_validator,
    model_validator,
)

from eval.report import Hypothesis, Rounds
from launch.cards import card
from launch.pair_sets import finished_pairs, is_name, pair_sets, parsed
from ratiocine import cli
from ratiocine.config import LIST_FORM, MAPPING_FORM, PositiveShare, Seed, StrictConfig, TokenLimit
from ratiocine.executors import ExecutorConfig, LocalConfig
from ratiocine.runs import tracking

# The axes of a grid. A finished study can be extended by further values of them.
AXES = (
    "pairs",
    "verify",
    "models",
    "scenarios",
    "ratios",
    "equalize",
    "lr_policy",
    "strategies",
    "seeds",
)


# Keys of a training that are axes of a grid, by the axis.
AXES_OF_TRAINING = {"seed": "seeds", "ratio": "ratios", "pairs": "pairs", "scenario": "scenarios"}
OF_ONE_VERB = ("train", "rl", "eval")  # prefixes of overrides of a model


class StageConfig(StrictConfig):
    """One run of a verb, or one for each combination of the values in `matrix`.

    In `name` and `overrides`, `$key` stands for a value of the matrix and `{stage}` for the folder
    of another stage.
    """

    name: str
    verb: Literal["distill", "train", "rl", "eval"]
    matrix: dict[str, Annotated[list[int | float | str], Field(min_length=1)]] = Field(default={})
    overrides: list[str] = Field(default=[])


class RLGridConfig(StrictConfig):
    """GRPO from the students of some ratios (None: all); `overrides` are those of `rl`."""

    ratios: list[float] | None = None
    overrides: list[str] = Field(default=[])


class Assumptions(StrictConfig):
    """Numbers for the cost estimate, of what is neither finished nor at hand.

    `gpu` is the card (`launch.cards`), `mfu` the share of its peak rate that a verb reaches (model
    FLOPs utilization). `startup` are the seconds of a stage before its work: imports and loading of
    the model. By set of pairs: the number of `pairs` and the mean tokens of a `prompt`, an `ift`
    answer and a `reasoning` completion; `prompt` also by benchmark. Of the benchmarks: the number
    of `problems`, by name or of all, and the mean tokens of a prompt and of a completion by mode.
    By verb: the FLOPs per second of one GPU or machine, in place of card and `mfu`.
    """

    gpu: str | None = None
    startup: NonNegativeFloat | None = None
    mfu: dict[Literal["train", "eval", "rl"], PositiveShare] = Field(default={})
    pairs: dict[str, PositiveInt] = Field(default={})
    prompt: dict[str, PositiveFloat] = Field(default={})
    ift: dict[str, PositiveFloat] = Field(default={})
    reasoning: dict[str, PositiveFloat] = Field(default={})
    problems: PositiveInt | dict[str, PositiveInt] | None = None
    prompt_tokens: PositiveFloat = 150
    completion_tokens: dict[Literal["ift", "reasoning"], PositiveFloat] = Field(default={})
    flops_per_second: dict[Literal["train", "eval", "rl"], PositiveFloat] = Field(default={})

    @field_validator("gpu")
    @classmethod
    def _known_card(cls, value: str | None) -> str | None:
        return None if value is None else card(value)


def of_verb(override: str) -> tuple[str | None, str]:
    """The verb that an override of a model is for, None for all, and the override of the verb."""
    verb, _, rest = override.partition(".")
    return (verb, rest) if verb in OF_ONE_VERB else (None, override)


def _named_by_path(path: str) -> str | None:
    """The name in conf/model of a hub id."""
    for name in cli.options("model"):
        if yaml.safe_load((cli.CONF / "model" / f"{name}.yaml").read_text()).get("path") == path:
            return name
    return None


def _of_model(name: str, words: Any) -> Any:
    """The overrides of a model: where none names another, its name is that of conf/model."""
    if not isinstance(words, list) or any(re.match("model[.=]", str(word)) for word in words):
        return words
    return [f"model={name}", *words]


class GridConfig(StrictConfig):
    """Cells: every model trained on every set of pairs with every scenario, ratio and seed, and
    evaluated.

    A model is a name with its overrides (where none names a model, `model=NAME` is one), with the
    prefix of a verb (`train.lora=true`) those of that verb alone; a set of pairs likewise
    (`pair_sets`). A scenario that fixes its ratios has one cell instead of one per ratio. The
    scenario `sequential` has no cell at ratio 0 or 1 if `mixed` is in the grid, which is the same
    there. `baseline` are further overrides for the evaluation of starting models; null skips it.
    Each of the `strategies` is a further evaluation of every student; those that ask for samples
    alone share one set of them.
    """

    models: dict[str, list[str]] = Field(min_length=1)
    pairs: dict[str, list[str]] = Field(min_length=1)
    ratios: list[float] = Field(min_length=1)
    scenarios: list[str] = Field(default=["mixed"], min_length=1)
    seeds: Annotated[
        Annotated[Annotated[list[Seed], Field(min_length=1)], Tag(LIST_FORM)]
        | Annotated[Rounds, Tag(MAPPING_FORM)],
        Discriminator(lambda value: LIST_FORM if isinstance(value, list) else MAPPING_FORM),
    ] = Field(default=[0])
    equalize: list[Literal["examples", "tokens", "flops"]] = Field(["examples"], min_length=1)
    lr_policy: list[Literal["per_format", "matched"]] = Field(["per_format"], min_length=1)
    verify: list[Literal["both", "reasoning", "either", "none"]] = Field(default=[])
    distill: list[str] = Field(default=[])
    train: list[str] = Field(default=[])
    rl: RLGridConfig | None = None
    benchmarks: list[str] = Field(min_length=1)
    max_new_tokens: TokenLimit = None
    eval: list[str] = Field(default=[])
    baseline: list[str] | None = Field(default=[])
    strategies: dict[str, list[str]] = Field(default={})

    @property
    def first_seeds(self) -> Sequence[int]:
        """The seeds of every cell; those of further rounds are as yet unknown."""
        return range(self.seeds.first) if isinstance(self.seeds, Rounds) else self.seeds

    def model_words(self, model: str, verb: str | None = None) -> list[str]:
        """The overrides of a model for one verb; None: those for every verb."""
        return [word for of, word in map(of_verb, self.models[model]) if of == verb]

    @field_validator("train")
    @classmethod
    def _no_axis(cls, words: list[str]) -> list[str]:
        for word in words:
            if axis := AXES_OF_TRAINING.get(cli.key_of(word)):
                raise ValueError(f"{word} is an axis: study.grid.{axis}")
        return words

    @field_validator("models", mode="before")
    @classmethod
    def _names_and_overrides(cls, value: Any) -> Any:
        """Overrides by name, for a name alone `model=NAME`; names are part of stage names."""
        value = parsed(value)
        found: dict[str, Any] = {}
        for item in value if isinstance(value, list) else [value]:
            for name in item if isinstance(item, dict) else [item]:
                if isinstance(name, str) and (known := _named_by_path(name)):
                    raise ValueError(f"{name!r} is called {known}")
                if not isinstance(name, str) or not is_name(name):
                    raise ValueError(
                        f"{name!r} is no name of letters, digits and -._+; give it one: "
                        f"{{NAME: [model=qwen2.5-1.5b, model.path={name}]}}, with the learning "
                        "rates of conf/model/qwen2.5-1.5b.yaml"
                    )
                if name in found:
                    raise ValueError(f"'{name}' occurs twice")
                found[name] = _of_model(name, item[name] if isinstance(item, dict) else [])
        return found

    @field_validator("strategies", mode="before")
    @classmethod
    def _strategies_by_name(cls, value: Any) -> Any:
        """Overrides of an evaluation by name; for a name alone `strategy=NAME`."""
        value, found = parsed(value), dict[str, Any]()
        for item in value if isinstance(value, list) else [value]:
            for name in item if isinstance(item, dict) else [item]:
                if not isinstance(name, str) or not is_name(name):
                    raise ValueError(f"{name!r} is no name of letters, digits and -._+")
                if name in found:
                    raise ValueError(f"'{name}' occurs twice")
                found[name] = item[name] if isinstance(item, dict) else [f"strategy={name}"]
        return found

    @field_validator("seeds", mode="before")
    @classmethod
    def _seeds_or_rounds(cls, value: Any) -> Any:
        value = parsed(value)
        if isinstance(value, int):
            several = ",".join(map(str, range(value))) if 1 < value < 6 else "0,1,2"
            raise ValueError(
                f"should be a list of seeds: [{value}] for one, [{several}] for several"
            )
        return value

    @field_validator("pairs", mode="before")
    @classmethod
    def _sets_of_pairs(cls, value: Any) -> Any:
        return pair_sets(value)

    @field_validator("benchmarks", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _finished_pairs_are_verified(self) -> Self:
        finished = [name for name, words in self.pairs.items() if finished_pairs(words)]
        if self.verify and finished:
            raise ValueError(
                f"verify={self.verify}: the pairs '{finished[0]}' are finished; leave verify out"
            )
        return self

    @model_validator(mode="after")
    def _cells_are_unique(self) -> Self:
        for axis in AXES:
            values = list(self.first_seeds if axis == "seeds" else getattr(self, axis))
            if repeated := [value for value in values if values.count(value) > 1]:
                raise ValueError(f"{axis}={values}: {repeated[0]} occurs twice")
        if wrong := [ratio for ratio in self.ratios if not 0 <= ratio <= 1]:
            raise ValueError(f"ratios={self.ratios}: {wrong[0]:g} is not between 0 and 1")
        of_rl = self.rl.ratios or [] if self.rl else []
        if absent := [ratio for ratio in of_rl if ratio not in self.ratios]:
            raise ValueError(f"rl.ratios={of_rl}: {absent[0]:g} is none of ratios={self.ratios}")
        return self


class StudyConfig(StrictConfig):
    """A study (conf/study).

    Stages come before the grid, whose overrides may refer to them as `{stage}`. With `base_study`
    it runs in the folder of that study and reuses the stages they share. `report` names the
    evaluations that the report compares; empty: all of the grid. `hypotheses` are declared before
    anything runs; `grid.seeds: {first: 3, most: 10}` adds seeds to the arms of primary ones until
    these are decided.
    """

    name: str
    stages: list[StageConfig] = Field(default=[])
    grid: GridConfig | None = None
    report: list[str] = Field(default=[])
    hypotheses: list[Hypothesis] = Field(default=[])
    base_study: str | None = None
    retain: Literal["weights", "scores"] = "weights"
    assumptions: Assumptions = Assumptions()

    @model_validator(mode="before")
    @classmethod
    def _assumptions_of_the_grid(cls, value: Any) -> Any:
        """Files of earlier releases have them in the grid."""
        grid = value.get("grid") if isinstance(value, dict) else None
        if not isinstance(grid, dict) or "assumptions" not in grid:
            return value
        both = {**grid["assumptions"], **value.get("assumptions", {})}
        rest = {key: inner for key, inner in grid.items() if key != "assumptions"}
        return {**value, "grid": rest, "assumptions": both}

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if not self.stages and self.grid is None:
            raise ValueError("a study has stages, a grid, or both")
        if self.grid is not None and isinstance(self.grid.seeds, Rounds):
            if not any(one.primary for one in self.hypotheses):
                raise ValueError("grid.seeds in rounds need a primary hypothesis (hypotheses)")
            if self.report:
                raise ValueError("grid.seeds in rounds compare the whole grid; leave report out")
            if self.grid.strategies:
                raise ValueError("grid.seeds in rounds and grid.strategies exclude each other")
        for name in (self.name, self.base_study):
            if name is not None and not is_name(name):
                raise ValueError(f"'{name}' is no name of a study: letters, digits and -._+")
        return self


class Config(StrictConfig):
    """conf/launch.yaml documents the keys."""

    study: StudyConfig
    executor: ExecutorConfig = LocalConfig()
    dry_run: bool = False
    retain: Literal["weights", "scores"] | None = None
    tracker: tracking.Name = "none"
    project: str = "ratiocine"
    entity: str | None = None
    out: str | None = None

    @property
    def folder(self) -> Path:
        """Of the study."""
        return Path(self.out or Path("runs") / (self.study.base_study or self.study.name))

    @model_validator(mode="after")
    def _one_local_node(self) -> Self:
        if self.executor.name == "local" and self.executor.nodes > 1:
            raise ValueError(
                f"executor.nodes={self.executor.nodes}: one machine starts all stages of a study; "
                "give executor=slurm or executor=ray"
            )
        return self

    @model_validator(mode="after")
    def _follows_its_jobs(self) -> Self:
        if self.executor.name == "slurm" and not self.executor.wait:
            raise ValueError(
                "executor.wait=false is for a single command: a study submits a job once those "
                "before it have ended; keep it running in tmux or screen"
            )
        return self

    @model_validator(mode="after")
    def _gpus_of_the_card(self) -> Self:
        executor, gpu = self.executor, self.study.assumptions.gpu
        if gpu and executor.name != "local" and not executor.requests_gpus:
            raise ValueError(
                f"study.assumptions.gpu={gpu}: jobs of executor={executor.name} request no GPU; "
                "give executor.gpus_per_node=1 or more, or study.assumptions.gpu=null"
            )
        return self
