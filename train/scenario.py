"""Scenarios: the stages of a mixture, planned as global batches before training.

`equalize` names what is equal between ratios: the examples; or the tokens or FLOPs of the same
problems all in reasoning mode, in which case arms with shorter answers train for further epochs
until their cost is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from ratiocine.config import ByContent, Hashed, Share, StrictConfig
from ratiocine.errors import BadInput
from ratiocine.hashing import digest
from ratiocine.records import MODES, Mode
from train.mixture import Mixture, mix

Equalize = Literal["examples", "tokens", "flops"]
Price = Callable[[str, Mode], int]
Example = tuple[str, Mode]  # id of a pair, mode


class StageConfig(StrictConfig):
    """One training phase. `pairs`, `domain` and `format` (mode) select examples, None selects all;
    the other keys replace the run's values, None keeps them."""

    pairs: ByContent[str | None] = None
    domain: Hashed[Literal["general", "math"] | None] = None
    format: Hashed[Mode | None] = None
    ratio: Hashed[Share | None] = None
    epochs: Hashed[PositiveInt | None] = None
    lr: Hashed[PositiveFloat | None] = None
    warmup: Hashed[NonNegativeFloat | None] = None
    decay: Hashed[NonNegativeFloat | None] = None


class ScenarioConfig(StrictConfig):
    """conf/scenario: successive stages under one learning-rate schedule (`whole`) or one for
    `each`."""

    name: Hashed[str]
    stages: Hashed[Annotated[list[StageConfig], Field(min_length=1)]]
    schedule: Hashed[Literal["whole", "each"]] = "whole"

    @model_validator(mode="after")
    def _stage_rates_need_stage_schedules(self) -> Self:
        given = {
            key
            for stage in self.stages
            for key in ("lr", "warmup", "decay")
            if getattr(stage, key) is not None
        }
        if given and self.schedule == "whole":
            raise ValueError(f"a stage with its own {min(given)} needs schedule=each")
        return self

    @property
    def fixes_ratio(self) -> bool:
        """Whether every stage has a ratio, so that the run has none."""
        return all(stage.ratio is not None for stage in self.stages)


@dataclass(frozen=True)
class Stage:
    """A planned stage: its mixture, and its global batches in training order."""

    config: StageConfig
    mixture: Mixture
    ratio: float
    batches: list[tuple[Example, ...]]

    @property
    def facts(self) -> dict[str, Any]:
        """For `mixture.json`."""
        return {
            **self.config.model_dump(exclude_none=True),
            "ratio": self.ratio,
            "steps": len(self.batches),
            "examples": sum(map(len, self.batches)),
        }


def plan_stages(
    scenario: ScenarioConfig,
    ids: Sequence[str],
    category: Callable[[str], str],
    folder: Callable[[str], str],
    price: Price,
    *,
    ratio: float | None,
    equalize: Equalize,
    epochs: int,
    batch_size: int,
    seed: int,
) -> list[Stage]:
    """The stages of a run over the pairs `ids`, whose category, folder and price (tokens or FLOPs)
    are looked up. Raises BadInput where a stage holds no pair, or no stage fills a global batch."""
    stages = []
    for number, config in enumerate(scenario.stages, 1):
        where = f"scenario={scenario.name}, stage {number}"
        categories = {
            name: category(name)
            for name in ids
            if (config.domain is None or category(name).startswith(f"{config.domain}-"))
            and (config.pairs is None or folder(name) == config.pairs)
        }
        if not categories:
            known = sorted({category(name) for name in ids})
            raise BadInput(
                f"{where}: none of the pairs is of domain={config.domain}, pairs={config.pairs}; "
                f"their categories: {', '.join(known)}"
            )
        share = ratio if config.ratio is None else config.ratio
        assert share is not None
        mixture = mix(categories, share, seed)
        rounds = _epochs(mixture, config.format, batch_size, seed)
        batches = _equalized(rounds, mixture, price, equalize, config.epochs or epochs)
        if not batches and config.format is None:
            raise BadInput(f"{where}: nothing to train on")
        stages.append(Stage(config, mixture, share, batches))
    _check_batch_size(stages, batch_size)
    return stages


def _check_batch_size(stages: Sequence[Stage], batch_size: int) -> None:
    largest = max((len(batch) for stage in stages for batch in stage.batches), default=0)
    check_batch_size(batch_size, largest)


def check_val_size(n: int, n_pairs: int) -> None:
    """Raise BadInput where `n` pairs for validation leave none to train on."""
    if n >= n_pairs:
        raise BadInput(
            f"val_size={n}: there are {n_pairs} pairs, and some must be left to train on"
        )


def check_batch_size(batch_size: int, n: int) -> None:
    """Raise BadInput where the `n` examples of the largest batch do not fill a global batch."""
    if n < batch_size:
        raise BadInput(
            f"batch_size={batch_size}: {n} examples do not fill one global batch; at most {n} is "
            "possible"
        )


def _epochs(
    mixture: Mixture, only: Mode | None, size: int, seed: int
) -> Iterator[list[tuple[Example, ...]]]:
    """The global batches of one epoch after another, without end."""
    for epoch in count():
        batches = mixture.batches(size, epoch, seed)
        if only is None:
            yield [tuple((name, mixture.mode(name)) for name in batch) for batch in batches]
        else:
            order = [name for batch in batches for name in batch]
            examples = [(name, only) for name in order if mixture.mode(name) == only]
            yield [tuple(examples[start : start + size]) for start in range(0, len(examples), size)]


def _equalized(
    rounds: Iterator[list[tuple[Example, ...]]],
    mixture: Mixture,
    price: Price,
    equalize: Equalize,
    epochs: int,
) -> list[tuple[Example, ...]]:
    """The batches of `epochs` epochs; or as many as come nearest to the price of these epochs with
    every problem in reasoning mode."""
    if equalize == "examples":
        return [batch for _ in range(epochs) for batch in next(rounds)]
    budget = epochs * sum(price(name, "reasoning") for name in mixture.order)
    found: list[tuple[Example, ...]] = []
    spent = 0
    for batch in (batch for batches in rounds for batch in batches):
        more = sum(price(name, mode) for name, mode in batch)
        if 2 * (budget - spent) < more:
            break
        found.append(batch)
        spent += more
    return found


def examples_hash(stages: Sequence[Stage]) -> str:
    """Hash of the multiset of examples: equal for `mixed` and `sequential` at one ratio."""
    return digest(
        "examples",
        *sorted("\x1f".join(example) for s in stages for batch in s.batches for example in batch),
    )


def examples_by_format(stages: Sequence[Stage]) -> dict[Mode, list[str]]:
    """Ids in each mode in training order, once per occurrence."""
    found: dict[Mode, list[str]] = {mode: [] for mode in MODES}
    for stage in stages:
        for batch in stage.batches:
            for name, mode in batch:
                found[mode].append(name)
    return found
