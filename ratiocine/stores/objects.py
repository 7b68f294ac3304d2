"""Mappings that JSON and YAML files of a run hold."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from ratiocine.errors import BadInput
from ratiocine.records import JsonObject

# The YAML parser in C is eight times faster: a report reads hundreds of configurations.
YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
PLAN = "study.yaml"  # of the folder of a study


def read_object(file: Path) -> JsonObject:
    """The mapping that a JSON or YAML file of a run holds. Raises BadInput where it holds none."""
    try:
        text = file.read_text(encoding="utf-8")
        found = json.loads(text) if file.suffix == ".json" else yaml.load(text, Loader=YAML_LOADER)
    except (OSError, ValueError, yaml.YAMLError):
        found = None
    if not isinstance(found, dict):
        raise BadInput(f"{file.parent} is corrupt: {file.name} cannot be read")
    return found
