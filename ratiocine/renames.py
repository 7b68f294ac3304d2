"""Configuration keys renamed since schema 1: for one-line errors, and for earlier folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ratiocine.records import JsonObject

# Old dotted key → new last part. An index in a list is no part of a key.
_EXECUTOR = {
    "on": "executor",
    "on.gpus": "gpus_per_node",
    "on.ranks": "nproc_per_node",
    "on.rendezvous": "rdzv_endpoint",
    "on.cpus": "cpus_per_task",
    "on.memory": "mem_gb",
    "on.hours": "time_limit_hours",
    "on.jobs": "max_parallel_jobs",
    "on.more": "sbatch_args",
}
_LOCAL_ENGINE = {
    "engine.batch": "max_batch_size",
    "engine.tokens": "max_cache_tokens",
    "engine.memory": "gpu_memory_utilization",
}
_ENGINE = {
    **_LOCAL_ENGINE,
    "engine.patience": "retry_seconds",
    "engine.url": "base_url",
    "engine.key_env": "api_key_env",
}
_DATA = {
    "data.root": "data_dir",
    "data.licence": "license",
    "data.budget": "max_new_tokens",
    "data.families.*.expect": "hypothesis",
}
_TRAINING = {
    "model.licence": "license",
    "keep": "save_total_limit",
    "deadline": "ddp_timeout",
    "allow_change": "resume_overrides",
    "held_out": "val_size",
}
RENAMED: Mapping[str, Mapping[str, str]] = {
    "distill": {
        **_EXECUTOR,
        **_DATA,
        **{f"teacher.{old}": new for old, new in _ENGINE.items()},
        "model.licence": "license",
        "switch": "thinking_prompt",
        "pick": "answer_selection",
        "budget": "max_new_tokens",
        "spend": "max_spend",
        "answers": "answer_cache",
        "select.lacks": "exclude_regex",
        "select.near": "dedup_threshold",
        "select.root": "data_dir",
        "select.pass_rates.least": "min_rate",
        "select.pass_rates.most": "max_rate",
        "select.s1.preferred.longer": "min_tokens",
    },
    "train": {
        **_EXECUTOR,
        **_TRAINING,
        "match": "equalize",
        "rendering": "direct_format",
        "student": "checkpoint",
        "samples": "val_samples",
        "sample_budget": "val_max_new_tokens",
        "doctor": "preflight",
    },
    "rl": {
        **_EXECUTOR,
        **_TRAINING,
        **_LOCAL_ENGINE,
        **_DATA,
        "group_size": "num_generations",
        "updates": "num_minibatches",
        "iterations": "num_iterations",
        "budget": "max_new_tokens",
        "prefill": "prefill_think",
        "held_out_every": "eval_steps",
        "constant_for": "constant_reward_steps",
        "sample_dtype": "rollout_dtype",
        "objective.std": "scale_rewards_by",
        "objective.kl": "beta",
        "objective.clip": "epsilon",
        "objective.reference_every": "ref_model_sync_steps",
        "objective.redraw": "dynamic_sampling_rounds",
        "objective.overlong": "mask_truncated_completions",
    },
    "eval": {
        **_EXECUTOR,
        **_ENGINE,
        "model.licence": "license",
        "data": "data_dir",
        "data.root": "data_dir",
        "shots": "num_fewshot",
        "budget": "max_new_tokens",
        "check": "validate_only",
    },
    "launch": {
        **_EXECUTOR,
        "keep": "retain",
        "study.keep": "retain",
        "study.beside": "base_study",
        "study.stages.each": "matrix",
        "study.stages.set": "overrides",
        "study.grid.budget": "max_new_tokens",
        "study.grid.match": "equalize",
        "study.grid.rewards": "rl",
        "study.grid.rewards.set": "overrides",
        "study.grid.untrained": "baseline",
        "study.grid.expect": "assumptions",
        "study.grid.expect.asked": "prompt_tokens",
        "study.grid.expect.answered": "completion_tokens",
        "study.grid.expect.rate": "flops_per_second",
    },
}


def new_key(verb: str, key: str) -> str | None:
    """The new name of an old dotted key of a verb; None where the key was never renamed."""
    table, parts = RENAMED.get(verb, {}), key.split(".")
    if verb == "eval" and key == "data.root":
        return "data_dir"
    if verb == "eval" and key.startswith("data."):
        return None  # a folder has no keys
    found = [_renamed(table, parts[: end + 1]) for end in range(len(parts))]
    # The assumptions were a part of the grid until they became those of every study.
    new = ".".join(found).replace("study.grid.assumptions", "study.assumptions")
    return None if new == key else new


def _renamed(table: Mapping[str, str], path: list[str]) -> str:
    starred = [*path[:-2], "*", path[-1]] if len(path) > 1 else path
    return table.get(".".join(path)) or table.get(".".join(starred)) or path[-1]


def renamed(verb: str, config: JsonObject) -> JsonObject:
    """A configuration of schema 1 under today's keys; changed values are converted."""
    found = _walk(config, RENAMED.get(verb, {}), [])
    if verb == "eval":
        found["data_dir"] = ((config.get("data") or {}) if "data" in config else {}).get("root")
    if "objective" in found and "clip" in config["objective"]:
        low, high = config["objective"]["clip"]
        objective = found["objective"]
        objective |= {"epsilon": low, "epsilon_high": high}
        objective["mask_truncated_completions"] = config["objective"]["overlong"] == "drop"
    for rule in (((found.get("select") or {}).get("s1")) or {}).get("preferred", ()):
        rule["min_tokens"] += 1  # "longer than" became "at least"
    return found


def renamed_study(plan: JsonObject) -> JsonObject:
    """The plan of a grid of schema 1 (`study.yaml`) under today's keys, overrides included."""
    found: JsonObject = _walk({"study": plan}, RENAMED["launch"], [])["study"]
    for stage in found.get("stages") or ():
        stage["overrides"] = renamed_words(stage["verb"], stage["overrides"])
    grid = found.get("grid") or {}
    for verb in ("distill", "train", "eval"):
        grid[verb] = renamed_words(verb, grid.get(verb) or [])
    if grid.get("baseline"):
        grid["baseline"] = renamed_words("eval", grid["baseline"])
    if grid.get("rl"):
        grid["rl"]["overrides"] = renamed_words("rl", grid["rl"]["overrides"])
    for name, words in (grid.get("pairs") or {}).items():
        grid["pairs"][name] = renamed_words("distill", words)
    return found


def renamed_words(verb: str, words: Sequence[str]) -> list[str]:
    """Overrides `key=value` under today's keys."""
    parts = (word.partition("=") for word in words)
    return [f"{new_key(verb, key) or key}{equals}{value}" for key, equals, value in parts]


def _walk(value: Any, table: Mapping[str, str], path: list[str]) -> Any:
    if isinstance(value, Mapping):
        return {
            _renamed(table, [*path, str(key)]): _walk(inner, table, [*path, str(key)])
            for key, inner in value.items()
        }
    return [_walk(inner, table, path) for inner in value] if isinstance(value, list) else value
