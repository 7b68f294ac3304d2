"""What `python -m launch` can be told: a study is a list of stages and what its report compares."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ratiocine.places import Local, Place


class StageConfig(BaseModel):
    """One call of a verb, or one for every combination of the values under `each`. In `name` and `set`, `$key` stands for
    such a value and `{stage}` for the folder of another stage."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    verb: Literal["distill", "train", "rl", "eval"]
    each: dict[str, list[int | float | str]] = {}
    set: list[str] = []


class StudyConfig(BaseModel):
    """conf/study. One that is made `beside` another goes on from the stages that they share, in the other's folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    stages: list[StageConfig] = Field(min_length=1)
    report: list[str] = []
    beside: str | None = None


class Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    study: StudyConfig
    on: Place = Local()
    dry_run: bool = False
    out: str | None = None
