"""Metrics of the updates of a step, summed over tokens."""

from __future__ import annotations

import torch

from ratiocine.executors import distributed
from rl.config import ObjectiveConfig
from rl.updates import Inputs


class UpdateSums:
    """`totals` by name of the metric; `worst` is the largest difference of log-probabilities
    between sampler and trainer."""

    def __init__(self) -> None:
        self.totals: dict[str, float] = {}
        self.worst = 0.0

    def add(
        self,
        inputs: Inputs,
        loss: float,
        logprobs: torch.Tensor,
        entropies: torch.Tensor,
        objective: ObjectiveConfig,
        compared: bool,
    ) -> None:
        """Add a micro-batch; `logprobs` and `entropies` are those of its completions (rows,
        tokens). `compared`: whether the sampler's log-probabilities are comparable (first pass over
        these answers, temperature 1)."""
        mask = inputs["completion_mask"].bool()
        old = inputs.get("old_per_token_logps", logprobs)
        found = {"loss": loss, "tokens": mask.sum(), "entropy": entropies[mask].sum()}
        if objective.loss != "mirror-descent":
            ratio, advantages = (logprobs - old).exp(), inputs["advantages"][:, None]
            high = (ratio > 1 + objective.epsilon_high) & (advantages > 0)
            low = (ratio < 1 - objective.epsilon) & (advantages < 0)
            found["clipped"] = ((high | low) & mask).sum()
        if (reference := inputs.get("ref_per_token_logps")) is not None:
            log_ratio = reference - logprobs
            found["kl"] = (log_ratio.exp() - log_ratio - 1)[mask].sum()  # k3 estimator
        sampled = inputs.get("sampling_per_token_logps")
        if sampled is not None and compared:
            difference = (old - sampled)[mask].abs()
            found |= {"compared": mask.sum(), "difference": difference.sum()}
            self.worst = max(self.worst, float(difference.max()))
        for name, value in found.items():
            self.totals[name] = self.totals.get(name, 0.0) + float(value)

    def over_ranks(self) -> tuple[dict[str, float], float]:
        """The sums and the worst difference over all ranks."""
        found = distributed.all_gather((self.totals, self.worst))
        names = {name for sums, _ in found for name in sums}
        sums = {name: sum(sums.get(name, 0.0) for sums, _ in found) for name in names}
        return sums, max(worst for _, worst in found)
