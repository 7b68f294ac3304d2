"""Advantages of groups, and the loss of mirror descent.

Differences from GRPO (DeepSeekMath, arXiv 2402.03300, section 4.1):

- Kept: advantages are rewards normalized within their group (outcome supervision, 4.1.2).
- Left out: process supervision (4.1.3), and an epsilon beside the standard deviation. A group of
  equal rewards has advantage 0, so there is no division by 0 to avoid, and small deviations keep
  their scale.
- Added, one key each: the standard deviation of the sample, or none (Dr. GRPO, arXiv 2503.20783),
  the loss averages of DAPO (arXiv 2503.14476) and Dr. GRPO by TRL's code, and the mirror descent of
  Kimi k1.5 (arXiv 2501.12599), which replaces the clipped loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import fmean
from typing import TYPE_CHECKING

from rl.config import Loss, RewardScale

if TYPE_CHECKING:
    import torch

# TRL's `loss_type`; mirror descent replaces the loss itself.
TRL_LOSSES: dict[Loss, str] = {
    "sequence-mean": "grpo",
    "token-mean": "dapo",
    "constant": "dr_grpo",
    "mirror-descent": "grpo",
}


def advantages(rewards: Sequence[float | None], scale_by: RewardScale) -> list[float]:
    """Rewards of one group less their mean, divided by the standard deviation that `scale_by` names
    (DeepSeekMath, §4.1.2, does not say which; `none`: undivided, as in Dr. GRPO). All are 0 where
    rewards are equal, or where one is None (`RewardConfig`: the problem cannot be graded)."""
    values = [reward for reward in rewards if reward is not None]
    if len(values) < len(rewards) or equal_rewards(rewards):
        return [0.0] * len(rewards)
    mean = fmean(values)
    scale = 1.0
    if scale_by != "none":
        scale = sqrt(
            sum((value - mean) ** 2 for value in values) / (len(values) - (scale_by == "sample"))
        )
    return [(value - mean) / scale for value in values]


def equal_rewards(rewards: Sequence[float | None]) -> bool:
    """Whether a group has no signal: its rewards are equal up to rounding, or missing."""
    values = [reward for reward in rewards if reward is not None]
    return not values or max(values) - min(values) <= 1e-9 * max(1.0, *map(abs, values))


def mirror_descent(
    logprobs: torch.Tensor,
    old_logprobs: torch.Tensor,
    mask: torch.Tensor,
    advantages: torch.Tensor,
    tau: float,
) -> torch.Tensor:
    """Loss of Kimi k1.5 (arXiv 2501.12599, eq. 3) over k answers y. Its gradient is −1/k Σ
    [(r − r̄) ∇ log π(y) − τ/2 ∇ (log (π(y) / π_i(y)))²]: π the policy, π_i sampled y, τ is `tau`.
    Log-probabilities and `mask` are (rows, tokens), advantages r − r̄ are (rows,)."""
    policy, sampler = (logprobs * mask).sum(-1), (old_logprobs * mask).sum(-1)
    return (tau / 2 * (policy - sampler) ** 2 - advantages * policy).mean()
