"""`mixture.json`: what a run was trained on, as written and as read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ratiocine.records import MODES, Mode
from train.config import Config
from train.planning import TrainingPlan
from train.scenario import examples_by_format, examples_hash

SCHEMA_VERSION = 3
EARLIER = {"match": "equalize", "rendering": "direct_format", "held_out": "validation"}  # 2 → 3


@dataclass(frozen=True)
class MixtureFacts:
    """`mixture.json`: the mixture of a run and its token shares."""

    schema_version: int
    ratio: float | None
    scenario: str
    seed: int
    direct_format: str
    equalize: str
    loss_weight: str
    n: int
    """Distinct problems."""
    n_reasoning: int
    """Distinct problems in reasoning mode."""
    examples: int
    examples_hash: str
    stages: Sequence[Mapping[str, Any]]
    categories: Mapping[str, Mapping[Mode, int]]
    """Distinct problems by category and format."""
    supervised_tokens: Mapping[Mode, int]
    tokens: int
    reasoning_token_share: float
    dropped_too_long: Mapping[str, int]
    ids: Mapping[Mode, Sequence[str]]
    """By mode, in training order."""
    order: Sequence[str]
    validation: Sequence[str]

    @property
    def share(self) -> float:
        """Share of problems in reasoning mode."""
        return self.n_reasoning / self.n

    @staticmethod
    def read(file: Path) -> MixtureFacts:
        """From `mixture.json`, also as earlier releases wrote it."""
        value = json.loads(file.read_text(encoding="utf-8"))
        return MixtureFacts(**{EARLIER.get(key, key): inner for key, inner in value.items()})


def describe(config: Config, plan: TrainingPlan) -> MixtureFacts:
    """The mixture of a plan, for `mixture.json`."""
    dataset, stages = plan.dataset, plan.stages
    ids = examples_by_format(stages)
    positions = {mode: [dataset.index[name] for name in ids[mode]] for mode in MODES}
    supervised = {
        mode: sum(map(dataset.completion_tokens[mode].__getitem__, positions[mode]))
        + dataset.form_tokens[mode][1] * len(positions[mode])
        for mode in MODES
    }
    prompts = sum(
        dataset.prompt_tokens[at] + dataset.form_tokens[mode][0]
        for mode in MODES
        for at in positions[mode]
    )
    categories = {
        mode: Counter(map(dataset.categories.__getitem__, set(positions[mode]))) for mode in MODES
    }
    order = [name for batch in plan.batches for name, _ in batch]
    return MixtureFacts(
        schema_version=SCHEMA_VERSION,
        ratio=config.ratio,
        scenario=config.scenario.name,
        seed=config.seed,
        direct_format=plan.rendering.form,
        equalize=config.equalize,
        loss_weight=config.loss_weight,
        n=len(set(order)),
        n_reasoning=sum(categories["reasoning"].values()),
        examples=len(order),
        examples_hash=examples_hash(stages),
        stages=[stage.facts for stage in stages],
        categories={
            category: {mode: categories[mode][category] for mode in MODES}
            for category in sorted({*categories["ift"], *categories["reasoning"]})
        },
        supervised_tokens=supervised,
        tokens=prompts + sum(supervised.values()),
        reasoning_token_share=supervised["reasoning"] / sum(supervised.values()),
        dropped_too_long=dict(plan.dropped),
        ids=ids,
        order=order,
        validation=plan.validation,
    )
