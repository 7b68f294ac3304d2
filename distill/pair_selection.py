"""Selection of pairs, by length, by patterns in the trace, by the balance of domains, or as s1
does."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from distill.select_config import S1Config, SelectConfig
from distill.trace_patterns import count_patterns, pattern_fault, patterns
from ratiocine.hashing import digest, smallest
from ratiocine.records import Pair, Problem

# A pair of rank 64 has 2^-64 of the first one's probability: lower ranks are never drawn.
RANKS = 64


def domain(problem: Problem) -> str:
    """The domain or subject of a problem, else its source."""
    return str(problem.meta.get("domain") or problem.meta.get("subject") or problem.source)


@dataclass(frozen=True)
class PairSummary:
    """What the selection of pairs depends on."""

    id: str
    source: str
    domain: str
    tokens: int
    """Of the reasoning answer."""
    level: str | None = None
    shared: bool = False
    """Whether the problem is in the test split too."""
    row: int | None = None
    """Number of its row in the source."""


def outside(pair: Pair, select: SelectConfig) -> str | None:
    """The first side of a pair outside its token limits, or the pattern that its trace lacks or
    should not have, as a reason."""
    for side, (lowest, highest) in (select.tokens or {}).items():
        if not lowest <= getattr(pair, f"n_tokens_{side}") <= highest:
            return f"{side}_length"
    required, excluded = select.require_patterns, select.exclude_patterns
    if not required and not excluded:
        return None
    return pattern_fault(
        count_patterns(pair.reasoning, patterns(select.patterns or {})), required, excluded
    )


def selected(summaries: Sequence[PairSummary], select: SelectConfig, seed: int) -> set[int]:
    """Indices of the selected pairs: all, a number per domain, or the selection of s1."""
    if select.s1 is not None:
        return set(s1(summaries, select.s1, seed))
    if select.per_domain is None:
        return set(range(len(summaries)))
    by_domain: dict[str, list[str]] = {}
    for summary in summaries:
        by_domain.setdefault(summary.domain, []).append(summary.id)
    chosen = {
        (name, i) for name, ids in by_domain.items() for i in smallest(ids, select.per_domain, seed)
    }
    return {at for at, summary in enumerate(summaries) if (summary.domain, summary.id) in chosen}


def s1(summaries: Sequence[PairSummary], config: S1Config, seed: int) -> list[int]:
    """Indices of the pairs that s1 selects, in order; all of them if there are at most `n`."""
    rng = random.Random(digest("s1", seed))
    min_tokens = {rule.source: rule.min_tokens for rule in config.preferred}
    preferred = [
        at
        for at, summary in enumerate(summaries)
        if summary.source in min_tokens and summary.tokens >= min_tokens[summary.source]
    ]
    chosen = preferred[: config.n]
    pools = _by_domain(summaries, set(chosen))
    while pools and len(chosen) < config.n:
        names = sorted(pools)
        weights = [(config.weights or {}).get(name, 0.0) for name in names]
        if len(chosen) < config.uniform or not any(weights):
            weights = [1.0] * len(names)
        pool = pools[name := rng.choices(names, weights)[0]]
        ranks = range(min(len(pool), RANKS))
        chosen.append(pool.pop(rng.choices(ranks, [2.0**-rank for rank in ranks])[0]))
        if not pool:
            del pools[name]
    return chosen


def _by_domain(summaries: Sequence[PairSummary], taken: set[int]) -> dict[str, list[int]]:
    """Indices of the remaining pairs, by domain, the longest trace first."""
    pools: dict[str, list[int]] = {}
    longest_first = sorted(
        range(len(summaries)), key=lambda at: (-summaries[at].tokens, summaries[at].id)
    )
    for at in longest_first:
        if at not in taken:
            pools.setdefault(summaries[at].domain, []).append(at)
    return pools
