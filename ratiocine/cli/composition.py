"""Configurations: composed from conf/ and overrides by Hydra, checked against their schema."""

from __future__ import annotations

import re
from collections.abc import Sequence
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from ratiocine import renames
from ratiocine.cli.overrides import BY_PATH, CONF, key_of, normalise, with_changes
from ratiocine.cli.unknown_keys import suggestion, unknown_key
from ratiocine.cli.validation_errors import first_problem
from ratiocine.config import flattened
from ratiocine.errors import BadInput, near

if TYPE_CHECKING:
    from omegaconf import DictConfig

C = TypeVar("C", bound=BaseModel)


def compose(verb: str, schema: type[C], overrides: Sequence[str]) -> C:
    """The configuration of `python -m verb *overrides`. Raises BadInput if it is invalid."""
    check_renamed(verb, overrides)
    check_groups(overrides)
    check_served(verb, overrides)
    try:
        words = tuple(normalise(overrides))
        composed = _changed(verb, words) or _composed(verb, words)
    except Exception as error:
        raise hydra_problem(verb, schema, error) or error from None
    return check(schema, plain_values(composed))


def _composed(verb: str, words: tuple[str, ...]) -> DictConfig:
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(verb, list(words))


@lru_cache(maxsize=256)
def _with_groups(verb: str, words: tuple[str, ...]) -> DictConfig:
    """Composed with the options of groups alone, which takes most of the time of a composition: the
    stages of a study differ in values."""
    return _composed(verb, words)


def _changed(verb: str, words: tuple[str, ...]) -> DictConfig | None:
    """The composition with values of keys changed as Hydra changes them; None for an override that
    only Hydra's own composition treats, or refuses."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    groups = tuple(word for word in words if _chooses_an_option(word))
    if any(word.partition("=")[2].startswith(("{", "[")) for word in groups):
        return None  # the value of a group's key, not an option
    values = [word for word in words if word not in groups]
    config = deepcopy(_with_groups(verb, groups))
    for override in OverridesParser.create().parse_overrides(values):
        forced = override.is_force_add()
        if override.is_delete() or override.is_add() or override.is_sweep_override():
            return None
        try:
            OmegaConf.update(
                config, override.key_or_group, override.value(), merge=True, force_add=forced
            )
        except OmegaConfBaseException:
            return None
    return config


def _chooses_an_option(word: str) -> bool:
    """Whether an override is of a group of conf/, or of Hydra itself."""
    key = key_of(word)
    return "@" in key or key.startswith("hydra") or (CONF / key).is_dir()


def plain_values(composed: Any) -> Any:
    """What Hydra composed, as plain values for a schema."""
    from omegaconf import OmegaConf

    return with_changes(OmegaConf.to_container(composed, resolve=True))


def check(schema: type[C], values: Any) -> C:
    """`values` validated by `schema`; BadInput with one line about the missing keys, or the first
    error."""
    if missing := [key for key, value in flattened(values).items() if value == "???"]:
        try:
            schema.model_validate(values)
        except ValidationError as error:  # a misspelt key is not missing
            if any(one["type"] == "extra_forbidden" for one in error.errors()):
                raise BadInput(first_problem(schema, error)) from None
        example = " ".join(f"{key}=…" for key in missing)
        raise BadInput(f"{' and '.join(missing)} must be given: {example}")
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise BadInput(first_problem(schema, error)) from None


def named(group: str, name: str, schema: type[C], *, called: str | None = None) -> C:
    """`conf/<group>/<name>.yaml`, checked; `called` replaces `group` in the message of an unknown
    name."""
    import yaml

    file = CONF / group / f"{name}.yaml"
    if not file.is_file():
        raise _unknown_option(called or group, name, options(group))
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadInput(f"{file} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise BadInput(f"{file} holds no keys")
    return check(schema, values)


def options(group: str) -> list[str]:
    """The names of a group's files."""
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


def top_keys(verb: str) -> list[str]:
    """The keys and groups of a verb's primary configuration."""
    import yaml

    config = yaml.safe_load((CONF / f"{verb}.yaml").read_text(encoding="utf-8"))
    groups = [next(iter(d)) for d in config.pop("defaults", []) if isinstance(d, dict)]
    return sorted({*config, *(g for g in groups if not g.startswith("override"))} - {"hydra"})


def check_renamed(verb: str, overrides: Sequence[str]) -> None:
    """Raise BadInput for the key of an earlier release, with its present name."""
    for override in overrides:
        key = key_of(override)
        if new := renames.new_key(verb, key):
            raise BadInput(f"{key}= is now {new}=")


def check_served(verb: str, overrides: Sequence[str]) -> None:
    """Raise BadInput for a model beside a served one, which would be evaluated in its place."""
    if verb == "eval" and "engine=openai" in overrides:
        for override in overrides:
            if key_of(override) == "model":
                raise BadInput(
                    f"{override} means nothing with engine=openai; the model of the server is "
                    "engine.model=NAME"
                )


def check_groups(overrides: Sequence[str]) -> None:
    """Raise BadInput for an option of a group that YAML reads as a number, a bool or null."""
    import yaml

    for override in overrides:
        group, value = key_of(override), override.partition("=")[2]
        if not group or not (CONF / group).is_dir() or not re.fullmatch(r"[\w.+-]+", value):
            continue
        if not isinstance(yaml.safe_load(value), str):
            raise _unknown_option(group, value, options(group))


def hydra_problem(verb: str, schema: type[BaseModel], error: Exception) -> BadInput | None:
    """An error of Hydra or OmegaConf as one line; None for any other error."""
    import yaml
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(error, (yaml.YAMLError, UnicodeDecodeError)):
        return BadInput(f"a configuration file cannot be read: {' '.join(str(error).split())}")
    if not isinstance(error, (HydraException, OmegaConfBaseException)):
        return None
    text = str(error)
    if match := re.search(r"Could not find '([\w-]+)/([^']*)'", text):
        return _unknown_option(match[1], match[2], options(match[1]))
    if match := re.search(r"Could not override '([^']+)'", text):
        key, known = match[1], top_keys(verb)
        # A mapping as the value: the cause names the key within it.
        inner = re.search(r"full_key: (\S+)", str(error.__cause__))
        if inner and inner[1].startswith(f"{key}."):
            key = inner[1]
        if new := renames.new_key(verb, key):
            return BadInput(f"{key} is now {new}")
        return BadInput(unknown_key(schema, key, known))
    if match := re.search(r"Ambiguous value for argument '\+*([^']*)'", text):
        point = re.fullmatch(r"[\w.]+=(\d+),(\d+)", match[1])
        decimal = f"; a decimal has a point: {point[1]}.{point[2]}" if point else ""
        return BadInput(f"{match[1]}: several values are a sweep, which needs -m{decimal}")
    if match := re.search(r"Error merging override \++([\w.]+)=(.*)", text):
        return BadInput(
            f"{match[1]}={match[2]}: should have the form of its default: a value, a list "
            "[a,b] or a mapping {key: value}"
        )
    if override := getattr(error, "override", None):  # against the grammar
        key, _, value = override.partition("=")
        escaped = value.replace("'", "\\'")
        return BadInput(
            f"{override} cannot be read; brackets in pairs, and other values in quotes: "
            f"\"{key}='{escaped}'\""
        )
    return BadInput(" ".join(text.split("\n")[0].split()))


def _unknown_option(group: str, name: str, known: Sequence[str]) -> BadInput:
    if group in BY_PATH and re.search(r"\.(?:[a-z]{3,}|gz)$", name, re.IGNORECASE):
        return BadInput(f"{group}={name}: there is no such file{near(Path(name))}")
    return BadInput(f"unknown {group} '{name}'; known: {', '.join(known)}{suggestion(name, known)}")
