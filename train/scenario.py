"""Scenario: in which stages a mixture is taught. Stages become global batches, which are fixed before anything is trained.

What is held equal between ratios is named (`match`): the examples; or the tokens or FLOPs of the same problems all in reasoning
format, in which case arms with shorter answers go on into further epochs until their cost is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from ratiocine.config import ByContent, Hashed, StrictConfig
from ratiocine.errors import BadInput
from ratiocine.hashing import digest
from ratiocine.records import MODES, Mode
from train.mixture import Mixture, mix

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Match = Literal["examples", "tokens", "flops"]
Cost = Callable[[str, Mode], int]
Example = tuple[str, Mode]


class StageConfig(StrictConfig):
    """One stage: the pairs of one set or domain, or the examples of one format of them; what is None is as the run has it."""

    pairs: ByContent[str | None] = None
    domain: Hashed[Literal["general", "math"] | None] = None
    format: Hashed[Mode | None] = None
    ratio: Hashed[Share | None] = None
    epochs: Hashed[PositiveInt | None] = None
    lr: Hashed[PositiveFloat | None] = None
    warmup: Hashed[NonNegativeFloat | None] = None
    decay: Hashed[NonNegativeFloat | None] = None


class ScenarioConfig(StrictConfig):
    """conf/scenario: stages one after the other, under one learning-rate schedule or one for `each`."""

    name: Hashed[str]
    stages: Hashed[Annotated[list[StageConfig], Field(min_length=1)]]
    schedule: Hashed[Literal["whole", "each"]] = "whole"

    @model_validator(mode="after")
    def _own_rates_need_own_schedules(self) -> Self:
        own = {
            key
            for stage in self.stages
            for key in ("lr", "warmup", "decay")
            if getattr(stage, key) is not None
        }
        if own and self.schedule == "whole":
            raise ValueError(f"a stage with its own {min(own)} needs schedule=each")
        return self

    @property
    def fixes_ratio(self) -> bool:
        """Whether the stages themselves say every ratio, so that a run can have none."""
        return all(stage.ratio is not None for stage in self.stages)


@dataclass(frozen=True)
class Stage:
    """A stage as planned: its mixture, and its global batches in training order."""

    config: StageConfig
    mixture: Mixture
    ratio: float
    batches: list[tuple[Example, ...]]


def plan(
    scenario: ScenarioConfig,
    ids: Sequence[str],
    category: Callable[[str], str],
    folders: Callable[[str], str],
    cost: Cost,
    *,
    ratio: float | None,
    match: Match,
    epochs: int,
    batch_size: int,
    seed: int,
) -> list[Stage]:
    """The stages of a run over the pairs `ids`. Raises BadInput where a stage holds no pair, or less than a global batch."""
    stages = []
    for number, config in enumerate(scenario.stages, 1):
        where = f"scenario={scenario.name}, stage {number}"
        mine = {
            name: category(name)
            for name in ids
            if (config.domain is None or category(name).startswith(f"{config.domain}-"))
            and (config.pairs is None or folders(name) == config.pairs)
        }
        if not mine:
            raise BadInput(
                f"{where}: none of the pairs is of domain={config.domain}, pairs={config.pairs}"
            )
        share = ratio if config.ratio is None else config.ratio
        assert share is not None
        if match != "examples" and config.format is not None:
            raise BadInput(
                f"{where}: equalize={match} means nothing for one format of a mixture; leave equalize=examples"
            )
        mixture = mix(mine, share, seed)
        rounds = _rounds(mixture, config.format, batch_size, seed)
        stages.append(
            Stage(
                config,
                mixture,
                share,
                _until(rounds, mixture, cost, match, config.epochs or epochs),
            )
        )
        if not stages[-1].batches and config.format is None:
            raise BadInput(f"{where}: nothing to train on")
    most = max((len(batch) for stage in stages for batch in stage.batches), default=0)
    if most < batch_size:
        n = sum(len(batch) for stage in stages for batch in stage.batches)
        raise BadInput(
            f"batch_size={batch_size}: {n} examples do not fill one global batch; at most {most} can be asked for"
        )
    return stages


def _rounds(
    mixture: Mixture, only: Mode | None, size: int, seed: int
) -> Iterator[list[tuple[Example, ...]]]:
    """The global batches of one epoch after the other."""
    epoch = 0
    while True:
        if only is None:
            yield [
                tuple((name, mixture.mode(name)) for name in batch)
                for batch in mixture.batches(size, epoch, seed)
            ]
        else:
            order = (name for batch in mixture.batches(size, epoch, seed) for name in batch)
            taught = [(name, only) for name in order if mixture.mode(name) == only]
            yield [tuple(taught[start : start + size]) for start in range(0, len(taught), size)]
        epoch += 1


def _until(
    rounds: Iterator[list[tuple[Example, ...]]],
    mixture: Mixture,
    cost: Cost,
    match: Match,
    epochs: int,
) -> list[tuple[Example, ...]]:
    """So many epochs; or as many global batches as come nearest to what those epochs cost with every problem in reasoning
    format."""
    if match == "examples":
        return [batch for _ in range(epochs) for batch in next(rounds)]
    budget = epochs * sum(cost(name, "reasoning") for name in mixture.order)
    found: list[tuple[Example, ...]] = []
    spent = 0
    for batch in (batch for batches in rounds for batch in batches):
        more = sum(cost(name, mode) for name, mode in batch)
        if 2 * (budget - spent) < more:
            return found
        found.append(batch)
        spent += more
    raise AssertionError("epochs do not end")


def examples_hash(stages: Sequence[Stage]) -> str:
    """Of the multiset of examples, whatever their order: equal for `mixed` and `sequential` at one ratio."""
    return digest(
        "examples",
        *sorted("\x1f".join(example) for s in stages for batch in s.batches for example in batch),
    )


def formats(stages: Sequence[Stage]) -> dict[Mode, list[str]]:
    """The ids taught in each format, as often as they are, in training order."""
    found: dict[Mode, list[str]] = {mode: [] for mode in MODES}
    for stage in stages:
        for batch in stage.batches:
            for name, mode in batch:
                found[mode].append(name)
    return found
