"""Advantages, and the one loss that TRL's trainer has not: pure functions of numbers and tensors."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import fmean
from typing import TYPE_CHECKING

from rl.config import Loss, Std

if TYPE_CHECKING:
    import torch

TRL_LOSSES: dict[Loss, str] = {
    "sequence-mean": "grpo",
    "token-mean": "dapo",
    "constant": "dr_grpo",
    "mirror-descent": "grpo",
}


def advantages(rewards: Sequence[float | None], std: Std) -> list[float]:
    """The rewards of one group less their mean, divided by their standard deviation (DeepSeekMath, arXiv 2402.03300, §4.1.2,
    which does not say which one; `none` as in Dr. GRPO, arXiv 2503.20783). Where all are equal, or the problem is at fault (a
    reward is None), all are 0. Nothing is added to the deviation."""
    values = [reward for reward in rewards if reward is not None]
    if len(values) < len(rewards) or flat(rewards):
        return [0.0] * len(rewards)
    mean = fmean(values)
    scale = 1.0
    if std != "none":
        scale = sqrt(
            sum((value - mean) ** 2 for value in values) / (len(values) - (std == "sample"))
        )
    return [(value - mean) / scale for value in values]


def flat(rewards: Sequence[float | None]) -> bool:
    """Whether a group teaches nothing: its rewards are equal but for rounding, or not there."""
    values = [reward for reward in rewards if reward is not None]
    return not values or max(values) - min(values) <= 1e-9 * max(1.0, *map(abs, values))


def mirror_descent(
    logprobs: torch.Tensor,
    before: torch.Tensor,
    mask: torch.Tensor,
    advantages: torch.Tensor,
    tau: float,
) -> torch.Tensor:
    """Kimi k1.5 (arXiv 2501.12599, eq. 3) as a loss: its gradient is −1/k Σ [∇ log π(y) (r − r̄) − τ/2 ∇ (log π(y) / π_i(y))²],
    where π_i answered. Token log-probabilities and `mask` are (rows, tokens), advantages r − r̄ are (rows,)."""
    policy, answered = (logprobs * mask).sum(-1), (before * mask).sum(-1)
    return (tau / 2 * (policy - answered) ** 2 - advantages * policy).mean()
