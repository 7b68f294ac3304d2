"""The variance between training seeds, from several comparisons together.

With S seeds, a comparison alone estimates the variance between its seeds with S − 1 degrees of
freedom. Comparisons of like kind are pooled: their variances come from one scaled inverse χ²
distribution with d0 degrees of freedom (Smyth, Statistical Applications in Genetics and Molecular
Biology 3, 2004), except for a share of outliers (Phipson et al., Annals of Applied Statistics 10,
2016). With few comparisons a point estimate of d0 is often infinite by chance, and its intervals
too narrow; scale and d0 are integrated over instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ratiocine.stats.components import Components, Pool

if TYPE_CHECKING:
    import numpy as np

MIN_POOLED = 4  # comparisons
OUTLIERS = 0.05  # share, before the data
FREEDOMS = (0.5, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, 1000)
LOG_SCALES = 41  # from 1/20 to 20 times the median
OUTLIER_RANGE = 1e4  # largest over smallest variance of an outlier, log-uniform
NEGLIGIBLE = 1e-9  # weight


def pool(parts: Sequence[Components | None]) -> list[Components | None]:
    """The components of comparisons of like kind, each with its `Pool`.

    What is pooled is the ratio of the mean squares of seeds and of the interaction of seeds and
    problems (1 where seeds differ by chance alone), which does not depend on the accuracy. Fewer
    than `MIN_POOLED` comparisons with several seeds stay as they are.
    """
    import numpy as np

    usable = [one for one in parts if one is not None and one.of_both > 0]
    if len(usable) < MIN_POOLED:
        return list(parts)
    ratios = np.array([one.seeds_floor / one.of_both for one in usable])
    own = np.array([one.seeds - 1.0 for one in usable])
    posterior = _posterior(ratios, own)
    weights, d0, scale = posterior.weights, posterior.d0, posterior.scale
    found = iter(range(len(usable)))
    result: list[Components | None] = []
    for one in parts:
        if one is None or one.of_both <= 0:
            result.append(one)
            continue
        at = next(found)
        # No more is known than the pool's own degrees of freedom.
        known = np.minimum(d0, own.sum() - own[at])
        variances = (known * scale + own[at] * ratios[at]) / (known + own[at]) * one.of_both
        outlying = posterior.outlying[:, at]
        out = float(weights @ outlying)
        shared = Pool(
            size=len(usable),
            freedom=posterior.freedom,
            outlier=out,
            weights=np.append(weights * (1 - outlying), out),
            variances=np.append(variances, one.seeds_floor),
            freedoms=np.append(known + own[at], own[at]),
        )
        result.append(replace(one, pool=shared))
    return result


@dataclass(frozen=True)
class _Posterior:
    """The distribution of d0 and scale, given all comparisons: points of a grid that are not
    negligible."""

    weights: np.ndarray
    d0: np.ndarray
    scale: np.ndarray
    outlying: np.ndarray
    """Probability that each comparison is an outlier: points × comparisons."""
    freedom: float
    """Median of d0."""


def _posterior(ratios: np.ndarray, own: np.ndarray) -> _Posterior:
    """From the ratios of mean squares and their degrees of freedom."""
    import numpy as np
    from scipy.special import logsumexp

    scales = np.median(ratios) * np.exp(np.linspace(-3, 3, LOG_SCALES))
    grid = np.array([(freedom, scale) for freedom in FREEDOMS for scale in scales])
    d0, scale = grid[:, :1], grid[:, 1:]
    inside = np.log1p(-OUTLIERS) + _log_density(ratios, own, d0, scale)  # grid x comparisons
    outside = np.log(OUTLIERS / np.log(OUTLIER_RANGE)) - np.log(ratios)
    both = np.logaddexp(inside, outside)
    log_weights = both.sum(axis=1) - np.log(d0[:, 0]) / 2
    weights = np.exp(log_weights - logsumexp(log_weights))
    by_freedom = weights.reshape(len(FREEDOMS), LOG_SCALES).sum(axis=1)
    freedom = float(FREEDOMS[int(np.searchsorted(by_freedom.cumsum(), 0.5))])
    kept = weights > NEGLIGIBLE
    weights = weights[kept] / weights[kept].sum()
    outlying = np.exp(outside - both[kept])
    return _Posterior(weights, d0[kept, 0], scale[kept, 0], outlying, freedom)


def _log_density(
    ratios: np.ndarray, own: np.ndarray, d0: np.ndarray, scale: np.ndarray
) -> np.ndarray:
    """Log density of mean squares with `own` degrees of freedom under the prior: `scale` times an F
    distribution (Smyth 2004, section 6)."""
    import numpy as np
    from scipy.special import betaln

    f = own * ratios / (d0 * scale)
    normalised = betaln(own / 2, d0 / 2) + np.log(ratios)
    return own / 2 * np.log(f) - (own + d0) / 2 * np.log1p(f) - normalised
