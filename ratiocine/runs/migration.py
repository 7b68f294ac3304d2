"""Finished folders of schema 1, read as they would be written today. A folder is never changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ratiocine import renames
from ratiocine.errors import BadInput
from ratiocine.grading import EARLIER

REMOVED = "GONE"  # what schema 1 calls the list of removed artefacts
# What did not name a run in schema 1, by today's keys: at the top level, and anywhere.
UNHASHED = {
    "constant_reward_steps",
    "ddp_timeout",
    "deepspeed",
    "device",
    "executor",
    "export",
    "fsdp",
    "group",
    "max_spend",
    "out",
    "preflight",
    "price",
    "project",
    "push_to_hub",
    "resume_overrides",
    "save_steps",
    "save_total_limit",
    "tables",
    "threads",
    "tracker",
    "validate_only",
}
NEVER_HASHED = {
    "answer_cache",
    "api_key_env",
    "base_url",
    "concurrency",
    "count",
    "data_dir",
    "gpu_memory_utilization",
    "license",
    "max_batch_size",
    "max_cache_tokens",
    "pairs",
    "path",
    "retry_seconds",
    "run",
    "timeout",
}
FACTS: Mapping[str, Mapping[str, str]] = {  # keys of a manifest, by verb
    "distill": {"licence": "license"},
    "train": {
        "rendering": "direct_format",
        "held_out_loss": "val_loss",
        "student_step": "checkpoint_step",
    },
    "rl": {"held_out": "val_accuracy"},
    "eval": {"budget": "max_new_tokens", "shown": "num_fewshot", "expected": "hypotheses"},
}


def schema_version(out: Path) -> int:
    """The schema version of a finished run."""
    return int(json.loads((out / "manifest.json").read_text(encoding="utf-8"))["schema_version"])


def migrated_manifest(out: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest of schema 1 under today's keys. Raises BadInput where the folder is a mixture of both schemas."""
    verb = manifest["verb"]
    config = yaml.safe_load((out / "config.yaml").read_text(encoding="utf-8"))
    _check_whole(out, manifest, config)
    facts = {FACTS[verb].get(key, key): value for key, value in manifest.items()}
    facts["identity"] = identity(renames.renamed(verb, config))
    facts["inputs"] = {
        f"max_new_tokens:{key.partition(':')[2]}" if key.startswith("budget:") else key: value
        for key, value in manifest["inputs"].items()
        if not (verb == "rl" and key == "engine")
    }
    if verb == "eval":
        facts["grader"] = EARLIER.get(manifest["grader"], manifest["grader"])
        facts["student"] = migrated_student(manifest["student"])
    return facts


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """The hashed part of a configuration that was read without its schema."""
    return {
        key: _hashed(value) for key, value in config.items() if key not in UNHASHED | NEVER_HASHED
    }


def _hashed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _hashed(inner) for key, inner in value.items() if key not in NEVER_HASHED}
    return [_hashed(inner) for inner in value] if isinstance(value, list) else value


def migrated_student(student: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What schema 1 says of the student that it evaluated, under today's keys."""
    if student is None:
        return None
    new = {"match": "equalize", "way": "arm", "told": "settings", "held_out": "val_accuracy"}
    found = {new.get(key, key): value for key, value in student.items()}
    if "parent" in found:
        found["parent"] = migrated_student(found["parent"])
    return found


def _check_whole(out: Path, manifest: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    mixed = (
        "identity" in manifest
        or "executor" in config
        or (out / "completions.jsonl").exists()
        and (manifest["verb"] == "eval")
    )
    if mixed:
        raise BadInput(
            f"{out} is half migrated: its manifest is of schema 1, other files are of schema 2; take the folder as it was "
            "written, or run it again"
        )
