"""What `python -m distill` can be told, and what its result depends on."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, PositiveInt

from ratiocine import models, sources
from ratiocine.models import ModelConfig
from ratiocine.sources import DataConfig


class TeacherConfig(BaseModel):
    """conf/teacher: `oracle` solves the embedded families; `reference` gives a data set's own worked solutions."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: Literal["oracle", "reference"]


class Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    teacher: TeacherConfig
    data: DataConfig
    model: ModelConfig
    limit: PositiveInt | None = None
    seed: int = 0
    out: str | None = None


def inputs(config: Config) -> dict[str, str]:
    """Content hashes of what a run reads."""
    return {"data": sources.fingerprint(config.data, "train"), "tokenizer": models.fingerprint(config.model)}
