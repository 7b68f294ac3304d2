"""Problems × teacher → verified pairs: the same prompt answered directly and with a trace, kept whole or not at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from distill import card, oracle, reference, replay
from distill.answers import AnswerStore
from distill.ask import answers, ask
from distill.choose import Tally, chosen
from distill.config import Config, inputs
from ratiocine import models, sources
from ratiocine.errors import BadInput
from ratiocine.grading import grade
from ratiocine.problems import Problem
from ratiocine.progress import tracked
from ratiocine.prompts import completion_ids, prompt_ids, render, split, user_text
from ratiocine.runs import Run, open_run
from ratiocine.traces import MODES, Mode, Pair, write_pairs

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Teach = tuple[Callable[[Problem], str], Callable[[Problem, str], str | None]]  # the trace, and what is wrong with it
WRITERS: dict[str, Teach] = {
    "oracle": (oracle.trace, replay.fault),
    "reference": (reference.trace, reference.fault),
}
Sides = tuple[str, str]  # the direct and the reasoning completion
Maker = Callable[[Problem], tuple[Sides | None, str | None]]


def distill(config: Config) -> Run:
    """Write `pairs.parquet`, its data card and its manifest. Pairs are kept whole or dropped with a counted reason."""
    if config.teacher.name == "oracle" and not config.data.families:
        raise BadInput(f"teacher=oracle solves embedded families only, not data={config.data.name}; try teacher=reference")
    run = open_run("distill", config.model_dump(), inputs(config))
    if run.finished:
        print(f"{run.out} is finished")
        return run
    train = sources.load(config.data, "train", seed=config.seed, limit=config.limit)
    held_out = _test_contents(config)
    dropped = {reason: list(ids) for reason, ids in train.dropped.items()}
    problems = []
    for problem in train.problems:
        if held_out and sources.content(problem) in held_out:
            dropped.setdefault("in_test_split", []).append(problem.id)
        else:
            problems.append(problem)
    tallies: dict[Mode, Tally] = {mode: Tally() for mode in MODES}
    asked: dict[str, Any] = {}
    if config.teacher.name in WRITERS:
        make = _written(config)
    else:
        store = AnswerStore(Path(config.answers))
        asked = {"engine": ask(config, problems, store), "verify": config.verify, "confounds": config.confounds()}
        make = _answered(config, store, tallies)
    pairs = list(_pairs(make, models.load_tokenizer(config.model), problems, dropped))
    if not pairs:
        raise BadInput(f"data={config.data.name} gave no pair; dropped: {_counts(dropped)}")
    if asked:
        asked["answers"] = {mode: tally.told() for mode, tally in tallies.items()}
    kept = {pair.id for pair in pairs}
    shared = sum(p.id in kept and sources.content(p) in held_out for p in train.problems) if held_out is not None else None
    facts = {
        "sides": list(MODES), "teacher": config.teacher.name, "data": config.data.name, "n": len(pairs),
        "n_by_source": dict(Counter(pair.source for pair in pairs)), "dropped": _counts(dropped), "dropped_ids": dropped,
        "without_reference": sum(pair.reference is None for pair in pairs),
        "disjoint": {"train": len(pairs), "test": None if held_out is None else len(held_out), "shared": shared},
        "mean_tokens": {
            key: round(fmean(getattr(pair, f"n_tokens_{key}") for pair in pairs), 1) for key in ("prompt", "ift", "reasoning")
        },
        "by_level": _by_level(problems, kept), "licence": config.data.licence, **asked,
    }  # fmt: skip
    with run.writing("pairs.parquet") as path:
        write_pairs(path, pairs)
    with run.writing("lengths.svg") as path:
        path.write_text(card.lengths(pairs), encoding="utf-8")
    with run.writing("README.md") as path:
        path.write_text(card.text(config, facts), encoding="utf-8")
    run.finish(**facts)
    for mode, told in asked.get("answers", {}).items():
        print(f"{mode}: {told['answers']} answers of {told['mean_tokens']} tokens on average; {told['fates']}")
    print(f"{len(pairs)} pairs in {run.out}; dropped {_counts(dropped) or 'none'}")
    return run


def _counts(dropped: dict[str, list[str]]) -> dict[str, int]:
    return {reason: len(ids) for reason, ids in dropped.items()}


def _by_level(problems: list[Problem], kept: set[str]) -> dict[str, list[int]]:
    """Pairs and problems by difficulty, where it is known: what verification leaves out is not left out evenly."""
    found: dict[str, list[int]] = {}
    for problem in problems:
        if (level := problem.meta.get("level")) is not None:
            counts = found.setdefault(str(level), [0, 0])
            counts[0] += problem.id in kept
            counts[1] += 1
    return dict(sorted(found.items()))


def _written(config: Config) -> Maker:
    """Sides from a worked solution; both end in the reference."""

    def make(problem: Problem) -> tuple[Sides | None, str | None]:
        trace, fault = WRITERS[config.teacher.name]
        if problem.reference is None:
            return None, "no_reference"
        think, answer = trace(problem), oracle.answer(problem)
        if reason := fault(problem, think):
            return None, reason
        sides = render(answer), render(answer, think)
        for side in sides:
            if (verdict := grade(problem, split(side))).verdict != "right":
                return None, f"graded_{verdict.verdict}"
        return sides, None

    return make


def _answered(config: Config, store: AnswerStore, tallies: dict[Mode, Tally]) -> Maker:
    """Sides from a model's answers."""

    def make(problem: Problem) -> tuple[Sides | None, str | None]:
        picked, reason = chosen(config, problem, {mode: answers(config, problem, mode, store) for mode in MODES}, tallies)
        if picked is None:
            return None, reason
        ift, reasoning = (picked[mode].parts for mode in MODES)
        return (render(ift.answer), render(reasoning.answer, reasoning.think)), None

    return make


def _pairs(
    make: Maker, tokenizer: PreTrainedTokenizerBase, problems: list[Problem], dropped: dict[str, list[str]]
) -> Iterator[Pair]:
    for problem in tracked(problems, len(problems), "distill", "problems"):
        sides, reason = make(problem)
        if sides is None:
            assert reason is not None
            dropped.setdefault(reason, []).append(problem.id)
            continue
        prompt, (ift, reasoning) = user_text(problem), sides
        yield Pair(
            problem.id, prompt, reasoning, ift, problem.reference, problem.category, problem.source,
            len(prompt_ids(tokenizer, prompt)), len(completion_ids(tokenizer, reasoning)), len(completion_ids(tokenizer, ift)),
        )  # fmt: skip


def _test_contents(config: Config) -> set[str] | None:
    """Contents of the test split, None where the source has none within reach."""
    has_test = config.data.families or (config.data.root and "test" in config.data.files)
    if not has_test and not (config.data.hub and "test" in config.data.hub.files and not config.data.root):
        return None
    if config.data.path:
        return None
    return {sources.content(p) for p in sources.load(config.data, "test", seed=config.seed).problems}
