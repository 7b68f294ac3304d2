"""The facts of a set of pairs, as its manifest and its data card state them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ratiocine.records import MODES, Mode


@dataclass
class Tally:
    """What became of all answers of one mode."""

    answers: int = 0
    unanswered: int = 0
    """Requests that were refused or failed; among `answers`, but in no mean of tokens."""
    tokens: int = 0
    closed: int = 0
    """Answers with a closed, non-empty trace."""
    identical: int = 0
    """Problems whose answers, at least two, are word for word the same."""
    outcomes: Counter[str] = field(default_factory=Counter)
    """Answers by fault, or by verdict where there is none."""

    @property
    def mean_tokens(self) -> float:
        return round(self.tokens / max(1, self.answers - self.unanswered), 1)

    def to_json(self) -> dict[str, Any]:
        return {
            "answers": self.answers,
            "mean_tokens": self.mean_tokens,
            "closed_trace": round(self.closed / max(1, self.answers), 4),
            "problems_with_equal_answers": self.identical,
            "outcomes": dict(self.outcomes.most_common()),
        }


@dataclass(frozen=True)
class AnswerFacts:
    """How the answers of a teacher were obtained and what became of them; for models and
    `published` answers."""

    verify: str
    """The sides that must be right."""
    tallies: Mapping[Mode, Tally]
    confounds: list[str] = field(default_factory=list)
    """What differs between the modes besides thinking."""
    engines: Mapping[str, Mapping[str, Any]] | None = None
    """Facts of each engine, by teacher; None for published answers."""
    spent: Mapping[str, int | float] | None = None
    """Tokens and money; None for published answers."""

    def to_json(self) -> dict[str, Any]:
        values: dict[str, Any] = {"verify": self.verify, "confounds": self.confounds}
        if self.engines is not None:
            values |= {"asked": self.engines, "spent": self.spent}
        values["answers"] = {mode: self.tallies[mode].to_json() for mode in MODES}
        return values


@dataclass(frozen=True)
class Facts:
    """The facts of a finished set of pairs."""

    teacher: str
    data: str
    n: int
    """Pairs."""
    n_by_source: Mapping[str, int]
    dropped: Mapping[str, int]
    """Rejected problems by reason, in the order of the steps."""
    without_reference: int
    """Pairs whose problem has no reference."""
    n_test: int | None
    """Problems of the test split; None if the source has none."""
    shared: int | None
    """Pairs whose problem is in the test split too."""
    decontaminated: list[str]
    """Benchmarks that share no n-gram with the prompts."""
    revisions: Mapping[str, str]
    """Revision of each hub data set."""
    tokenizer: str
    """Hash of the tokenizer that counts the tokens."""
    other_tokenizers: Mapping[str, str]
    """Hashes of the further tokenizers, by model."""
    mean_tokens: Mapping[str, float]
    """By side of a pair."""
    by_level: Mapping[str, list[int]]
    """Pairs, and problems, by difficulty."""
    patterns: Mapping[str, list[int]]
    """Pairs with a pattern in their trace, and its matches, by family."""
    license: str | None
    teacher_license: str | None
    """Of the model of a local engine."""
    answers: AnswerFacts | None
    """None for teachers that write one solution."""

    def to_json(self) -> dict[str, Any]:
        return {
            "sides": list(MODES),
            "teacher": self.teacher,
            "data": self.data,
            "n": self.n,
            "n_by_source": dict(self.n_by_source),
            "dropped": dict(self.dropped),
            "without_reference": self.without_reference,
            "disjoint": {"train": self.n, "test": self.n_test, "shared": self.shared},
            "decontaminated": self.decontaminated,
            "revisions": dict(self.revisions),
            "tokenizer": self.tokenizer,
            "other_tokenizers": dict(self.other_tokenizers),
            "mean_tokens": dict(self.mean_tokens),
            "by_level": dict(self.by_level),
            "patterns": dict(self.patterns),
            "license": self.license,
            "teacher_license": self.teacher_license,
            **(self.answers.to_json() if self.answers else {}),
        }
