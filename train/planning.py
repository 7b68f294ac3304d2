"""Pairs → the stages and global batches of a run, fixed before any weights are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from heapq import nsmallest
from math import ceil

from ratiocine import cost, models
from ratiocine.errors import BadInput
from ratiocine.executors import distributed
from ratiocine.hashing import digest
from ratiocine.records import MODES, Mode
from ratiocine.rendering import Rendering
from train.batches import MicroBatchSampler
from train.config import Config
from train.dataset import PairDataset, drop_too_long, longest, read_dataset
from train.scenario import Example, ScenarioConfig, Stage, check_val_size, plan_stages


@dataclass(frozen=True)
class TrainingPlan:
    """What a run is trained on, in which order."""

    dataset: PairDataset
    rendering: Rendering
    stages: list[Stage]
    validation: list[str]
    """Ids that are not trained on."""
    dropped: Mapping[str, int]
    """Numbers of pairs and completions that are too long (`drop_too_long`)."""

    @cached_property
    def batches(self) -> list[tuple[Example, ...]]:
        """Global batches in training order."""
        return [batch for stage in self.stages for batch in stage.batches]

    @property
    def reasoning_share(self) -> float:
        """Share of examples in reasoning mode."""
        modes = [mode for batch in self.batches for _, mode in batch]
        return modes.count("reasoning") / len(modes)

    @property
    def has_reasoning(self) -> bool:
        return any(mode == "reasoning" for batch in self.batches for _, mode in batch)


def plan_training(config: Config) -> TrainingPlan:
    """The plan of a run. Raises BadInput where pairs are damaged, too long or too few."""
    tokenizer, shape = models.load_tokenizer(config.model), models.shape(config.model)
    if config.lora and config.lora_rank > shape.width:
        raise BadInput(
            f"lora_rank={config.lora_rank} is above the width of the model's layers, {shape.width}"
        )
    dataset = read_dataset(config.folders(), tokenizer, seed=config.seed, limit=config.limit)
    rendering = Rendering(tokenizer, config.direct_format)
    dataset.form_tokens.update({mode: rendering.extra_tokens(mode) for mode in MODES})
    ids, dropped = drop_too_long(dataset, config.max_length)
    if not ids:
        raise BadInput(
            f"no pair fits max_length={config.max_length}; all fit {longest(dataset)} tokens"
        )
    if n := dropped["pairs"]:
        print(
            f"warning: {n} of {len(ids) + n} pairs are dropped, as one of their sides is longer "
            f"than max_length={config.max_length}; all fit {longest(dataset)} tokens"
        )
    ids, validation = validation_split(ids, config.val_size, config.seed)

    def price(name: str, mode: Mode) -> int:
        length = dataset.length(name, mode)
        return cost.training(shape, length) if config.equalize == "flops" else length

    stages = plan_stages(
        config.scenario,
        ids,
        dataset.category,
        dataset.folder,
        price,
        ratio=config.ratio,
        equalize=config.equalize,
        epochs=config.epochs,
        batch_size=config.batch_size,
        seed=config.seed,
    )
    if line := _outside(config.scenario, Counter(map(dataset.category, ids))):
        print(line)
    plan = TrainingPlan(dataset, rendering, stages, validation, dropped)
    if config.ratio is not None and 0 < config.ratio < 1 and plan.reasoning_share in (0, 1):
        print(
            f"warning: ratio={config.ratio:g} of {len(ids)} pairs is "
            f"{len(ids) * round(plan.reasoning_share)} with a trace"
        )
    if config.max_steps and config.max_steps > (n := len(plan.batches)):
        epochs = ceil(config.epochs * config.max_steps / n)
        print(
            f"warning: max_steps={config.max_steps} is above the {n} steps of "
            f"epochs={config.epochs}, which the run ends after; epochs={epochs} has as many"
        )
    return plan


def _outside(scenario: ScenarioConfig, categories: Mapping[str, int]) -> str | None:
    """A warning of pairs whose category is in the domain of no stage."""
    domains = tuple(f"{stage.domain}-" for stage in scenario.stages if stage.domain)
    others = {name: n for name, n in categories.items() if not name.startswith(domains)}
    if len(domains) < len(scenario.stages) or not others:
        return None
    return (
        f"warning: {sum(others.values())} pairs are in no stage of scenario={scenario.name}, as "
        f"their categories ({', '.join(sorted(others))}) begin with none of {', '.join(domains)}"
    )


def micro_batch_sampler(
    config: Config, plan: TrainingPlan, rows: int, *, padded: bool, quadratic: float = 0.0
) -> MicroBatchSampler:
    """The sampler of this rank over the global batches of a run, in micro-batches of `rows`."""
    return MicroBatchSampler(
        plan.batches[: config.max_steps],
        plan.dataset,
        config.batch_size,
        rows,
        config.loss_weight,
        padded,
        distributed.rank(),
        distributed.world_size(),
        quadratic,
    )


def validation_split(ids: Sequence[str], n: int, seed: int) -> tuple[list[str], list[str]]:
    """The ids to train on, and the `n` of the smallest seeded hash. Raises BadInput where none are
    left to train on."""
    check_val_size(n, len(ids))
    validation = set(nsmallest(n, ids, key=lambda name: digest("held out", seed, name)))
    return [name for name in ids if name not in validation], sorted(validation)
