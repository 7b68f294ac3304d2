"""Engine + grade + statistics over Problems: completions of a student as scored rows, and rows as scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ratiocine import cost, stats
from ratiocine.engines import Engine, Request
from ratiocine.errors import BadInput
from ratiocine.grading import canonical, grade, overthinking
from ratiocine.prompts import CLOSE, OPEN, Parts, split, user_text
from ratiocine.records import Completion, Problem

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Row = dict[str, Any]


def answered(
    engine: Engine,
    requests: Sequence[Request],
    problems: Mapping[str, Problem],
    tokenizer: PreTrainedTokenizerBase | None,
    *,
    expected: bool | None = None,
) -> Iterator[list[Row]]:
    """Scored rows of all requests, some at a time; a request's id is the key of its problem. `expected` says whether the model
    should think, where that is known."""
    for traces in engine.generate(requests):
        yield [
            {**score(problems[trace.id], trace, tokenizer), "expected": expected}
            for trace in traces
        ]


def key(problem: Problem) -> str:
    return f"{problem.source}/{problem.id}"


def score(problem: Problem, trace: Completion, tokenizer: PreTrainedTokenizerBase | None) -> Row:
    """One completion judged: what is stored in `completions.jsonl`."""
    parts, n_completion = split(trace.text, opened=trace.opened), trace.n_completion
    n_think = thinking_tokens(trace, parts, tokenizer)
    return {
        "key": trace.id,
        "sample": trace.sample,
        "id": problem.id,
        "benchmark": problem.source,
        "category": problem.category,
        "level": None if (level := problem.meta.get("level")) is None else str(level),
        "prompt": user_text(problem),
        "reference": problem.reference,
        "completion": trace.text,
        **verdict_of(problem, trace.text, trace.stop == "stop", opened=trace.opened),
        "stop": trace.stop,
        "opened": trace.opened,
        "thought": bool(parts.think),
        "n_prompt": trace.n_prompt,
        "n_completion": n_completion,
        "n_think": n_think,
        "n_answer": n_completion - n_think,
        "seconds": trace.seconds,
        "token_ids": None if trace.token_ids is None else list(trace.token_ids),
        "logprobs": None if trace.logprobs is None else list(trace.logprobs),
    }


def thinking_tokens(
    trace: Completion, parts: Parts, tokenizer: PreTrainedTokenizerBase | None
) -> int:
    """The tokens of a completion's trace, tags included; without a tokenizer its tokens by share of characters."""
    if not parts.closed:
        return trace.n_completion
    if parts.think is None:
        return 0
    head = trace.text[: trace.text.rindex(CLOSE) + len(CLOSE)]
    if tokenizer is None:
        return round(trace.n_completion * len(head) / len(trace.text))
    return min(trace.n_completion, len(tokenizer(head, add_special_tokens=False)["input_ids"]))


def verdict_of(problem: Problem, completion: str, finished: bool, *, opened: bool = False) -> Row:
    """The part of a row that the grader decides."""
    found = grade(problem, split(completion, finished=finished, opened=opened))
    return {
        "verdict": found.verdict,
        "extracted": found.extracted,
        "reason": found.reason,
        "detail": dict(found.detail),
        "efficiency": efficiency(problem, completion) if CLOSE in completion else None,
    }


def efficiency(problem: Problem, completion: str) -> list[float] | None:
    """Outcome and process efficiency of a completion that thought (`overthinking`); None for problems whose answer a trace
    does not state."""
    if problem.kind not in ("number", "expression", "choice"):
        return None

    def judge(piece: str) -> bool | None:
        found = grade(problem, split(piece), limit=1.0)
        return None if found.extracted is None else found.verdict == "right"

    text = completion.replace(OPEN, "").replace(CLOSE, "")
    if not text.strip():
        return None
    found = overthinking.solutions(text, user_text(problem), judge)
    return [overthinking.outcome_efficiency(found), overthinking.process_efficiency(found)]


def scores(rows: Iterable[Row], shape: cost.Shape | None = None) -> dict[str, Any]:
    """`scores.json`: the summary of every benchmark and category, and of all rows; for the latter two also the macro-average,
    in which each benchmark counts alike."""
    rows = list(rows)

    def by(field: str) -> dict[str, list[Row]]:
        return {
            name: [row for row in rows if row[field] == name]
            for name in sorted({row[field] for row in rows})
        }

    def macro(rows: Sequence[Row]) -> dict[str, Any]:
        groups = [
            [*shares([row for row in rows if row["benchmark"] == name]).values()]
            for name in by("benchmark")
        ]
        mean, low, high = stats.macro_average([group for group in groups if group])
        return {**summary(rows, shape), "macro": {"accuracy": mean, "ci95": [low, high]}}

    return {
        "schema_version": 1,
        "benchmarks": {name: summary(own, shape) for name, own in by("benchmark").items()},
        "categories": {name: macro(own) for name, own in by("category").items()},
        "all": macro(rows),
    }


def check_names(where: object, benchmark: str, category: str) -> None:
    """Raises BadInput where a benchmark or a category has the name that all problems together have."""
    if "all" in (benchmark, category):
        raise BadInput(
            f"{where} has a benchmark or category named all, which is what all problems together are called"
        )


def shares(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The share of right completions of each problem, those aside that could not be graded."""
    verdicts: dict[str, list[bool]] = {}
    for row in rows:
        if row["verdict"] != "ungradable":
            verdicts.setdefault(row["key"], []).append(row["verdict"] == "right")
    return {name: fmean(rights) for name, rights in verdicts.items()}


def summary(rows: Sequence[Row], shape: cost.Shape | None = None) -> dict[str, Any]:
    """Accuracy and how the model got there.

    Accuracy is the mean over problems of the share of right completions, ungradable ones aside (avg@k where k were sampled),
    with its 95 % interval (`stats.interval`); `n` counts problems. `bounds` counts the ungradable rows as wrong and as right;
    token counts are means; `thought`, `truncated` and `not_extracted` (no answer found) are shares of all rows, `mode_flip` the
    share that thought although they should not or the reverse, None where nothing was expected; `efficiency` holds the means
    of `overthinking` over completions that thought; `flops` and `exact_flops` the mean inference cost of a completion.
    """
    graded = [row for row in rows if row["verdict"] != "ungradable"]
    right = [row for row in graded if row["verdict"] == "right"]
    wrong = [row for row in graded if row["verdict"] == "wrong"]
    expected = [row for row in rows if row.get("expected") is not None]
    efficient = [row["efficiency"] for row in rows if row.get("efficiency") is not None]
    lost, values = len(rows) - len(graded), [*shares(rows).values()]
    return {
        "n": len(values),
        "right": len(right),
        "accuracy": fmean(values) if values else None,
        "ci95": list(stats.interval(values)),
        "ungradable": lost / len(rows) if rows else 0.0,
        "bounds": [len(right) / len(rows), (len(right) + lost) / len(rows)] if rows else None,
        **_sampled(graded),
        "truncated": _share(rows, lambda row: row["stop"] == "length"),
        "thought": _share(rows, lambda row: row["thought"]),
        "mode_flip": _share(expected, lambda row: row["thought"] != row["expected"])
        if expected
        else None,
        "efficiency": {
            "outcome": fmean(e[0] for e in efficient),
            "process": fmean(e[1] for e in efficient),
        }
        if efficient
        else None,
        "not_extracted": _share(rows, lambda row: row["extracted"] is None),
        "thinking_tokens": {
            "right": _mean(right, "n_think"),
            "wrong": _mean(wrong, "n_think"),
            "by_level": _by_level(graded),
        },
        "answer_tokens": {"right": _mean(right, "n_answer"), "wrong": _mean(wrong, "n_answer")},
        "completion_tokens": _mean(rows, "n_completion"),
        "prompt_tokens": _mean(rows, "n_prompt"),
        "measures": _measures(graded),
        "reasons": dict(Counter(row["reason"] for row in rows).most_common()),
        "flops": fmean(cost.generation(shape, r["n_prompt"], r["n_completion"]) for r in rows)
        if shape and rows
        else None,
        "exact_flops": fmean(
            cost.exact_generation(shape, r["n_prompt"], r["n_completion"]) for r in rows
        )
        if shape and rows
        else None,
    }


def _sampled(rows: Sequence[Row]) -> dict[str, Any]:
    """pass@k for the powers of two up to the fewest samples of a problem, and the majority vote over all; empty for single
    completions. A completion in which no answer was found has no vote."""
    by_key: dict[str, list[Row]] = {}
    for row in rows:
        by_key.setdefault(row["key"], []).append(row)
    most = min(map(len, by_key.values()), default=0)
    if most < 2:
        return {}
    ks = [k for k in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024) if k <= most]
    tally = [(len(own), sum(row["verdict"] == "right" for row in own)) for own in by_key.values()]
    votes = [
        [
            (canonical(row["extracted"]), row["verdict"] == "right")
            for row in own
            if row["extracted"] is not None
        ]
        for own in by_key.values()
    ]
    majorities = [stats.majority(cast) for cast in votes]
    return {
        "samples": most,
        "pass_at": {str(k): fmean(stats.pass_at_k(n, c, k) for n, c in tally) for k in ks},
        "majority": {"accuracy": fmean(majorities), "ci95": list(stats.interval(majorities))},
    }


def _by_level(rows: Sequence[Row]) -> dict[str, dict[str, float | None]]:
    """Mean thinking tokens, right and wrong, by difficulty where that is known: wrong answers are often to harder problems."""
    found = {}
    for level in sorted({row["level"] for row in rows if row.get("level") is not None}):
        own = [row for row in rows if row.get("level") == level]
        found[level] = {
            verdict: _mean([row for row in own if row["verdict"] == verdict], "n_think")
            for verdict in ("right", "wrong")
        }
    return found


def _measures(rows: Sequence[Row]) -> dict[str, float]:
    """Means of what else the grader measured, such as `f1`."""
    names = sorted({name for row in rows for name in row["detail"]})
    return {name: round(fmean(row["detail"].get(name, 0.0) for row in rows), 4) for name in names}


def _mean(rows: Sequence[Mapping[str, Any]], field: str) -> float | None:
    return round(fmean(row[field] for row in rows), 2) if rows else None


def _share(rows: Sequence[Row], holds: Callable[[Row], bool]) -> float:
    return sum(map(holds, rows)) / len(rows) if rows else 0.0
