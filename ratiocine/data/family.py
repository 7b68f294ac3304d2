"""A family: a generator of problems, its difficulties, and the conversion of its items."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ratiocine.records import LETTERS, Kind

Item = Mapping[str, Any]  # of reasoning-gym: question, answer, metadata; of `draw`: question, draft
Settings = Mapping[str, int | float]
Fields = tuple[str, str, tuple[str, ...], dict[str, Any]]  # question, reference, choices, meta


@dataclass(frozen=True)
class Draft:
    """A drawn problem with its worked solution."""

    question: str
    answer: str
    """Of multiple choice the text of the right option."""
    steps: Sequence[str]
    """Lines of the trace, without the chosen option."""
    choices: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()
    """Further right answers."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    content: str | None = None
    """Decides the split; None for the question."""


Draw = Callable[[random.Random, Mapping[str, int]], Draft]


def _of_draft(item: Item, rng: random.Random) -> Fields:
    draft: Draft = item["draft"]
    meta = {**draft.meta, "steps": list(draft.steps)}
    if draft.choices:
        return draft.question, letter_of(draft.answer, draft.choices), draft.choices, meta
    return draft.question, draft.answer, (), meta


@dataclass(frozen=True)
class Family:
    """A generator and its difficulties."""

    category: str
    kind: Kind
    dataset: str
    """Name of the generator: its name in reasoning-gym, unless `draw` is given."""
    levels: tuple[Settings, ...]
    """Generator settings at difficulty 1, 2, …"""
    build: Callable[[Item, random.Random], Fields] = _of_draft
    """Converts an item to question, reference, choices and meta; may draw from the generator."""
    draw: Draw | None = None
    """Draws one problem; None for a generator of reasoning-gym."""
    guess: float = 0.0
    """Accuracy of a guess among the answers that the question allows, of multiple choice the
    inverse number of options instead."""
    balanced: bool = True
    """Whether no constant answer and no surface cue is more than 5 points above the guess."""


def shuffled(options: Sequence[str], rng: random.Random) -> tuple[str, ...]:
    return tuple(rng.sample(options, len(options)))


def letter_of(answer: str, choices: tuple[str, ...]) -> str:
    return LETTERS[choices.index(answer)]


def levels(key: str, *values: int, **fixed: int) -> tuple[Settings, ...]:
    """Settings of each difficulty, which differ in one of them, the depth."""
    return tuple({key: value, **fixed} for value in values)
