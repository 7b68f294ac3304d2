"""conf/data: where the problems of a data set come from."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

from ratiocine.config import ByContent, Hashed, StrictConfig, Unhashed
from ratiocine.records import Kind

Split = Literal["train", "test"]
Domain = Literal["general", "math"]
FIELDS = (
    "id",
    "question",
    "context",
    "answer",
    "choices",
    "kind",
    "category",
    "solution",
    "meta",
)
"""Fields of a row in the shared schema."""


class FamilyConfig(StrictConfig):
    """Problems of one embedded family."""

    train: Hashed[NonNegativeInt]
    """Number of training problems."""
    test: Hashed[NonNegativeInt]
    """Number of test problems."""
    difficulty: Hashed[PositiveInt] = 1
    """A level of the family, from 1."""
    family: Hashed[str | None] = None
    """The family, if the entry has another name."""
    settings: Hashed[dict[str, int | float]] = Field(default={})
    """Generator settings that replace those of the level."""
    hypothesis: Hashed[Literal["gain", "no_gain"] | None] = None
    """The expected effect of reasoning traces, stated before training."""


class HubConfig(StrictConfig):
    """A data set on the Hugging Face hub: its `files` by split, or its `splits`, streamed."""

    repo: Hashed[str]
    revision: Hashed[str | None] = None
    """A commit; None is the newest."""
    files: Hashed[dict[str, list[str]]] = Field(default={})
    """Files of the repository, by split."""
    splits: Hashed[dict[str, str]] = Field(default={})
    """The hub's name of each split, for streaming."""
    subset: Hashed[str | None] = None
    rows: Hashed[str | None] = None
    """Name of its function in `column_mappings.ROWS`; None for rows in the shared schema."""
    count: Unhashed[int | None] = None
    """Number of test problems."""

    def has(self, split: str) -> bool:
        return split in self.files or split in self.splits


class DataConfig(StrictConfig):
    """A source of problems: embedded `families`, a local file (`path`, or `files` in `data_dir`), a
    data set on the `hub`, or a mixture (`mix`) of other sources."""

    name: Hashed[str]
    instruction: Hashed[str] = ""
    """The task wording that begins every prompt."""
    families: Hashed[dict[str, FamilyConfig]] = Field(default={})
    mix: Hashed[dict[str, PositiveFloat] | None] = None
    """Weights of other sources, by name."""
    n: Hashed[PositiveInt | None] = None
    """Problems of a mixture."""
    columns: Hashed[dict[str, str] | None] = None
    """Column of each field of the shared schema (`question`, `answer`, `meta.level`, …); dots reach
    into nested columns."""
    kind: Hashed[Kind | None] = None
    category: Hashed[str | None] = None
    domain: Hashed[Domain] = "general"
    """Decides the category where none is given."""
    hub: Hashed[HubConfig | None] = None
    files: Hashed[dict[Split, str]] = Field(default={})
    """File names of local copies, by split."""
    data_dir: ByContent[str | None] = None
    """Folder with local copies."""
    path: ByContent[str | None] = None
    """A local JSONL or Parquet file."""
    license: Unhashed[str | None] = None
    max_new_tokens: Hashed[PositiveInt | None] = None
    """Default length limit of a completion, in tokens."""

    @field_validator("columns")
    @classmethod
    def _columns_are_of_fields(cls, columns: dict[str, str] | None) -> dict[str, str] | None:
        for name in columns or {}:
            if name not in FIELDS and not name.startswith("meta."):
                raise ValueError(f"'{name}' is no field; known: {', '.join(FIELDS)}, meta.NAME")
        return columns
