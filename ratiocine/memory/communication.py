"""What cards that train one model tell each other in a step: bytes that each sends, by what is cut over them.

Of a tensor of B bytes over N cards each sends (N − 1)/N · B to gather it or to reduce it in parts, and twice as much to reduce
it for all, as ring algorithms do; none does with less. Weights and gradients are float32 here. Norms of gradients and losses,
some bytes a step, are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

from ratiocine.memory.activations import FLOAT, Counts
from ratiocine.memory.estimates import GATHERED, Spread


@dataclass(frozen=True)
class Sent:
    """Bytes that a card sends in a step: gradients, and weights."""

    gradients: int
    weights: int = 0

    @property
    def total(self) -> int:
        return self.gradients + self.weights


def sent(counts: Counts, spread: Spread, parts: int, reach: int = GATHERED) -> Sent:
    """In a step of so many micro-batches a card. Between forward and backward ZeRO-3 keeps what comes again within `reach`
    numbers.

    As DeepSpeed 0.19 does it: stage 1 reduces gradients for all at the end of a step; stage 2 does so, and not in parts, after
    every micro-batch; both then gather the weights that each card has changed. Stage 3 gathers every weight, also those that do
    not learn, for forward and once more for backward, and reduces in parts, in every micro-batch. Without either,
    DistributedDataParallel reduces for all at the end of a step."""
    ring = FLOAT * (spread.cards - 1) / spread.cards
    if spread.sharding == "none":
        return Sent(round(2 * ring * counts.trained))
    if spread.cuts < 3:
        return Sent(
            round((2 if spread.cuts == 1 else 2 * parts) * ring * counts.trained),
            round(ring * counts.trained),
        )
    small = 0 if spread.sharding == "fsdp" else counts.small
    large = counts.all + (counts.trained if counts.rank else 0) - small
    # Between a layer's forward and its backward lie all layers above it, twice.
    twice = large if spread.sharding == "fsdp" else max(0, large - reach // 2)
    return Sent(
        round(parts * ring * counts.trained), round(parts * ring * (large + twice) + ring * small)
    )
