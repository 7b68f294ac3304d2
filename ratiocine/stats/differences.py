"""The record of a paired difference: every comparison of two arms over the same problems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ratiocine.stats.comparisons import compare_seeds, holm
from ratiocine.stats.sample_size import Spread, spread

Conclusion = Literal["better", "worse", "inconclusive"]


@dataclass(frozen=True)
class PairedDifference:
    """Accuracy of an arm minus that of its base, over the same problems and training seeds."""

    n: int
    """Problems."""
    seeds: int
    """Pairs of training seeds."""
    base: float
    """Accuracy of the arm compared against."""
    accuracy: float
    """Accuracy of this arm."""
    difference: float
    low: float
    """Lower end of the 95 % interval (`compare_seeds`)."""
    high: float
    p: float
    """Two-sided p-value of this comparison alone."""
    p_holm: float
    """Holm-adjusted over the comparisons of its table."""
    by_seed: tuple[float, ...]
    """The difference in every pair of seeds."""
    spread: Spread
    """Sources of its uncertainty."""
    varying: int
    """Number of arms (1 or 2) with several seeds."""

    @staticmethod
    def of(
        base: Sequence[Sequence[float]], other: Sequence[Sequence[float]], varying: int = 2
    ) -> PairedDifference:
        """From two tables of seeds (rows) and problems (columns)."""
        import numpy as np

        first, second = np.asarray(base, dtype=float), np.asarray(other, dtype=float)
        difference, low, high, p = compare_seeds(base, other)
        return PairedDifference(
            n=first.shape[1],
            seeds=first.shape[0],
            base=float(first.mean()),
            accuracy=float(second.mean()),
            difference=difference,
            low=low,
            high=high,
            p=p,
            p_holm=p,
            by_seed=tuple((second - first).mean(axis=1).tolist()),
            spread=spread(base, other, varying),
            varying=varying,
        )

    @property
    def conclusion(self) -> Conclusion:
        """`better` if the 95 % interval is above 0, `worse` if below, else `inconclusive`."""
        return "better" if self.low > 0 else "worse" if self.high < 0 else "inconclusive"

    @property
    def conclusive(self) -> bool:
        return self.conclusion != "inconclusive"


def holm_adjusted(found: Sequence[PairedDifference]) -> list[PairedDifference]:
    """The same differences with p-values adjusted for all of them."""
    adjusted = holm([one.p for one in found])
    return [replace(one, p_holm=p) for one, p in zip(found, adjusted, strict=True)]
