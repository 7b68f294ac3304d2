"""Engine + grade + statistics over Problems: completions of a student as scored rows, and rows as scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any, Protocol

from ratiocine import cost
from ratiocine.grading import grade
from ratiocine.problems import Problem
from ratiocine.prompts import CLOSE, prompt_ids, split, user_text
from ratiocine.stats import wilson
from ratiocine.traces import Trace

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ratiocine.engines.transformers import Request

Row = dict[str, Any]


class Engine(Protocol):
    """Whatever can continue prompts, a batch of traces at a time."""

    def continue_(self, requests: Sequence[Request]) -> Iterator[list[Trace]]: ...


def answered(
    engine: Engine, tokenizer: PreTrainedTokenizerBase, problems: Sequence[Problem], budgets: Mapping[str, int]
) -> Iterator[list[Row]]:
    """Scored rows of all problems, some at a time; a completion may take the tokens that `budgets` names for its problem's
    key, think block included."""
    from ratiocine.engines.transformers import Request

    by_id = {key(p): p for p in problems}
    requests = [Request(k, tuple(prompt_ids(tokenizer, user_text(p))), budgets[k]) for k, p in by_id.items()]
    for traces in engine.continue_(requests):
        yield [score(by_id[trace.id], trace, tokenizer) for trace in traces]


def key(problem: Problem) -> str:
    return f"{problem.source}/{problem.id}"


def score(problem: Problem, trace: Trace, tokenizer: PreTrainedTokenizerBase) -> Row:
    """One completion judged: what is stored in `traces.jsonl`. Thinking tokens include the tags."""
    parts = split(trace.text)
    n_completion = len(trace.token_ids)
    if not parts.closed:
        n_think = n_completion
    elif parts.think is None:
        n_think = 0
    else:
        head = trace.text[: trace.text.rindex(CLOSE) + len(CLOSE)]
        n_think = min(n_completion, len(tokenizer(head, add_special_tokens=False)["input_ids"]))
    return {
        "key": trace.id, "id": problem.id, "benchmark": problem.source, "category": problem.category,
        "prompt": user_text(problem), "reference": problem.reference, "completion": trace.text,
        **verdict_of(problem, trace.text, trace.stop == "stop"),
        "stop": trace.stop,
        "thought": parts.think is not None, "n_prompt": trace.n_prompt, "n_completion": n_completion,
        "n_think": n_think, "n_answer": n_completion - n_think, "seconds": trace.seconds,
    }  # fmt: skip


def verdict_of(problem: Problem, completion: str, finished: bool) -> Row:
    """The part of a row that the grader decides."""
    found = grade(problem, split(completion, finished=finished))
    return {"verdict": found.verdict, "extracted": found.extracted, "reason": found.reason, "detail": dict(found.detail)}


def scores(rows: Iterable[Row], shape: cost.Shape | None = None) -> dict[str, Any]:
    """`scores.json`: the summary of every benchmark and category, and of all rows."""
    rows = list(rows)

    def by(field: str) -> dict[str, Any]:
        names = sorted({row[field] for row in rows})
        return {name: summary([row for row in rows if row[field] == name], shape) for name in names}

    return {
        "schema_version": 1, "benchmarks": by("benchmark"), "categories": by("category"), "all": summary(rows, shape),
    }  # fmt: skip


def summary(rows: Sequence[Row], shape: cost.Shape | None = None) -> dict[str, Any]:
    """Accuracy = right / (all − ungradable) with its 95 % interval (Wilson), and how the model got there.

    `bounds` counts the ungradable rows as wrong and as right; token counts are means; `thought` and `truncated` are
    shares of all rows; `flops` the mean inference cost of a problem.
    """
    graded = [row for row in rows if row["verdict"] != "ungradable"]
    right = [row for row in graded if row["verdict"] == "right"]
    wrong = [row for row in graded if row["verdict"] == "wrong"]
    lost = len(rows) - len(graded)
    return {
        "n": len(graded), "right": len(right), "accuracy": len(right) / len(graded) if graded else None,
        "ci95": list(wilson(len(right), len(graded))), "ungradable": lost / len(rows) if rows else 0.0,
        "bounds": [len(right) / len(rows), (len(right) + lost) / len(rows)] if rows else None,
        "truncated": _share(rows, lambda row: row["stop"] == "length"), "thought": _share(rows, lambda row: row["thought"]),
        "thinking_tokens": {"right": _mean(right, "n_think"), "wrong": _mean(wrong, "n_think")},
        "answer_tokens": {"right": _mean(right, "n_answer"), "wrong": _mean(wrong, "n_answer")},
        "completion_tokens": _mean(rows, "n_completion"), "prompt_tokens": _mean(rows, "n_prompt"),
        "measures": _measures(graded), "reasons": dict(Counter(row["reason"] for row in rows).most_common()),
        "flops": fmean(cost.generation(shape, r["n_prompt"], r["n_completion"]) for r in rows) if shape and rows else None,
    }  # fmt: skip


def _measures(rows: Sequence[Row]) -> dict[str, float]:
    """Means of what else the grader measured, such as `f1`."""
    names = sorted({name for row in rows for name in row["detail"]})
    return {name: round(fmean(row["detail"].get(name, 0.0) for row in rows), 4) for name in names}


def _mean(rows: Sequence[Mapping[str, Any]], field: str) -> float | None:
    return round(fmean(row[field] for row in rows), 2) if rows else None


def _share(rows: Sequence[Row], holds: Callable[[Row], bool]) -> float:
    return sum(map(holds, rows)) / len(rows) if rows else 0.0
