"""How many problems and seeds a comparison needs to find a difference, and what a pilot tells of that. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from ratiocine.stats.comparisons import Components, components, squared_reach

MOST = 10**15  # problems, of which more make no difference that could be told


@dataclass(frozen=True)
class Spread:
    """What makes the difference of two ways of training uncertain. `discordant` is the share of problems on which two students
    of one seed differ (with several samples, their mean squared difference), `seed_sd` the standard deviation of a way's
    accuracy over its seeds, and `common` the share of a problem's variance that is the same at every seed. The last two are
    None where one seed is all there is."""

    discordant: float
    seed_sd: float | None
    common: float | None


def spread(
    first: Sequence[Sequence[float]], second: Sequence[Sequence[float]], varying: int = 2
) -> Spread:
    """What two tables, a row a seed and a column a problem, show of it. `varying` is 1 where one of them repeats what one
    evaluation says, so that all that differs between seeds is the other's."""
    import numpy as np

    change = np.subtract(second, first)
    discordant = float((change**2).mean())
    if len(change) == 1:
        return Spread(discordant, None, None)
    parts = components(change.tolist())
    if parts is None:
        return Spread(discordant, 0.0, 1.0)
    own, shared = parts.of_both * parts.seeds, max(0.0, parts.of_problems - parts.of_both)
    of_seeds = max(0.0, parts.of_seeds - parts.of_both) * parts.seeds / varying
    return Spread(discordant, sqrt(of_seeds), shared / (shared + own) if own else 1.0)


def needed(
    difference: float,
    discordant: float,
    seed_sd: float,
    seeds: int,
    power: float = 0.8,
    level: float = 0.05,
    common: float = 0.5,
    varying: int = 2,
) -> int | None:
    """How many problems `compare_seeds` needs to find a true difference with this power (its p-value below `level`), given what
    `Spread` describes and how many of the two ways have seeds that differ. None where no number of problems is enough, for the
    seeds differ too much (or the difference is below one in a million).

    For several comparisons under Holm's adjustment, `level` divided by their number is always enough. With one seed it is the
    power of the exact McNemar test to tell these two students, whatever other seeds would do.

    Simulated (tests/test_simulation.py), 0.78 to 0.85 comes of the 0.8 that is asked for. A pilot of few seeds knows their
    deviation badly, and the number with it.
    """
    assert 0 < abs(difference) <= discordant <= 1
    assert 0 < power < 1
    assert seeds > 0
    sought = abs(difference)

    def enough(n: int) -> bool:
        if seeds == 1:
            return _power_of_one(sought, discordant, level, n) >= power
        return (
            _power_over_seeds(sought, discordant, varying * seed_sd**2, seeds, level, common, n)
            >= power
        )

    low, high = 1, 2  # not enough, perhaps enough
    while not enough(high):
        low, high = high, 2 * high
        if high > MOST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _power_of_one(difference: float, discordant: float, level: float, n: int) -> float:
    """Of the exact McNemar test, over the number of problems on which the two differ."""
    import numpy as np
    from scipy.stats import binom

    least, most = (int(binom.ppf(tail, n, discordant)) for tail in (1e-9, 1 - 1e-9))
    differ = np.unique(np.linspace(least, most, min(most - least + 1, 2000)).astype(int))
    chance = binom.pmf(differ, n, discordant)
    gained = (discordant + difference) / (2 * discordant)
    at_least = binom.isf(level / 2, differ, 0.5) + 1
    found = binom.sf(at_least - 1, differ, gained) + binom.cdf(differ - at_least, differ, gained)
    return float((chance * found).sum() / chance.sum())


def _power_over_seeds(
    difference: float,
    discordant: float,
    variance: float,
    seeds: int,
    level: float,
    common: float,
    n: int,
) -> float:
    """Of `compare_seeds`, over what its seeds' mean square may come out as; differences vary by seed with this `variance`."""
    import numpy as np
    from scipy.special import ndtr
    from scipy.stats import chi2

    of_one = max(discordant - difference**2, 1e-12)
    of_both = of_one * (1 - common) / (seeds * n)
    of_problems = of_one * common / n + of_both
    of_seeds = variance / seeds
    true = sqrt(of_problems + of_seeds)
    drawn = chi2.ppf((np.arange(200) + 0.5) / 200, seeds - 1) / (seeds - 1) * (of_seeds + of_both)
    reach = np.sqrt(
        [squared_reach(Components(seeds, n, of_problems, own, of_both), level) for own in drawn]
    )
    return float((ndtr((difference - reach) / true) + ndtr((-difference - reach) / true)).mean())
