"""The one import of reasoning-gym (Apache-2.0): problem generators and their scorers."""

from __future__ import annotations

import importlib
import warnings
from types import ModuleType

from ratiocine import startup


def reasoning_gym(module: str = "") -> ModuleType:
    """The package, or one of its modules, without the SyntaxWarnings that its dependencies raise
    when first compiled."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        startup.defer("cellpylib")  # imports matplotlib, for the game of life alone
        return importlib.import_module(f"reasoning_gym.{module}".rstrip("."))


def leg_counts() -> dict[str, int]:
    """Legs of each animal in reasoning-gym's leg_counting."""
    return dict(reasoning_gym("arithmetic.leg_counting").ANIMALS)
