"""Problems × teacher → verified pairs: the same prompt answered directly and with a trace, kept whole or not at all."""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import IO, TYPE_CHECKING, Any

from distill import data_card, oracle, reference, replay
from distill.answer_cache import Answer, AnswerStore
from distill.answer_selection import PairResult, Tally, choose
from distill.config import Config, inputs, model_named, teacher_name
from distill.select import Place, Prompts, domain, drawn, outside
from distill.teacher import answers, ask
from ratiocine import models
from ratiocine.data import sources, tokenizer_hash, write_lengths
from ratiocine.errors import BadInput
from ratiocine.evaluate import key
from ratiocine.grading import grade
from ratiocine.plotting import length_histogram
from ratiocine.progress import tracked
from ratiocine.prompts import completion_ids, prompt_ids, render, split, user_text
from ratiocine.records import MODES, SIDES, Mode, Pair, Problem
from ratiocine.runs import Run, open_run
from ratiocine.stores import stream_pairs, write_pairs

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Teach = tuple[
    Callable[[Problem], str], Callable[[Problem, str], str | None]
]  # the trace, and what is wrong with it
WRITERS: dict[str, Teach] = {
    "oracle": (oracle.trace, replay.fault),
    "reference": (reference.trace, reference.fault),
}
Maker = Callable[[Problem], PairResult]


@dataclass
class Rejections:
    """The problems that gave no pair, a line each with the reason, and their number by reason in the order of the steps."""

    file: IO[str]
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, reason: str) -> None:
        self.counts[reason] += 1
        self.file.write(json.dumps({"key": name, "reason": reason}) + "\n")


@dataclass
class Totals:
    """What is to be known of the pairs that are kept, and of the problems that they come from."""

    n: int = 0
    shared: int = 0
    without_reference: int = 0
    sources: Counter[str] = field(default_factory=Counter)
    tokens: dict[str, array[int]] = field(
        default_factory=lambda: {side: array("I") for side in SIDES}
    )
    levels: dict[str, list[int]] = field(default_factory=dict)  # pairs and problems

    def keep(self, pair: Pair, place: Place) -> Pair:
        self.n += 1
        self.shared += place.shared
        self.without_reference += pair.reference is None
        self.sources[pair.source] += 1
        for side in SIDES:
            self.tokens[side].append(getattr(pair, f"n_tokens_{side}"))
        if place.level is not None:
            self.levels[place.level][0] += 1
        return pair


def distill(config: Config) -> Run:
    """Write `pairs.parquet`, its data card and its manifest. Pairs are kept whole or left out with a counted reason."""
    if config.teacher.name == "oracle" and not config.data.families:
        raise BadInput(
            f"teacher=oracle solves embedded families only, not data={config.data.name}; try teacher=reference"
        )
    run = open_run("distill", config, inputs(config))
    if run.finished:
        print(f"{run.out} is finished")
        return run
    others = {name: models.load_tokenizer(model_named(name)) for name in config.tokenizers}
    tallies: dict[Mode, Tally] = {mode: Tally() for mode in MODES}
    totals = Totals()
    with run.writing("rejected.jsonl") as path, open(path, "w", encoding="utf-8") as file:
        left_out = Rejections(file)
        prompts = Prompts(
            config.data,
            config.select,
            seed=config.seed,
            limit=config.limit,
            drop=lambda p, why: left_out.add(key(p), why),
        )
        make, asked = _maker(config, prompts, tallies)
        with run.writing("pass_rates.jsonl") as path, open(path, "w", encoding="utf-8") as rates:
            made = _made(config, make, prompts, totals, left_out, rates)
            with run.writing("pairs.parquet") as path:
                _write(path, made, config, totals, left_out)
                if not totals.n:
                    raise BadInput(
                        f"data={config.data.name} gave no pair; left out: {dict(left_out.counts)}"
                    )
    if others:
        with run.writing("lengths.parquet") as path:
            write_lengths(path, run.out / "pairs.parquet", totals.n, others)
    if asked:
        asked["answers"] = {mode: tally.told() for mode, tally in tallies.items()}
    facts = {
        "sides": list(MODES),
        "teacher": config.teacher.name,
        "data": config.data.name,
        "n": totals.n,
        "n_by_source": dict(totals.sources),
        "dropped": dict(left_out.counts),
        "without_reference": totals.without_reference,
        "disjoint": {
            "train": totals.n,
            "test": None if prompts.held_out is None else len(prompts.held_out),
            "shared": None if prompts.held_out is None else totals.shared,
        },
        "decontaminated": config.select.decontaminate,
        "revisions": sources.revisions(config.data),
        "tokenizer": tokenizer_hash(models.load_tokenizer(config.model)),
        "other_tokenizers": {name: tokenizer_hash(tokenizer) for name, tokenizer in others.items()},
        "mean_tokens": {side: round(fmean(totals.tokens[side]), 1) for side in SIDES},
        "by_level": dict(sorted(totals.levels.items())),
        "license": config.data.license,
        **asked,
    }
    with run.writing("lengths.svg") as path:
        path.write_text(
            length_histogram({mode: totals.tokens[mode] for mode in MODES}), encoding="utf-8"
        )
    with run.writing("README.md") as path:
        path.write_text(data_card.text(config, facts), encoding="utf-8")
    run.finish(**facts)
    for mode, told in asked.get("answers", {}).items():
        print(
            f"{mode}: {told['answers']} answers of {told['mean_tokens']} tokens on average; {told['outcomes']}"
        )
    print(f"{totals.n} pairs in {run.out}; dropped {dict(left_out.counts) or 'none'}")
    return run


def _maker(
    config: Config, prompts: Prompts, tallies: dict[Mode, Tally]
) -> tuple[Maker, dict[str, Any]]:
    """What makes a pair of a problem, once the teacher has been asked, and what is to be known of how it was asked."""
    if config.teacher.name in WRITERS:
        return lambda problem: _solved(config, problem), {}
    told: dict[str, Any] = {"verify": config.verify, "confounds": []}
    if config.teacher.name == "published":
        tokenizer = models.load_tokenizer(config.model)
        return lambda problem: choose(config, problem, _given(problem, tokenizer), tallies), told
    store = AnswerStore(Path(config.answer_cache))
    told |= {"confounds": config.confounds(), **ask(config, prompts, store)}
    names = {mode: teacher_name(config, mode) for mode in MODES}

    def make(problem: Problem) -> PairResult:
        return choose(
            config,
            problem,
            {m: answers(config, names[m], problem, m, store) for m in MODES},
            tallies,
        )

    return make, told


def _solved(config: Config, problem: Problem) -> PairResult:
    """Sides from a worked solution; both end in the reference."""
    trace, fault = WRITERS[config.teacher.name]
    if problem.reference is None:
        return PairResult(None, "no_reference")
    think, answer = trace(problem), oracle.answer(problem)
    if reason := fault(problem, think):
        return PairResult(None, reason)
    sides = render(answer), render(answer, think)
    for side in sides:
        if (verdict := grade(problem, split(side))).verdict != "right":
            return PairResult(None, f"graded_{verdict.verdict}")
    return PairResult(sides)


def _given(problem: Problem, tokenizer: PreTrainedTokenizerBase) -> dict[Mode, list[Answer]]:
    """Both answers as the data set has them."""
    found: dict[Mode, list[Answer]] = {}
    for mode in MODES:
        text = problem.meta.get(mode)
        if not isinstance(text, str):
            raise BadInput(
                f"data={problem.source}: the problem '{problem.id}' has no {mode} answer; say which columns hold both: "
                "data.columns='{question: …, meta.ift: …, meta.reasoning: …}'"
            )
        found[mode] = [
            {"text": text, "stop": "stop", "n_completion": len(completion_ids(tokenizer, text))}
        ]
    return found


def _made(
    config: Config,
    make: Maker,
    prompts: Prompts,
    totals: Totals,
    left_out: Rejections,
    rates: IO[str],
) -> Iterator[tuple[Pair, Place]]:
    """The pairs, in the order of the problems."""
    tokenizer = models.load_tokenizer(config.model)
    for problem in tracked(prompts, prompts.n, "distill", "problems"):
        made = make(problem)
        level = None if problem.meta.get("level") is None else str(problem.meta["level"])
        if level is not None:
            totals.levels.setdefault(level, [0, 0])[1] += 1
        if made.rates is not None:
            rates.write(json.dumps({"key": key(problem), **made.rates}) + "\n")
        if made.sides is None:
            assert made.reason is not None
            left_out.add(key(problem), made.reason)
            continue
        prompt, (ift, reasoning) = user_text(problem), made.sides
        pair = Pair(
            problem.id,
            prompt,
            reasoning,
            ift,
            problem.reference,
            problem.category,
            problem.source,
            len(prompt_ids(tokenizer, prompt)),
            len(completion_ids(tokenizer, reasoning)),
            len(completion_ids(tokenizer, ift)),
        )
        if reason := outside(pair, config.select):
            left_out.add(key(problem), reason)
            continue
        shared = prompts.held_out is not None and sources.content(problem) in prompts.held_out
        yield (
            pair,
            Place(
                problem.id, problem.source, domain(problem), pair.n_tokens_reasoning, level, shared
            ),
        )


def _write(
    path: Path,
    made: Iterator[tuple[Pair, Place]],
    config: Config,
    totals: Totals,
    left_out: Rejections,
) -> None:
    """Write the pairs that are kept. A draw among all of them first writes all, for it must have seen them."""
    if not config.select.draws:
        write_pairs(path, (totals.keep(pair, place) for pair, place in made))
        return
    everything, places = path.with_name(".all.partial"), list[Place]()
    write_pairs(everything, (places.append(place) or pair for pair, place in made))  # type: ignore[func-returns-value]
    kept = drawn(places, config.select, config.seed)

    def pairs() -> Iterator[Pair]:
        for at, pair in enumerate(stream_pairs(everything)):
            if at in kept:
                yield totals.keep(pair, places[at])
            else:
                left_out.add(f"{pair.source}/{pair.id}", "not_drawn")

    write_pairs(path, pairs())
    everything.unlink()
