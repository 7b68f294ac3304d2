"""The strategies by name."""

from __future__ import annotations

from collections.abc import Mapping

from ratiocine.strategies.adaptive_consistency import AdaptiveConsistency
from ratiocine.strategies.best_of_n import BestOfN
from ratiocine.strategies.self_consistency import SelfConsistency
from ratiocine.strategies.short_m_at_k import ShortMAtK
from ratiocine.strategies.strategy import Strategy
from ratiocine.strategies.weighted_vote import WeightedVote

STRATEGIES: Mapping[str, type[Strategy]] = {
    "self_consistency": SelfConsistency,
    "adaptive_consistency": AdaptiveConsistency,
    "short_m_at_k": ShortMAtK,
    "best_of_n": BestOfN,
    "weighted_vote": WeightedVote,
}
