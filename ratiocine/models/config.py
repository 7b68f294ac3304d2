"""Configuration of a model (conf/model)."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveFloat, PositiveInt

from ratiocine.config import ByContent, Hashed, StrictConfig, Unhashed


class PeakRates(StrictConfig):
    """Peak learning rate by mode."""

    ift: Hashed[PositiveFloat]
    reasoning: Hashed[PositiveFloat]


class ModelConfig(StrictConfig):
    """A model by hub id or folder (`path`).

    `chat_template` is the model's own or one of `prompts.TEMPLATES`; `layers` prunes the model to
    so many layers. A `served` model is only known by its name on a server.
    """

    name: Hashed[str]
    kind: Hashed[Literal["hub", "packaged", "tiny", "served"]] = "hub"
    path: ByContent[str | None] = None
    revision: Hashed[str | None] = None
    chat_template: Hashed[Literal["own", "chatml", "plain", "r1-zero"]] = "own"
    layers: Hashed[PositiveInt | None] = None
    lr: Hashed[PeakRates | None] = None
    license: Unhashed[str | None] = None
