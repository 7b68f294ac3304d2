"""Base of every configuration: strict, frozen, and explicit about the identity of a run.

Each field has one marker in its type: `Hashed` (its value is part of the run's identity),
`HashedIfSet` (the same, unless it is the default: for keys that earlier releases did not have),
`Unhashed` (it changes where, how fast or at what price a run happens, never its result) or
`ByContent` (a location, whose content is among the inputs of the run).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveInt,
    TypeAdapter,
    ValidationError,
)

T = TypeVar("T")


@dataclass(frozen=True)
class Identity:
    """Marker of a field: its part in the hash of a run."""

    by: Literal["value", "set_value", "content", "nothing"]
    auto: int | None = None
    """What `auto` counts as, where a machine chooses a value that changes results by rounding
    alone."""


Hashed = Annotated[T, Identity("value")]
HashedIfSet = Annotated[T, Identity("set_value")]
Unhashed = Annotated[T, Identity("nothing")]
ByContent = Annotated[T, Identity("content")]

DEFAULT_PACKAGE: Final = "smollm2-135m"  # of a packaged model that names none

Seed = Annotated[int, Field(ge=0, lt=2**32)]  # accepted by every random generator in use
Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]


def _micro_batch_size(value: object) -> object:
    if value == "auto":
        return value
    try:
        return TypeAdapter(PositiveInt).validate_python(value)
    except ValidationError:
        raise ValueError("should be a number of rows above 0, or auto") from None


def _token_limit(value: object) -> object:
    if value in (None, "auto"):
        return value
    try:
        return TypeAdapter(PositiveInt).validate_python(value)
    except ValidationError:
        raise ValueError("should be a number of tokens above 0, auto or null") from None


def _token_count(value: object) -> object:
    if value == "auto":
        raise ValueError(
            "should be a number of tokens above 0; only eval finds one: python -m eval model=… "
            "benchmarks=… max_new_tokens=auto prints it"
        )
    return value


TokenCount = Annotated[PositiveInt, BeforeValidator(_token_count)]
TokenLimit = Annotated[PositiveInt | Literal["auto"] | None, BeforeValidator(_token_limit)]
MicroBatchSize = Annotated[PositiveInt | Literal["auto"], BeforeValidator(_micro_batch_size)]


# Tags of a value that is a list or a mapping; in brackets, as they are no part of a key.
LIST_FORM, MAPPING_FORM = "<list>", "<mapping>"


class StrictConfig(BaseModel):
    """A configuration that refuses unknown keys and assignment."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def marker(config: type[BaseModel], field: str) -> Identity:
    """The identity marker of a field. Raises AssertionError where there is not exactly one."""
    found = [one for one in config.model_fields[field].metadata if isinstance(one, Identity)]
    assert len(found) == 1, f"{config.__name__}.{field} should have one identity marker"
    return found[0]


def identity(config: BaseModel) -> dict[str, object]:
    """The hashed fields of a configuration, by key, those of nested configurations included."""
    schema = type(config)
    return {
        name: of.auto if value == "auto" and of.auto is not None else _plain(value)
        for name, field in schema.model_fields.items()
        if (of := marker(schema, name)).by in ("value", "set_value")
        and ((value := getattr(config, name)) != field.get_default() or of.by == "value")
    }


def flattened(value: object, prefix: str = "") -> dict[str, object]:
    """The innermost values of nested mappings, by dotted key."""
    if not isinstance(value, Mapping):
        return {prefix[:-1]: value}
    return {
        key: found
        for name, inner in value.items()
        for key, found in flattened(inner, f"{prefix}{name}.").items()
    }


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return identity(value)
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value
