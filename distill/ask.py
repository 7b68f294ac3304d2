"""A teacher that is a model, asked in both modes; its answers go to the store before they count."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from distill.answers import Answer, AnswerStore, answer_key
from distill.config import AskConfig, Config, teacher_model, teacher_name
from ratiocine.engines import Message, Request
from ratiocine.engines.start import Started, start
from ratiocine.models import ModelConfig
from ratiocine.problems import Problem
from ratiocine.progress import progress
from ratiocine.prompts import OPEN, user_text
from ratiocine.traces import MODES, Mode, Trace


def request(config: Config, problem: Problem, mode: Mode) -> Request:
    """What the teacher is asked; everything but the switch is the same in both modes."""
    how = config.switch.mode(mode)
    return Request(
        f"{mode}/{problem.source}/{problem.id}", _messages(how, problem), config.budget, thinking=how.thinking,
        seed=config.seed, samples=tuple(range(config.samples)), **config.decoding(mode),
    )  # fmt: skip


def _messages(how: AskConfig, problem: Problem) -> tuple[Message, ...]:
    system: tuple[Message, ...] = ({"role": "system", "content": how.system},) if how.system else ()
    return (*system, {"role": "user", "content": how.user.format(prompt=user_text(problem))})


def answers(config: Config, problem: Problem, mode: Mode, store: AnswerStore) -> list[Answer]:
    """The teacher's answers to one problem that are there, by sample."""
    asked, name = request(config, problem, mode), teacher_name(config, mode)
    found = (store.get(answer_key(name, asked, sample)) for sample in asked.samples)
    return [answer for answer in found if answer is not None]


def ask(config: Config, problems: Sequence[Problem], store: AnswerStore) -> dict[str, Any]:
    """Ask for all answers that the store lacks. Returns what is to be known of the teacher's side of the run."""
    wanted = len(problems) * len(MODES) * config.samples
    facts: dict[str, Any] = {}
    together: dict[str, list[Mode]] = {}
    for mode in MODES:
        together.setdefault(teacher_name(config, mode), []).append(mode)
    with progress(wanted, "distill", "answers") as bar:
        for name, modes in together.items():
            lacking = list(_lacking(config, problems, modes, store))
            bar.update(len(problems) * len(modes) * config.samples - sum(len(r.samples) for r in lacking))
            if not lacking:
                continue
            started = _started(config, modes[0], {ability for r in lacking for ability in r.needs()})
            by_id = {r.id: r for r in lacking}
            for traces in started.engine.continue_(lacking):
                store.add((answer_key(name, by_id[t.id], t.sample), _answer(by_id[t.id], t)) for t in traces)
                bar.update(len(traces))
            facts[name] = started.facts
    return facts


def _lacking(config: Config, problems: Iterable[Problem], modes: Sequence[Mode], store: AnswerStore) -> Iterator[Request]:
    for problem in problems:
        for mode in modes:
            asked, name = request(config, problem, mode), teacher_name(config, mode)
            if samples := tuple(s for s in asked.samples if answer_key(name, asked, s) not in store):
                yield replace(asked, samples=samples)


def _started(config: Config, mode: Mode, needed: set[Any]) -> Started:
    engine = config.teacher.engine
    assert engine is not None
    if engine.name == "openai" and (other := config.switch.mode(mode).model):
        engine = engine.model_copy(update={"model": other})
    return start(
        engine, teacher_model(config) or ModelConfig(name="served", kind="served"), needed=needed, dtype=config.dtype,
        device=config.device, threads=config.threads, keep_refused=True,
    )  # fmt: skip


def _answer(asked: Request, trace: Trace) -> Answer:
    """What is kept of one answer: its text with the tag that the prompt itself may have opened, and how it was decoded."""
    text = f"{OPEN}\n{trace.text}" if trace.opened else trace.text
    return {
        "id": asked.id, "sample": trace.sample, "text": text, "stop": trace.stop, "n_prompt": trace.n_prompt,
        "n_completion": trace.n_completion, "seconds": trace.seconds, "temperature": asked.temperature, "top_p": asked.top_p,
        "budget": asked.budget, "seed": asked.seed,
    }  # fmt: skip
