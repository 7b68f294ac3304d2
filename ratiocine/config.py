"""Base of every configuration: strict, frozen, and explicit about what names a run.

Each field says beside itself whether it is part of a run's identity: `Hashed` (its value is), `Unhashed` (it changes where, how
fast or at what price, never the result) or `ByContent` (a location, which the run's inputs name by content hash).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

T = TypeVar("T")


@dataclass(frozen=True)
class Identity:
    """Marker of a field: how it counts in the hash of a run."""

    by: Literal["value", "content", "nothing"]


Hashed = Annotated[T, Identity("value")]
Unhashed = Annotated[T, Identity("nothing")]
ByContent = Annotated[T, Identity("content")]

Seed = Annotated[int, Field(ge=0, lt=2**32)]  # the range that every generator takes


class StrictConfig(BaseModel):
    """A configuration that refuses unknown keys and assignments."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def marker(config: type[BaseModel], field: str) -> Identity:
    """The one identity marker of a field; an unmarked field is a programming error."""
    found = [one for one in config.model_fields[field].metadata if isinstance(one, Identity)]
    assert len(found) == 1, f"{config.__name__}.{field} should have one identity marker"
    return found[0]


def identity(config: BaseModel) -> dict[str, Any]:
    """The hashed fields of a configuration, by key; nested configurations by their own markers."""
    schema = type(config)
    return {
        name: _plain(getattr(config, name))
        for name in schema.model_fields
        if marker(schema, name).by == "value"
    }


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return identity(value)
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value
