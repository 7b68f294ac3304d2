"""The strategies by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from ratiocine.strategies.adaptive_consistency import AdaptiveConsistency
from ratiocine.strategies.analogical import Analogical
from ratiocine.strategies.best_of_n import BestOfN
from ratiocine.strategies.budget_forcing import BudgetForcing
from ratiocine.strategies.cot_decoding import CoTDecoding
from ratiocine.strategies.deep_conf import DeepConf
from ratiocine.strategies.early_exit import EarlyExit
from ratiocine.strategies.least_to_most import LeastToMost
from ratiocine.strategies.minimum_bayes_risk import MinimumBayesRisk
from ratiocine.strategies.plan_and_solve import PlanAndSolve
from ratiocine.strategies.self_consistency import SelfConsistency
from ratiocine.strategies.self_refine import SelfRefine
from ratiocine.strategies.short_m_at_k import ShortMAtK
from ratiocine.strategies.step_back import StepBack
from ratiocine.strategies.strategy import Strategy
from ratiocine.strategies.weighted_vote import WeightedVote
from ratiocine.strategies.zero_shot_cot import ZeroShotCoT

StrategyConfig = Annotated[
    AdaptiveConsistency
    | Analogical
    | BestOfN
    | BudgetForcing
    | CoTDecoding
    | DeepConf
    | EarlyExit
    | LeastToMost
    | MinimumBayesRisk
    | PlanAndSolve
    | SelfConsistency
    | SelfRefine
    | ShortMAtK
    | StepBack
    | WeightedVote
    | ZeroShotCoT,
    Field(discriminator="name"),
]

STRATEGIES: Mapping[str, type[Strategy]] = {
    strategy.model_fields["name"].default: strategy
    for strategy in (
        SelfConsistency,
        AdaptiveConsistency,
        ShortMAtK,
        BestOfN,
        WeightedVote,
        DeepConf,
        MinimumBayesRisk,
        CoTDecoding,
        BudgetForcing,
        EarlyExit,
        ZeroShotCoT,
        PlanAndSolve,
        Analogical,
        StepBack,
        LeastToMost,
        SelfRefine,
    )
}
