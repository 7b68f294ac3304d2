"""Pairs → the stages of a run, before any weights are read; and what is written down about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from typing import Any

from ratiocine import cost, models
from ratiocine.errors import BadInput
from ratiocine.executors import distributed
from ratiocine.hashing import digest
from ratiocine.records import MODES
from ratiocine.rendering import Rendering
from train.batches import MicroBatches
from train.config import Config
from train.dataset import Pool, fitting, read_pool
from train.scenario import Example, Stage, examples_hash, formats, plan


@dataclass(frozen=True)
class Planned:
    """The pairs, how they are rendered, the stages that they are taught in, the ids that are held out, and how many pairs were
    too long."""

    pool: Pool
    rendering: Rendering
    stages: list[Stage]
    held_out: list[str]
    dropped: Mapping[str, int]

    @property
    def batches(self) -> list[tuple[Example, ...]]:
        return [batch for stage in self.stages for batch in stage.batches]


def planned(config: Config) -> Planned:
    tokenizer, shape = models.load_tokenizer(config.model), models.shape(config.model)
    pool = read_pool(config.folders(), tokenizer, seed=config.seed, limit=config.limit)
    rendering = Rendering(tokenizer, config.direct_format)
    pool.more.update({mode: rendering.more(mode) for mode in MODES})
    ids, dropped = fitting(pool, config.max_length)
    if not ids:
        raise BadInput(f"no pair fits max_length={config.max_length}")
    ids, held = hold_out(ids, config.val_size, config.seed)

    def price(name: str, mode: Any) -> int:
        length = pool.length(name, mode)
        return cost.training(shape, length) if config.equalize == "flops" else length

    stages = plan(
        config.scenario,
        ids,
        pool.category,
        pool.folder,
        price,
        ratio=config.ratio,
        match=config.equalize,
        epochs=config.epochs,
        batch_size=config.batch_size,
        seed=config.seed,
    )
    return Planned(pool, rendering, stages, held, dropped)


def micro_batches(
    config: Config, plan: Planned, *, padded: bool, steep: float = 0.0
) -> MicroBatches:
    """How the run's global batches go through the model, whose memory grows with the length of rows so steeply."""
    batches = plan.batches[: config.max_steps]
    return MicroBatches(
        batches,
        plan.pool,
        config.batch_size,
        config.micro_batch_size,
        config.loss_weight,
        padded,
        distributed.rank(),
        distributed.world_size(),
        steep,
    )


def hold_out(ids: Sequence[str], n: int, seed: int) -> tuple[list[str], list[str]]:
    """The ids to train on, and the `n` whose seeded hash is smallest. Raises BadInput where nothing is left."""
    if n >= len(ids):
        raise BadInput(
            f"val_size={n}: there are {len(ids)} pairs, and some must be left to train on"
        )
    held = set(nsmallest(n, ids, key=lambda name: digest("held out", seed, name)))
    return [name for name in ids if name not in held], sorted(held)


def describe(config: Config, plan: Planned) -> dict[str, Any]:
    """`mixture.json`: ids by format in training order, counts by category, and the token shares beside the ratio."""
    pool, stages = plan.pool, plan.stages
    ids = formats(stages)
    places = {mode: [pool.index[name] for name in ids[mode]] for mode in MODES}
    supervised = {
        mode: sum(map(pool.sides[mode].__getitem__, places[mode]))
        + pool.more[mode][1] * len(places[mode])
        for mode in MODES
    }
    prompts = sum(
        pool.prompts[place] + pool.more[mode][0] for mode in MODES for place in places[mode]
    )
    counts = {mode: Counter(map(pool.categories.__getitem__, set(places[mode]))) for mode in MODES}
    order = [name for batch in plan.batches for name, _ in batch]
    return {
        "schema_version": 3,
        "ratio": config.ratio,
        "scenario": config.scenario.name,
        "seed": config.seed,
        "direct_format": plan.rendering.form,
        "equalize": config.equalize,
        "loss_weight": config.loss_weight,
        "n": len(set(order)),
        "n_reasoning": sum(counts["reasoning"].values()),
        "examples": len(order),
        "examples_hash": examples_hash(stages),
        "stages": [
            {
                **stage.config.model_dump(exclude_none=True),
                "ratio": stage.ratio,
                "steps": len(stage.batches),
                "examples": sum(map(len, stage.batches)),
            }
            for stage in stages
        ],
        "categories": {
            c: {m: counts[m][c] for m in MODES}
            for c in sorted({*counts["ift"], *counts["reasoning"]})
        },
        "supervised_tokens": supervised,
        "tokens": prompts + sum(supervised.values()),
        "reasoning_token_share": supervised["reasoning"] / sum(supervised.values()),
        "dropped_too_long": dict(plan.dropped),
        "ids": ids,
        "order": order,
        "validation": plan.held_out,
    }
