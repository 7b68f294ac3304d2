"""Content hashes of files and folders, and the hash that names a run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

SCHEMA_VERSION = 2
# Settings that are an axis of a study or a fact of their own (`runs.lineage`), or no part of how a
# student was taught. (`data` of `rl` is neither: the axis is the data of the pairs.)
ELSEWHERE = {
    *("model", "scenario", "ratio", "equalize", "lr_policy", "reward", "objective"),
    *("shuffle_rewards", "lora", "lr", "max_steps", "seed"),
}


def run_hash(verb: str, hashed: Mapping[str, object], inputs: Mapping[str, str]) -> str:
    """16 hex digits: equal for equal `hashed` and `inputs`, independent of machine and folder.

    `hashed` is the `config.identity` of a configuration, `inputs` the content hashes of what the
    run reads, by name.
    """
    named = {"verb": verb, "config": hashed, "inputs": inputs, "schema": SCHEMA_VERSION}
    return value_hash(named)[:16]


def arm_hash(verb: str, hashed: Mapping[str, object], inputs: Mapping[str, str]) -> str:
    """`run_hash` without the seed: equal for the seeds of one arm."""
    return run_hash(verb, {**hashed, "seed": None}, inputs)


def settings_hash(verb: str, hashed: Mapping[str, object]) -> str:
    """Hash of the settings in `hashed` that are not in `ELSEWHERE`."""
    return run_hash(verb, {key: v for key, v in hashed.items() if key not in ELSEWHERE}, {})


def value_hash(value: object) -> str:
    """sha256 of a value as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def hash_path(path: Path) -> str:
    """sha256 of a file, or of a folder's file names and contents."""
    if path.is_file():
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    files = sorted(f for f in path.rglob("*") if f.is_file())
    return value_hash([(str(f.relative_to(path)), hash_path(f)) for f in files])
