"""Configuration of a model (conf/model)."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import PositiveFloat, PositiveInt, model_validator

from ratiocine.cli import has_own_path
from ratiocine.config import (
    DEFAULT_PACKAGE,
    ByContent,
    Hashed,
    HashedIfSet,
    StrictConfig,
    Unhashed,
)
from ratiocine.models.packaged import PackageName


class PeakRates(StrictConfig):
    """Peak learning rate by mode."""

    ift: Hashed[PositiveFloat]
    reasoning: Hashed[PositiveFloat]


class ModelConfig(StrictConfig):
    """A model by hub id or folder (`path`).

    `package` names a packaged model (`packaged.PACKAGES`), by default SmolLM2-135M-Instruct.
    `chat_template` is the model's own or one of `prompts.TEMPLATES`; `layers` prunes the model to
    so many layers. A `served` model is only known by its name on a server.
    """

    name: Hashed[str]
    kind: Hashed[Literal["hub", "packaged", "tiny", "served"]] = "hub"
    package: HashedIfSet[PackageName | None] = None
    path: ByContent[str | None] = None
    revision: Hashed[str | None] = None
    chat_template: Hashed[Literal["own", "chatml", "gemma", "plain", "r1-zero"]] = "own"
    layers: Hashed[PositiveInt | None] = None
    lr: Hashed[PeakRates | None] = None
    license: Unhashed[str | None] = None

    @model_validator(mode="after")
    def _path_of_a_folder_or_hub_id(self) -> Self:
        if self.path is not None and self.kind != "hub":
            raise ValueError(f"path={self.path} is for model=local or a hub id, not {self.name}")
        if self.package is not None and self.kind != "packaged":
            raise ValueError(f"package={self.package} is for kind=packaged, not kind={self.kind}")
        return self

    @property
    def given(self) -> str:
        """The model as messages name it: the path where that was given, else the name."""
        return self.path if self.path and has_own_path(self.name, self.path) else self.name

    @property
    def packaged(self) -> PackageName:
        """The packaged model of `kind=packaged`."""
        return self.package or DEFAULT_PACKAGE
