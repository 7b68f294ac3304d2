"""Manifests as records: what every run says of itself, and what an evaluation says beside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ratiocine.cost import Shape
from ratiocine.runs.students import StudentInfo


@dataclass(frozen=True)
class Manifest:
    """`manifest.json` of a finished run; `facts` are the verb's own."""

    verb: str
    hash: str
    identity: Mapping[str, Any]
    """Hashed fields of the configuration."""
    inputs: Mapping[str, str]
    """Content hashes of what was read, by name."""
    outputs: Mapping[str, str]
    """Content hashes of what was written, by file."""
    seed: int | None
    versions: Mapping[str, str]
    """Of the packages that matter."""
    revision: str | None
    """Commit of the checkout."""
    schema_version: int
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Decoding:
    temperature: float
    top_p: float
    samples: int


@dataclass(frozen=True)
class EvalFacts:
    """What the manifest of an evaluation says beside what every run does."""

    model: str
    student: StudentInfo | None
    hypotheses: Mapping[str, str]
    """`gain` or `no_gain`, by family, as declared before training."""
    max_new_tokens: int
    num_fewshot: Mapping[str, int]
    decoding: Decoding
    engine: str
    grader: str | None
    """Version of the grader."""
    seconds: float
    dtype: str | None = None
    attention: str | None = None
    shape: Shape | None = None
    size: int | None = None
    """Number of weights."""
