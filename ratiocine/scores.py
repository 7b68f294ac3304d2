"""Scored completions → `scores.json`: accuracy, lengths and costs by benchmark and category."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean

from ratiocine import stats
from ratiocine.cost import Shape, exact_generation, generation
from ratiocine.errors import BadInput
from ratiocine.grading import canonical
from ratiocine.records import JsonObject, ScoredCompletion, is_truncated

FILE = "scores.json"
PASS_AT = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
OPTIONAL = (
    "samples",
    "pass_at",
    "majority",
    "macro",
    "unanswered",
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


def score_table(rows: Iterable[ScoredCompletion], shape: Shape | None = None) -> ScoreTable:
    """The score table of an evaluation; FLOPs are counted where the model's `shape` is given."""
    rows = list(rows)
    benchmarks = _grouped(rows, lambda row: row.benchmark)
    categories = _grouped(rows, lambda row: row.category)
    return ScoreTable(
        {name: summary(own, shape) for name, own in sorted(benchmarks.items())},
        {name: _with_macro(own, shape) for name, own in sorted(categories.items())},
        _with_macro(rows, shape),
    )


def _grouped(
    rows: Sequence[ScoredCompletion], field: Callable[[ScoredCompletion], str]
) -> dict[str, list[ScoredCompletion]]:
    found: dict[str, list[ScoredCompletion]] = {}
    for row in rows:
        found.setdefault(field(row), []).append(row)
    return found


def _with_macro(rows: Sequence[ScoredCompletion], shape: Shape | None) -> Summary:
    benchmarks = _grouped(rows, lambda row: row.benchmark)
    shares_by_benchmark = [list(shares(own).values()) for _, own in sorted(benchmarks.items())]
    mean, *ends = stats.macro_average([own for own in shares_by_benchmark if own])
    return summary(rows, shape, macro=AccuracyEstimate(mean, (ends[0], ends[1])))


def check_names(where: object, benchmark: str, category: str) -> None:
    """Raise BadInput where a benchmark or category is called `all`, the name of the total."""
    if "all" in (benchmark, category):
        raise BadInput(f"{where} has a benchmark or category named all, the name of the total")


def shares(rows: Iterable[ScoredCompletion]) -> dict[str, float]:
    """The share of right completions by problem, ungradable completions excluded."""
    verdicts: dict[str, list[bool]] = {}
    for row in rows:
        if row.verdict != "ungradable":
            verdicts.setdefault(row.key, []).append(row.right)
    return {name: fmean(rights) for name, rights in verdicts.items()}


def summary(
    rows: Sequence[ScoredCompletion],
    shape: Shape | None = None,
    *,
    macro: AccuracyEstimate | None = None,
) -> Summary:
    """The summary of these completions; FLOPs are counted where the model's `shape` is given."""
    graded = [row for row in rows if row.verdict != "ungradable"]
    right = [row for row in graded if row.right]
    wrong = [row for row in graded if not row.right]
    asked_for = [row for row in rows if row.expected is not None]
    lost, values = len(rows) - len(graded), [*shares(rows).values()]
    bounds = (len(right) / len(rows), (len(right) + lost) / len(rows)) if rows else None
    answered = [row for row in rows if row.answered]
    tokens = [(row.n_prompt, row.n_completion) for row in answered]
    low, high = stats.interval(values)
    samples, pass_at, majority = _sampled(graded)
    return Summary(
        n=len(values),
        right=len(right),
        accuracy=fmean(values) if values else None,
        ci95=(low, high),
        ungradable=lost / len(rows) if rows else 0.0,
        bounds=bounds,
        samples=samples,
        pass_at=pass_at,
        majority=majority,
        truncated=_share(rows, lambda row: is_truncated(row.stop)),
        thought=_share(rows, lambda row: row.thought),
        mode_flip=_share(asked_for, lambda row: row.mode_flip) if asked_for else None,
        efficiency=_efficiency(rows),
        not_extracted=_share(rows, lambda row: row.extracted is None),
        thinking_tokens=ThinkingTokens(_thinking(right), _thinking(wrong), _by_level(graded)),
        answer_tokens=Tokens(*(_mean(own, lambda row: row.n_answer) for own in (right, wrong))),
        completion_tokens=_mean(rows, lambda row: row.n_completion),
        prompt_tokens=_mean(rows, lambda row: row.n_prompt),
        measures=_measures(graded),
        reasons=dict(Counter(row.reason for row in rows).most_common()),
        flops=fmean(generation(shape, *n) for n in tokens) if shape and tokens else None,
        exact_flops=fmean(exact_generation(shape, *n) for n in tokens)
        if shape and tokens
        else None,
        macro=macro,
        unanswered=len(rows) - len(answered) or None,
    )


def _sampled(
    rows: Sequence[ScoredCompletion],
) -> tuple[int | None, dict[str, float] | None, AccuracyEstimate | None]:
    """`samples`, `pass_at` and `majority` of a summary."""
    by_key = list(_grouped(rows, lambda row: row.key).values())
    samples = min(map(len, by_key), default=0)
    if samples < 2:
        return None, None, None
    tally = [(len(own), sum(row.right for row in own)) for own in by_key]
    pass_at = {
        str(k): fmean(stats.pass_at_k(n, c, k) for n, c in tally) for k in PASS_AT if k <= samples
    }
    votes = [
        [(canonical(row.extracted), row.right) for row in own if row.extracted is not None]
        for own in by_key
    ]
    majorities = [stats.majority(cast) for cast in votes]
    low, high = stats.interval(majorities)
    return samples, pass_at, AccuracyEstimate(fmean(majorities), (low, high))


def _efficiency(rows: Sequence[ScoredCompletion]) -> Efficiency | None:
    found = [row.efficiency for row in rows if row.efficiency is not None]
    if not found:
        return None
    return Efficiency(*(fmean(values) for values in zip(*found, strict=True)))


def _thinking(rows: Sequence[ScoredCompletion]) -> float | None:
    return _mean(rows, lambda row: row.n_think)


def _by_level(rows: Sequence[ScoredCompletion]) -> dict[str, Tokens]:
    found = {}
    for level in sorted({row.level for row in rows if row.level is not None}):
        own = [row for row in rows if row.level == level]
        found[level] = Tokens(
            _thinking([row for row in own if row.right]),
            _thinking([row for row in own if not row.right]),
        )
    return found


def _measures(rows: Sequence[ScoredCompletion]) -> dict[str, float]:
    names = sorted({name for row in rows for name in row.detail})
    return {name: round(fmean(row.detail.get(name, 0.0) for row in rows), 4) for name in names}


def _mean(
    rows: Sequence[ScoredCompletion], value: Callable[[ScoredCompletion], int]
) -> float | None:
    """The mean over answered requests."""
    answered = [row for row in rows if row.answered]
    return round(fmean(map(value, answered)), 2) if answered else None


def _share(rows: Sequence[ScoredCompletion], holds: Callable[[ScoredCompletion], bool]) -> float:
    return sum(map(holds, rows)) / len(rows) if rows else 0.0
