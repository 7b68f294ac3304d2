"""Problems × teacher → verified pairs: the same prompt answered directly and with a trace, both right or neither kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from distill import oracle, reference, replay
from distill.config import Config, inputs
from ratiocine import models, sources
from ratiocine.errors import BadInput
from ratiocine.grading import grade
from ratiocine.problems import Problem
from ratiocine.progress import tracked
from ratiocine.prompts import completion_ids, prompt_ids, render, split, user_text
from ratiocine.runs import Run, open_run
from ratiocine.traces import MODES, Pair, write_pairs

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Teach = tuple[Callable[[Problem], str], Callable[[Problem, str], str | None]]  # the trace, and what is wrong with it
TEACHERS: dict[str, Teach] = {
    "oracle": (oracle.trace, replay.fault),
    "reference": (reference.trace, reference.fault),
}


def distill(config: Config) -> Run:
    """Write `pairs.parquet` and its manifest. Pairs are kept whole or dropped with a counted reason."""
    if config.teacher.name == "oracle" and not config.data.families:
        raise BadInput(f"teacher=oracle solves embedded families only, not data={config.data.name}; try teacher=reference")
    run = open_run("distill", config.model_dump(), inputs(config))
    if run.finished:
        print(f"{run.out} is finished")
        return run
    train = sources.load(config.data, "train", seed=config.seed, limit=config.limit)
    held_out = _test_contents(config)
    dropped = {reason: list(ids) for reason, ids in train.dropped.items()}
    tokenizer = models.load_tokenizer(config.model)
    pairs = [pair for pair in _pairs(config, tokenizer, train.problems, held_out, dropped) if pair is not None]
    if not pairs:
        raise BadInput(f"data={config.data.name} gave no pair; dropped: {_counts(dropped)}")
    with run.writing("pairs.parquet") as path:
        write_pairs(path, pairs)
    contents = {sources.content(p): p.id for p in train.problems}
    kept = {pair.id for pair in pairs}
    run.finish(
        sides=list(MODES), teacher=config.teacher.name, data=config.data.name, n=len(pairs),
        n_by_source=dict(Counter(pair.source for pair in pairs)), dropped=_counts(dropped), dropped_ids=dropped,
        without_reference=sum(pair.reference is None for pair in pairs),
        disjoint={
            "train": len(pairs), "test": None if held_out is None else len(held_out),
            "shared": None if held_out is None else sum(i in kept and c in held_out for c, i in contents.items()),
        },
        mean_tokens={
            key: round(sum(getattr(p, f"n_tokens_{key}") for p in pairs) / len(pairs), 1)
            for key in ("prompt", "ift", "reasoning")
        },
        licence=config.data.licence,
    )  # fmt: skip
    print(f"{len(pairs)} pairs in {run.out}; dropped {_counts(dropped) or 'none'}")
    return run


def _counts(dropped: dict[str, list[str]]) -> dict[str, int]:
    return {reason: len(ids) for reason, ids in dropped.items()}


def _pairs(
    config: Config,
    tokenizer: PreTrainedTokenizerBase,
    problems: list[Problem],
    held_out: set[str] | None,
    dropped: dict[str, list[str]],
) -> Iterator[Pair | None]:
    for problem in tracked(problems, len(problems), "distill", "problems"):
        if held_out and sources.content(problem) in held_out:
            dropped.setdefault("in_test_split", []).append(problem.id)
            continue
        pair, reason = make_pair(config.teacher.name, problem, tokenizer)
        if reason:
            dropped.setdefault(reason, []).append(problem.id)
        yield pair


def make_pair(teacher: str, problem: Problem, tokenizer: PreTrainedTokenizerBase) -> tuple[Pair | None, str | None]:
    """The pair of one problem, or None and the reason why the teacher's two answers cannot both stand."""
    trace, fault = TEACHERS[teacher]
    if problem.reference is None:
        return None, "no_reference"
    think, answer = trace(problem), oracle.answer(problem)
    if reason := fault(problem, think):
        return None, reason
    ift, reasoning = render(answer), render(answer, think)
    for side in (ift, reasoning):
        if (verdict := grade(problem, split(side))).verdict != "right":
            return None, f"graded_{verdict.verdict}"
    prompt = user_text(problem)
    return Pair(
        problem.id, prompt, reasoning, ift, problem.reference, problem.category, problem.source,
        len(prompt_ids(tokenizer, prompt)), len(completion_ids(tokenizer, reasoning)), len(completion_ids(tokenizer, ift)),
    ), None  # fmt: skip


def _test_contents(config: Config) -> set[str] | None:
    """Contents of the test split, None where the source has none within reach."""
    has_test = config.data.families or (config.data.root and "test" in config.data.files)
    if not has_test and not (config.data.hub and "test" in config.data.hub.files and not config.data.root):
        return None
    if config.data.path:
        return None
    return {sources.content(p) for p in sources.load(config.data, "test", seed=config.seed).problems}
