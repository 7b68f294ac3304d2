"""The record of a paired difference: every comparison of two arms over the same problems."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from ratiocine.stats.comparisons import compare, widened
from ratiocine.stats.components import Components, Pool, components
from ratiocine.stats.equivalence import equivalence
from ratiocine.stats.moderation import pool
from ratiocine.stats.multiplicity import holm
from ratiocine.stats.sample_size import Spread, power_over_seeds, spread

if TYPE_CHECKING:
    import numpy as np

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
    """Lower end of the 95 % interval (`compare_seeds`; `pooled`)."""
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
    over_means: tuple[float, float, float, float]
    """Difference, interval and p-value of the means over seeds (`compare`)."""
    parts: Components | None
    """Variance components of the difference."""
    means: tuple[np.ndarray, np.ndarray]
    """Means over seeds of the problems' values: of the base, of this arm."""

    @staticmethod
    def of(
        base: Sequence[Sequence[float]], other: Sequence[Sequence[float]], varying: int = 2
    ) -> PairedDifference:
        """From two tables of seeds (rows) and problems (columns)."""
        import numpy as np

        first, second = np.asarray(base, dtype=float), np.asarray(other, dtype=float)
        means = first.mean(axis=0), second.mean(axis=0)
        over_means = compare(*(side.tolist() for side in means))
        parts = components((second - first).tolist())
        difference, low, high, p = widened(over_means, parts)
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
            over_means=over_means,
            parts=parts,
            means=means,
        )

    @property
    def pool(self) -> Pool | None:
        """What the comparisons of its kind say of the variance between seeds."""
        return None if self.parts is None else self.parts.pool

    def equivalence(self, margin: float) -> float:
        """P-value of a difference beyond the margin (`equivalence`), below 0.05 where none is shown
        to be that large."""
        first, second = (side.tolist() for side in self.means)
        return equivalence(first, second, self.parts, margin)

    def power(self, seeds: int, level: float) -> float | None:
        """Chance that a comparison with so many seeds, over the same problems, has a p-value below
        `level`, if the true difference is the one seen; None where this one does not show how much
        seeds differ. With several seeds at least two are needed."""
        if self.spread.seed_sd is None or self.spread.common is None or not self.difference:
            return None
        variance, freedom = self.varying * self.spread.seed_sd**2, 0.0
        if self.parts is not None and self.pool is not None:
            variance = max(0.0, self.pool.variance - self.parts.of_both) * self.seeds
            freedom = self.pool.freedom
        discordant = max(self.spread.discordant, abs(self.difference))
        sought, common = abs(self.difference), self.spread.common
        return power_over_seeds(sought, discordant, variance, seeds, level, common, self.n, freedom)

    @property
    def alone(self) -> tuple[float, float, float]:
        """Interval and p-value with the variance between its own seeds alone: (low, high, p)."""
        own = None if self.parts is None else replace(self.parts, pool=None)
        return widened(self.over_means, own)[1:]

    @property
    def conclusion(self) -> Conclusion:
        """`better` if the 95 % interval is above 0, `worse` if below, else `inconclusive`."""
        return "better" if self.low > 0 else "worse" if self.high < 0 else "inconclusive"

    @property
    def conclusive(self) -> bool:
        return self.conclusion != "inconclusive"


def pooled(
    found: Sequence[PairedDifference], kinds: Sequence[Hashable] | None = None
) -> list[PairedDifference]:
    """The same differences with the variance between seeds pooled over those of one kind and with
    the same number of arms that vary (`moderation.pool`), as yet without adjustment."""
    of_kind: dict[Hashable, list[int]] = {}
    for at, one in enumerate(found):
        kind = None if kinds is None else kinds[at]
        of_kind.setdefault((kind, one.varying), []).append(at)
    result = list(found)
    for members in of_kind.values():
        parts = pool([found[at].parts for at in members])
        for at, part in zip(members, parts, strict=True):
            _, low, high, p = widened(found[at].over_means, part)
            result[at] = replace(found[at], low=low, high=high, p=p, p_holm=p, parts=part)
    return result


def holm_adjusted(found: Sequence[PairedDifference]) -> list[PairedDifference]:
    """The same differences with p-values adjusted for all of them."""
    adjusted = holm([one.p for one in found])
    return [replace(one, p_holm=p) for one, p in zip(found, adjusted, strict=True)]
