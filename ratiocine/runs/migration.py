"""Schema 1: finished folders of earlier releases, read as they would be written today.

A folder is never changed. Hashes follow from its configuration under today's keys, so that the
same work has the same hash, whichever release did it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from ratiocine import renames
from ratiocine.errors import BadInput
from ratiocine.grading import EARLIER
from ratiocine.records import JsonObject
from ratiocine.runs.hashes import arm_hash, settings_hash
from ratiocine.stores import read_object

# Keys that named no run, by today's names: at the top level of a configuration, and anywhere.
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
STUDENT = {"match": "equalize", "way": "arm", "told": "settings", "held_out": "val_accuracy"}
NEW_FILES = {  # names of artefacts that schema 1 does not have, by verb
    "distill": ("rejected.jsonl", "pass_rates.jsonl"),
    "train": (),
    "rl": ("val_accuracy.jsonl",),
    "eval": ("completions.jsonl",),
}


def is_earlier(config: JsonObject) -> bool:
    """Whether a stored configuration has the keys of schema 1."""
    return "on" in config and "executor" not in config


def migrated_manifest(out: Path, manifest: JsonObject, config: JsonObject) -> JsonObject:
    """A manifest of schema 1 under today's keys; `config` is the folder's, as stored.

    Raises BadInput where the folder is a mixture of both schemas.
    """
    verb = manifest["verb"]
    mixed = "identity" in manifest or not is_earlier(config)
    if mixed or any((out / name).exists() for name in NEW_FILES[verb]):
        raise BadInput(
            f"{out} is half migrated: its manifest has schema version 1, other files have not; "
            "restore the folder as it was written, or run it again"
        )
    facts = {FACTS[verb].get(key, key): value for key, value in manifest.items()}
    facts["identity"] = identity(renames.renamed(verb, config))
    facts["inputs"] = dict(_inputs(manifest, config))
    if verb == "eval":
        facts["grader"] = _grader(manifest)
        path = config["model"]["path"]
        facts["student"] = _student(manifest["student"], path, out.parent)
    return facts


def _inputs(manifest: JsonObject, config: JsonObject) -> Iterator[tuple[str, str]]:
    verb = manifest["verb"]
    if verb == "train" and config["student"] == "best":  # of the checkpoints, hence by their steps
        yield "save_steps", str(config["save_steps"])
    for key, value in manifest["inputs"].items():
        kind, colon, name = key.partition(":")
        if kind == "budget":
            yield f"max_new_tokens{colon}{name}", value
        elif key == "traces":  # of a regraded evaluation, whose inputs now have the grader too
            yield "completions", value
            yield "grader", _grader(manifest)
        elif (verb, key) != ("rl", "engine"):  # which is now a hashed field
            yield key, value


def _grader(manifest: JsonObject) -> str:
    return EARLIER.get(manifest["grader"], str(manifest["grader"]))


def identity(config: JsonObject) -> JsonObject:
    """`config.identity` of a stored configuration under today's keys, not validated."""
    skipped = UNHASHED | NEVER_HASHED
    return {key: _hashed(value) for key, value in config.items() if key not in skipped}


def _hashed(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _hashed(inner) for key, inner in value.items() if key not in NEVER_HASHED}
    return [_hashed(inner) for inner in value] if isinstance(value, list) else value


def _student(student: JsonObject | None, path: str | None, near: Path) -> JsonObject | None:
    """The student of an evaluation under today's keys; `path` is that of its model.

    Its arm and settings are hashed anew, to be comparable with those of this release, where the
    run that trained it is found: at its path, or `near` the evaluation in a moved study.
    """
    if student is None:
        return None
    found = {STUDENT.get(key, key): value for key, value in student.items()}
    folder = _trained(student["hash"], path, near)
    parent = None
    if folder is not None:
        found["arm"], found["settings"] = _hashes(folder, near)
        parent = read_object(folder / "config.yaml")["model"]["path"]
    if "parent" in found:
        found["parent"] = _student(found["parent"], parent, near)
    return found


def _trained(name: str, path: str | None, near: Path) -> Path | None:
    """The folder of the run with this hash whose model is at `path`."""
    folders = _candidates(path, near)
    return next((folder for folder in folders if _manifest(folder).get("hash") == name), None)


def _candidates(path: str | None, near: Path) -> list[Path]:
    """Folders of finished runs that may hold this model."""
    folders = [] if path is None else [Path(path).parent, near / Path(path).parent.name]
    return [folder for folder in folders if (folder / "DONE").exists()]


def _hashes(folder: Path, near: Path) -> tuple[str, str]:
    """Arm and settings of a student, as `runs.lineage` has them."""
    manifest, config = _manifest(folder), read_object(folder / "config.yaml")
    verb, inputs = manifest["verb"], dict(_inputs(manifest, config))
    hashed = identity(renames.renamed(verb, config))
    if verb == "rl":
        parents = _candidates(config["model"]["path"], near)
        inputs = {"model": _hashes(parents[0], near)[0] if parents else inputs["model"]}
    return arm_hash(verb, hashed, inputs), settings_hash(verb, hashed)


def _manifest(folder: Path) -> JsonObject:
    try:
        found: JsonObject = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # reported where that folder itself is read
        return {}
    return found
