"""conf/data: where the problems of a data set come from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ratiocine.config import ByContent, Hashed, HashedIfSet, StrictConfig, Unhashed
from ratiocine.records import Decimal, Kind, category_name

Split = Literal["train", "test"]
Domain = Literal["general", "math"]
Tolerance = Annotated[float, Field(ge=0, lt=1)]
TestSize = Annotated[float, Field(gt=0, lt=1)]
FIELDS = (
    "id",
    "question",
    "context",
    "answer",
    "choices",
    "kind",
    "category",
    "tolerance",
    "decimal",
    "solution",
    "meta",
)
"""Fields of a row in the shared schema."""

ENDINGS = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
"""Of the files that are read, in any case; all but Parquet also with `.gz`."""
TASK_ENDINGS = (".yaml", ".yml")
"""Of tasks of lm-evaluation-harness."""
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def ending(name: str) -> str | None:
    """The ending of a file of rows, without `.gz`, or of a task; None for any other file."""
    if task := next((known for known in TASK_ENDINGS if name.lower().endswith(known)), None):
        return task
    plain = name.lower().removesuffix(".gz")
    found = next((known for known in ENDINGS if plain.endswith(known)), None)
    return None if found == ".parquet" and plain != name.lower() else found


def stem(path: str) -> str:
    """The name of a file without its ending, or of a data set without its owner."""
    name, kind = Path(path).name, ending(path)
    return name[: name.lower().rindex(kind)] if kind else name


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
    """A data set on the Hugging Face hub: its `files` by split, or its `splits`, streamed. Without
    either, `train` and `test` are streamed where it has them."""

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

    @property
    def declared(self) -> bool:
        """Whether the configuration states the splits."""
        return bool(self.files or self.splits)

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
    """A local file of rows, an lm-evaluation-harness task (`.yaml`), or a data set folder or hub
    id, which becomes `hub`."""
    test_size: HashedIfSet[TestSize | None] = None
    """Share of the rows that make the test split, for a source without one."""
    tolerance: HashedIfSet[Tolerance | None] = None
    """Relative error up to which a number counts as right; None compares exactly."""
    decimal: HashedIfSet[Decimal | None] = None
    """What separates the decimals of the numbers; None tells it from the reference answers."""
    license: Unhashed[str | None] = None
    max_new_tokens: Hashed[PositiveInt | None] = None
    """Default length limit of a completion, in tokens."""

    @model_validator(mode="before")
    @classmethod
    def _hub_id(cls, values: Any) -> Any:
        """A `path` that is a folder or `owner/name`, and no file, names a data set."""
        path = values.get("path") if isinstance(values, dict) else None
        if not isinstance(path, str) or values.get("hub") or Path(path).is_file():
            return values
        if not Path(path).is_dir() and (not HUB_ID.fullmatch(path) or ending(path)):
            return values
        return {**values, "path": None, "hub": {"repo": path}}

    @property
    def label(self) -> str:
        """For people: the name, or for `data=PATH` that of the file or data set."""
        source = self.path or (self.hub.repo if self.hub else None)
        return stem(source) if self.name == "local" and source else self.name

    @field_validator("test_size")
    @classmethod
    def _splittable(cls, size: float | None, info: ValidationInfo) -> float | None:
        if size is not None and (info.data.get("families") or info.data.get("mix")):
            raise ValueError(f"is for one file or data set, which {info.data['name']} is not")
        return size

    @field_validator("category")
    @classmethod
    def _category_has_a_name(cls, name: str | None) -> str | None:
        return None if name is None else category_name(name)

    @field_validator("columns")
    @classmethod
    def _columns_are_of_fields(cls, columns: dict[str, str] | None) -> dict[str, str] | None:
        for name in columns or {}:
            if name not in FIELDS and not name.startswith("meta."):
                turned = columns is not None and columns[name] in FIELDS
                hint = "; the field comes first" if turned else ""
                known = f"{', '.join(FIELDS)}, meta.NAME"
                raise ValueError(f"'{name}' is no field; known: {known}{hint}")
        return columns
