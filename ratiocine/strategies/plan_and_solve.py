"""Plan-and-solve (arXiv 2305.04091): the model is told to make a plan and to carry it out."""

from __future__ import annotations

from typing import Literal

from ratiocine.config import Hashed
from ratiocine.strategies.zero_shot_cot import Instruction


class PlanAndSolve(Instruction):
    name: Hashed[Literal["plan_and_solve"]] = "plan_and_solve"
    instruction: Hashed[str] = (
        "Let's first understand the problem and devise a plan to solve the problem. Then, let's "
        "carry out the plan and solve the problem step by step."
    )
