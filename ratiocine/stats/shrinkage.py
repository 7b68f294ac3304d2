"""Expected accuracies of arms, given those of similar arms and of the same arms elsewhere.

A linear mixed model of the accuracies of arms × categories: each category has a fixed mean, each
kind of similarity between arms has an effect over all categories and one in each (random, normal),
and the noise is that of problems and seeds. The variances of the effects are estimated by
restricted maximum likelihood (Patterson and Thompson, Biometrika 58, 1971), the effects by best
linear unbiased prediction (Robinson, Statistical Science 6, 1991). The arm with the highest
expected accuracy has the least expected regret under the model; that with the highest observed one
profits from chance (winner's curse).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ratiocine.stats.components import components

if TYPE_CHECKING:
    import numpy as np

Table = Sequence[Sequence[float]]  # a row per seed, a column per problem
Matrix = Sequence[Sequence[float]]
FEWEST = 3  # arms
LOWEST, HIGHEST = 1e-8, 0.25  # variances of an effect
ROUNDING = 1e-6  # variance that is added to the noise, so that it is never 0


def expected_accuracies(
    tables: Sequence[Sequence[Table]], similarities: Sequence[Matrix]
) -> list[list[float]]:
    """Expected accuracies, categories × arms, of tables by category and arm.

    The problems of a category are the same for all arms; seeds may differ in number. A similarity
    is a positive semi-definite matrix over arms with ones on its diagonal; that of each arm to
    itself alone is always added. With fewer than three arms the result are the accuracies
    observed. With one seed per arm the variance between seeds is unknown and taken as 0, so that
    too little is shrunk.
    """
    import numpy as np

    observed = np.array([[np.mean(table) for table in of] for of in tables])
    n_categories, n_arms = observed.shape
    if n_arms < FEWEST:
        return observed.tolist()
    noise = _problems_noise(tables)[:, None] + _seeds_noise(tables) + ROUNDING
    kernels = [np.asarray(one, dtype=float) for one in similarities] + [np.eye(n_arms)]
    # Contrasts between arms, which the means of categories are not in
    values, vectors = np.linalg.eigh(np.eye(n_arms) - 1 / n_arms)
    contrasts = np.kron(np.eye(n_categories), vectors[:, values > 0.5])
    scopes = [np.eye(n_categories)]
    if n_categories > 1:
        scopes.append(np.ones((n_categories, n_categories)))
    effects = [
        contrasts.T @ np.kron(scope, kernel) @ contrasts for scope in scopes for kernel in kernels
    ]
    of_noise = contrasts.T @ (noise.reshape(-1, 1) * contrasts)
    seen = contrasts.T @ observed.ravel()
    variances = _variances(seen, of_noise, effects)
    signal = sum((v * effect for v, effect in zip(variances, effects, strict=True)), 0 * of_noise)
    expected = contrasts @ signal @ np.linalg.solve(signal + of_noise, seen)
    return (observed.mean(axis=1, keepdims=True) + expected.reshape(observed.shape)).tolist()


def _variances(
    seen: np.ndarray, noise: np.ndarray, effects: Sequence[np.ndarray]
) -> Sequence[float]:
    """Of each effect, by maximum likelihood of these contrasts."""
    import numpy as np
    from scipy.optimize import minimize

    def objective(logs: np.ndarray) -> tuple[float, np.ndarray]:
        """Negative log-likelihood, but for a constant, and its gradient."""
        variances = np.exp(logs)
        total = noise + np.tensordot(variances, stacked, axes=1)
        inverse = np.linalg.inv(total)
        solved = inverse @ seen
        value = np.linalg.slogdet(total)[1] / 2 + seen @ solved / 2
        slopes = np.tensordot(stacked, inverse - np.outer(solved, solved), axes=2)
        return float(value), variances * slopes / 2

    stacked = np.array(effects)
    start = np.clip(seen.var() / len(effects), LOWEST, HIGHEST)
    bounds = [(np.log(LOWEST), np.log(HIGHEST))] * len(effects)
    logs = np.full(len(effects), np.log(start))
    return np.exp(minimize(objective, logs, jac=True, method="L-BFGS-B", bounds=bounds).x).tolist()


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
