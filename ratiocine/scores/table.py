"""`scores.json` and its records."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ratiocine.errors import BadInput
from ratiocine.records import JsonObject

FILE = "scores.json"
OPTIONAL = (
    "samples",
    "pass_at",
    "majority",
    "macro",
    "unanswered",
    "looping",
)  # left out of the file where they are None


@dataclass(frozen=True)
class AccuracyEstimate:
    """An accuracy with its 95 % interval."""

    accuracy: float
    ci95: tuple[float, float]


@dataclass(frozen=True)
class Efficiency:
    """Means of outcome and process efficiency (arXiv 2412.21187): the share of a response up to its
    first right answer, and the share of it in distinct solutions (`grading.overthinking`)."""

    outcome: float
    process: float


@dataclass(frozen=True)
class Tokens:
    """Mean tokens of right and of wrong completions; None where there are none."""

    right: float | None
    wrong: float | None


@dataclass(frozen=True)
class ThinkingTokens(Tokens):
    by_level: Mapping[str, Tokens]
    """By difficulty, where it is known: wrong answers are often to harder problems."""


@dataclass(frozen=True)
class Summary:
    """Accuracy over some completions, and how the model got there. Token counts and FLOPs are means
    over answered requests."""

    n: int
    """Number of problems with a gradable completion."""
    right: int
    """Number of right completions."""
    accuracy: float | None
    """Mean over problems of the share of right completions (avg@k), ungradable ones excluded."""
    ci95: tuple[float, float]
    """95 % interval of the accuracy (`stats.interval`)."""
    ungradable: float
    """Share of completions."""
    bounds: tuple[float, float] | None
    """Accuracy with ungradable completions counted as wrong, and as right."""
    samples: int | None
    """Fewest completions of a problem; None, as the two below, for single completions."""
    pass_at: Mapping[str, float] | None
    """pass@k, by k: powers of two up to `samples`."""
    majority: AccuracyEstimate | None
    """Of the majority vote; a completion without an answer has no vote."""
    truncated: float
    """Share of completions that reached `max_new_tokens`."""
    thought: float
    """Share of completions with a think block that is not empty."""
    mode_flip: float | None
    """Share that thought although they should not, or the reverse; None where either is fine."""
    efficiency: Efficiency | None
    """Over completions that thought."""
    not_extracted: float
    """Share of completions in which no answer was found."""
    thinking_tokens: ThinkingTokens
    answer_tokens: Tokens
    completion_tokens: float | None
    prompt_tokens: float | None
    measures: Mapping[str, float]
    """Means of further measures of the grader, such as `f1`."""
    reasons: Mapping[str, int]
    """Completions by the grader's reason, most frequent first."""
    flops: float | None
    """Mean inference FLOPs of a completion (formula of arXiv 2509.22193, `ratiocine.cost`)."""
    exact_flops: float | None
    macro: AccuracyEstimate | None = None
    """Macro-average, in which each benchmark has the same weight."""
    unanswered: int | None = None
    """Completions that the engine refused or a server failed on; None without any."""
    looping: float | None = None
    """Share of completions that were truncated while they repeated themselves; None in files of
    earlier releases."""

    def to_json(self) -> dict[str, object]:
        return {k: v for k, v in asdict(self).items() if v is not None or k not in OPTIONAL}

    @staticmethod
    def from_json(value: JsonObject) -> Summary:
        """From `scores.json`; the one place that reads its keys."""
        tokens, efficiency = value["thinking_tokens"], value["efficiency"]
        levels = {level: Tokens(**own) for level, own in tokens["by_level"].items()}
        records = {
            "ci95": tuple(value["ci95"]),
            "bounds": tuple(value["bounds"]) if value["bounds"] else None,
            "samples": value.get("samples"),
            "pass_at": value.get("pass_at"),
            "majority": _accuracy(value.get("majority")),
            "macro": _accuracy(value.get("macro")),
            "efficiency": Efficiency(**efficiency) if efficiency else None,
            "thinking_tokens": ThinkingTokens(tokens["right"], tokens["wrong"], levels),
            "answer_tokens": Tokens(**value["answer_tokens"]),
        }
        names = {one.name for one in fields(Summary)}
        return Summary(**{**{k: v for k, v in value.items() if k in names}, **records})


def _accuracy(value: JsonObject | None) -> AccuracyEstimate | None:
    return None if value is None else AccuracyEstimate(value["accuracy"], tuple(value["ci95"]))


@dataclass(frozen=True)
class ScoreTable:
    """`scores.json`: summaries by benchmark, by category, and over all completions."""

    benchmarks: Mapping[str, Summary]
    categories: Mapping[str, Summary]
    """With the macro-average over the benchmarks of each."""
    all: Summary
    """With the macro-average over all benchmarks."""

    def to_json(self) -> dict[str, object]:
        return {
            "schema_version": 1,
            "benchmarks": {name: one.to_json() for name, one in self.benchmarks.items()},
            "categories": {name: one.to_json() for name, one in self.categories.items()},
            "all": self.all.to_json(),
        }

    @property
    def named(self) -> dict[str, Summary]:
        """All summaries by name; a category takes precedence over a benchmark of its name."""
        return {**self.benchmarks, **self.categories, "all": self.all}


def read_scores(folder: Path) -> ScoreTable:
    """The score table of a finished evaluation."""
    value = json.loads((folder / FILE).read_text(encoding="utf-8"))
    return ScoreTable(
        {name: Summary.from_json(one) for name, one in value["benchmarks"].items()},
        {name: Summary.from_json(one) for name, one in value["categories"].items()},
        Summary.from_json(value["all"]),
    )


def check_names(where: object, benchmark: str, category: str) -> None:
    """Raise BadInput where a benchmark or category is called `all`, the name of the total."""
    if "all" in (benchmark, category):
        raise BadInput(f"{where} has a benchmark or category named all, the name of the total")
