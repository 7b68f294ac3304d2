"""The learning rate of every step: warm-up, stable, decay, over a whole run or over each of its stages."""

from __future__ import annotations

from collections.abc import Sequence

from ratiocine.training import wsd
from train.config import Config
from train.scenario import Stage


def schedule(config: Config, stages: Sequence[Stage]) -> list[float]:
    """The rate of every step of a run."""
    if config.scenario.schedule == "whole":
        n = sum(len(stage.batches) for stage in stages)
        share = stages[0].ratio if config.ratio is None else config.ratio
        return wsd(
            min(n, config.max_steps or n), config.peak_rate(share), config.warmup, config.decay
        )
    rates = []
    for stage in stages:
        own = stage.config
        warmup, decay = (
            getattr(config, key) if getattr(own, key) is None else getattr(own, key)
            for key in ("warmup", "decay")
        )
        rates += wsd(len(stage.batches), own.lr or config.peak_rate(stage.ratio), warmup, decay)
    return rates
