"""Analogical prompting (arXiv 2310.01714): the model recalls a related problem first."""

from __future__ import annotations

from typing import Literal

from ratiocine.config import Hashed
from ratiocine.strategies.zero_shot_cot import Instruction


class Analogical(Instruction):
    name: Hashed[Literal["analogical"]] = "analogical"
    instruction: Hashed[str] = (
        "Recall a related problem and solve it. Then solve the problem above."
    )
