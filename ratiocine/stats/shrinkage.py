"""Expected accuracies of arms in one category, given those in the others (empirical Bayes).

After the two-way model with random effects: accuracy = category + arm + arm in category + noise.
Its variances are estimated by the method of moments, that of the noise from problems and seeds, and
each effect is shrunk by its share of the variance observed (Morris, JASA 78, 1983). The arm with
the highest expected accuracy has the least expected regret under the model; the highest observed
one profits from chance (winner's curse).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ratiocine.stats.components import components

if TYPE_CHECKING:
    import numpy as np

Table = Sequence[Sequence[float]]  # a row per seed, a column per problem


def expected_accuracies(tables: Sequence[Sequence[Table]]) -> list[list[float]]:
    """Expected accuracies, categories × arms, of tables by category and arm.

    The problems of a category are the same for all arms; seeds may differ in number. With one
    category, or fewer than three arms, they are the accuracies observed. With one seed per arm the
    variance between seeds is unknown and taken as 0, so that too little is shrunk.
    """
    import numpy as np

    observed = np.array([[np.mean(table) for table in of] for of in tables])
    n_categories, n_arms = observed.shape
    if n_categories < 2 or n_arms < 3:
        return observed.tolist()
    noise = _problems_noise(tables)[:, None] + _seeds_noise(tables)
    centred = observed - observed.mean(axis=1, keepdims=True)
    of_arm = centred.mean(axis=0)
    of_both = centred - of_arm
    spread_both = (of_both**2).sum() / ((n_arms - 1) * (n_categories - 1))
    variance_both = max(0.0, spread_both - noise.mean())
    rest = (variance_both + noise.mean(axis=0)) / n_categories
    variance_arm = max(0.0, (of_arm**2).sum() / (n_arms - 1) - rest.mean())
    shrunk = _share(variance_arm, rest) * of_arm + _share(variance_both, noise) * of_both
    return (observed.mean(axis=1, keepdims=True) + shrunk).tolist()


def _share(variance: float, noise: np.ndarray) -> np.ndarray:
    """Of the variance observed; 0 where there is none."""
    import numpy as np

    total = variance + noise
    return np.divide(variance, total, out=np.zeros_like(total), where=total > 0)


def _problems_noise(tables: Sequence[Sequence[Table]]) -> np.ndarray:
    """By category, the variance of an arm's mean over problems, relative to the other arms."""
    import numpy as np

    found = []
    for of in tables:
        means = np.array([np.mean(table, axis=0) for table in of])  # arms × problems
        apart = means - means.mean(axis=0)
        n_arms, n = apart.shape
        found.append(apart.var(axis=1, ddof=min(1, n - 1)).mean() * n_arms / (n_arms - 1) / n)
    return np.array(found)


def _seeds_noise(tables: Sequence[Sequence[Table]]) -> np.ndarray:
    """By arm, the variance of its mean over seeds, without that of seeds × problems: one variance
    between seeds for all."""
    import numpy as np

    seeds = np.array([len(table) for table in tables[0]])
    parts = [part for of in tables for table in of if (part := components(table)) is not None]
    if not parts:
        return np.zeros(len(seeds))
    between = np.mean([part.seeds * (part.of_seeds - part.of_both) for part in parts])
    return max(0.0, float(between)) / seeds
