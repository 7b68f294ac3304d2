"""One-line messages about the first error of a configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from pydantic import BaseModel, ValidationError

from ratiocine import renames
from ratiocine.cli.unknown_keys import is_model, members_of, unknown_key
from ratiocine.config import LIST_FORM, MAPPING_FORM


def first_problem(schema: type[BaseModel], error: ValidationError) -> str:
    """The first unknown key, else the first invalid value."""
    problems = error.errors()
    problem = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    key, known = _locate(schema, problem["loc"])
    if problem["type"] == "extra_forbidden":
        inner = next(iter(problem["input"]), "") if isinstance(problem["input"], dict) else ""
        if not inner and (new := _renamed(key, known)):
            return f"{key} is now {new}"
        return unknown_key(schema, key, known, inner)
    if problem["type"] == "union_tag_not_found" and isinstance(problem["input"], dict):
        inner = next(iter(problem["input"]), "name")
        return f"{key}.{inner}: no {key} is chosen, of which it would be a key"
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    message = message.replace("a valid dictionary", "a mapping, such as {key: value}")
    if key and isinstance(problem["input"], dict) and problem["type"] == "value_error":
        return f"{key}: {message}"  # it names its values itself
    return f"{key}={problem['input']!r}: {message}" if key else message


def _renamed(key: str, known: Sequence[str]) -> str | None:
    """The present name of an earlier release's key, if it is one of the keys `known` there."""
    bare = ".".join(part for part in key.split(".") if not part.isdigit())
    for verb in renames.RENAMED:
        for prefix in ("", "study."):
            name = (renames.new_key(verb, f"{prefix}{bare}") or "").rpartition(".")[2]
            if name in known:
                parent = key.rpartition(".")[0]
                return f"{parent}.{name}" if parent else name
    return None


def _locate(schema: type[BaseModel], path: Sequence[int | str]) -> tuple[str, list[str]]:
    """The dotted key of an error, and the known keys at its level.

    In a discriminated union the path contains the chosen schema's name, which is not in the key.
    """
    key: list[str] = []
    known, schemas = sorted(schema.model_fields), [schema]
    for part in path:
        if isinstance(part, int):
            key.append(str(part))
            continue
        if part in (LIST_FORM, MAPPING_FORM):
            continue
        if len(schemas) > 1:
            schemas = [s for s in schemas if part in get_args(s.model_fields["name"].annotation)]
            continue
        key.append(str(part))
        fields = schemas[0].model_fields if schemas else {}
        known = sorted(fields)
        if str(part) in fields:  # else a key of a mapping
            schemas = [t for t in members_of(fields[str(part)].annotation) if is_model(t)]
    return ".".join(key), known
