"""The learning rate of every step: warmup, stable, decay, over a whole run or over each of its
stages."""

from __future__ import annotations

from collections.abc import Sequence

from ratiocine.training import wsd
from train.config import Config
from train.scenario import Stage


def schedule(config: Config, stages: Sequence[Stage]) -> list[float]:
    """Learning rates of a run by step, from 0."""
    if config.scenario.schedule == "whole":
        n = sum(len(stage.batches) for stage in stages)
        steps = min(n, config.max_steps or n)
        share = stages[0].ratio if config.ratio is None else config.ratio
        return wsd(steps, config.peak_rate(share), config.warmup, config.decay)
    rates = []
    for stage in stages:
        own = stage.config
        peak = own.lr or config.peak_rate(stage.ratio)
        warmup = config.warmup if own.warmup is None else own.warmup
        decay = config.decay if own.decay is None else own.decay
        rates += wsd(len(stage.batches), peak, warmup, decay)
    return rates
