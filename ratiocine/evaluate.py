"""Requests → completions of an engine → scored completions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ratiocine.completion_parts import CLOSE, OPEN, Parts, looping, split
from ratiocine.engines import Engine, Request
from ratiocine.grading import grade, overthinking
from ratiocine.prompts import user_text
from ratiocine.records import (
    UNANSWERED,
    Completion,
    Problem,
    ScoredCompletion,
    Verdict,
    is_truncated,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SOLVED = ("number", "expression", "choice")  # kinds of problems whose answer a trace states


def scored(
    engine: Engine,
    requests: Sequence[Request],
    problems: Mapping[str, Problem],
    tokenizer: PreTrainedTokenizerBase | None,
    *,
    expected: bool | None = None,
) -> Iterator[list[ScoredCompletion]]:
    """Scored completions of all requests, in the engine's batches; the id of a request is the key
    of its problem. `expected` states whether the model should think, where that is known."""
    prefixes = {(one.id, sample): one.prefix for one in requests for sample in one.samples}
    for completions in engine.generate(requests):
        yield [
            score(
                problems[one.id],
                one,
                tokenizer,
                expected=expected,
                prefix=prefixes[one.id, one.sample],
            )
            for one in completions
        ]


def key(problem: Problem) -> str:
    """The key of a problem among all sources."""
    return f"{problem.source}/{problem.id}"


def score(
    problem: Problem,
    completion: Completion,
    tokenizer: PreTrainedTokenizerBase | None,
    *,
    expected: bool | None = None,
    prefix: str = "",
) -> ScoredCompletion:
    """One completion, graded, with the tokens of trace and answer. The text after a `prefix` is
    graded with it; its tokens are those generated."""
    whole = prefix + completion.text
    parts = split(whole, opened=completion.opened)
    begun = completion.opened or OPEN in prefix
    generated = split(completion.text, opened=begun and CLOSE not in prefix)
    n_think = thinking_tokens(completion, generated, tokenizer)
    finished = completion.stop == "stop"
    unanswered = completion.stop in UNANSWERED
    answer = "" if unanswered else whole
    judgement = grade_completion(problem, answer, finished=finished, opened=completion.opened)
    level = problem.meta.get("level")
    return ScoredCompletion(
        key=completion.id,
        id=problem.id,
        benchmark=problem.source,
        category=problem.category,
        prompt=user_text(problem),
        reference=problem.reference,
        completion=completion.text if unanswered else whole,
        **vars(judgement),
        stop=completion.stop,
        thought=bool(parts.think),
        n_prompt=completion.n_prompt,
        n_completion=completion.n_completion,
        n_think=n_think,
        n_answer=completion.n_completion - n_think,
        seconds=completion.seconds,
        sample=completion.sample,
        level=None if level is None else str(level),
        opened=completion.opened,
        expected=expected,
        looping=is_truncated(completion.stop) and looping(completion.text),
        token_ids=completion.token_ids,
        logprobs=completion.logprobs,
    )


def thinking_tokens(
    completion: Completion, parts: Parts, tokenizer: PreTrainedTokenizerBase | None
) -> int:
    """Tokens of a completion's trace, tags included; estimated without a tokenizer."""
    if not parts.closed:
        return completion.n_completion
    if parts.think is None:
        return 0
    head = completion.text[: completion.text.rindex(CLOSE) + len(CLOSE)]
    if tokenizer is None:
        return round(completion.n_completion * len(head) / len(completion.text))
    counted = len(tokenizer(head, add_special_tokens=False)["input_ids"])
    return min(completion.n_completion, counted)


@dataclass(frozen=True)
class Judgement:
    """The fields of a scored completion that depend on the grader."""

    verdict: Verdict
    extracted: str | None
    reason: str
    detail: Mapping[str, float]
    efficiency: tuple[float, float] | None


def grade_completion(
    problem: Problem, completion: str, *, finished: bool, opened: bool = False
) -> Judgement:
    """The grader's judgement of a completion; `finished` states that the model ended its turn."""
    found = grade(problem, split(completion, finished=finished, opened=opened))
    efficient = efficiency(problem, completion) if CLOSE in completion else None
    return Judgement(found.verdict, found.extracted, found.reason, dict(found.detail), efficient)


def efficiency(problem: Problem, completion: str) -> tuple[float, float] | None:
    """Outcome and process efficiency of a completion that thought (`grading.overthinking`); None
    for problems whose answer a trace does not state."""
    if problem.kind not in SOLVED:
        return None

    def right(piece: str) -> bool | None:
        found = grade(problem, split(piece), limit=1.0)
        return None if found.extracted is None else found.verdict == "right"

    text = completion.replace(OPEN, "").replace(CLOSE, "")
    if not text.strip():
        return None
    solutions = overthinking.solutions(text, user_text(problem), right)
    return overthinking.outcome_efficiency(solutions), overthinking.process_efficiency(solutions)
