"""What is said about an unknown key: the key that was meant, else the keys of its level."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel

# What users of other tools type.
SYNONYMS = {
    "api_base": "base_url",
    "data.path": "benchmarks",  # of eval
    "dataset": "data",
    "learning_rate": "lr",
    "max_completion_tokens": "max_new_tokens",
    "max_seq_length": "max_length",
    "max_seq_len": "max_length",
    "max_tokens": "max_new_tokens",
    "model_name_or_path": "model",
    "num_epochs": "epochs",
    "num_samples": "samples",
    "num_train_epochs": "epochs",
    "output_dir": "out",
    "per_device_train_batch_size": "micro_batch_size",
    "tasks": "benchmarks",
    "tensor_parallel_size": "nproc_per_node",
    "use_lora": "lora",
    "use_peft": "lora",
    "val_set_size": "val_size",
    "warmup_ratio": "warmup",
}
DEPTH = 4  # of the keys that are suggested


def unknown_key(schema: type[BaseModel], key: str, known: Sequence[str], inner: str = "") -> str:
    """The message about a dotted key, or about the key `inner` below it; `known` are the keys at
    the level of its last part."""
    whole = f"{key}.{inner}" if inner else key
    if inner and not _hint(schema, whole, known) and _hint(schema, key, known):
        whole = key
    hint = _hint(schema, whole, known) or f"; known: {', '.join(known)}"
    return f"unknown key '{whole}'{hint}"


def suggestion(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def _hint(schema: type[BaseModel], key: str, known: Sequence[str]) -> str:
    parent, _, name = key.rpartition(".")
    usual = SYNONYMS.get(key) or SYNONYMS.get(name, name)
    paths = dict(_paths(schema))
    # Where the parent is unknown, `known` are the keys above it.
    above = f"{parent}." if re.sub(r"\.\d+", "", parent) in paths else ""
    if usual in known and usual != name:
        return f"; did you mean '{above}{usual}'?"
    if option := paths.get(key):  # of another engine, say
        return f", which is one of {parent}={option}; known: {', '.join(known)}"
    if not parent and (close := suggestion(name, known)):
        return close
    of_parent = [path for path in paths if path.endswith(f".{usual}") and path.startswith(parent)]
    tail = f".{parent}.{usual}" if parent else f".{usual}"
    nested = [path for path in paths if path.endswith(tail)] or of_parent
    if nested and nested != [key]:
        return f"; did you mean '{min(nested, key=lambda path: path.count('.'))}'?"
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"; did you mean '{above}{near[0]}'?"
    return f"; did you mean '{usual}'?" if parent and usual in schema.model_fields else ""


def _paths(schema: type[BaseModel], prefix: str = "", depth: int = 1) -> Iterator[tuple[str, str]]:
    """The dotted keys of a configuration, and which option has them where there are several."""
    for name, field in schema.model_fields.items():
        yield f"{prefix}{name}", ""
        if depth == DEPTH:
            continue
        members = [one for one in members_of(field.annotation) if is_model(one)]
        for one in members:
            for path, option in _paths(one, f"{prefix}{name}.", depth + 1):
                of = get_args(one.model_fields["name"].annotation) if len(members) > 1 else ()
                yield path, option or (str(of[0]) if of else "")


def is_model(one: Any) -> bool:
    return isinstance(one, type) and issubclass(one, BaseModel)


def members_of(annotation: Any) -> list[Any]:
    """The types in an annotation: members of unions and elements of containers."""
    return [m for part in get_args(annotation) for m in members_of(part)] or [annotation]
