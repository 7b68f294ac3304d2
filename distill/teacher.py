"""A teacher that is a model, asked in both modes; its answers go to the store before they count."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from distill.answer_cache import Answer, AnswerStore, answer_key
from distill.config import AskConfig, Config, Price, Spend, teacher_model, teacher_name
from ratiocine import engines
from ratiocine.engines import Capability, EngineConfig, LoadedEngine, Message, Request
from ratiocine.errors import BadInput, Failure
from ratiocine.hashing import batched
from ratiocine.models import ModelConfig
from ratiocine.progress import progress
from ratiocine.prompts import OPEN, NoSwitch, user_text
from ratiocine.records import MODES, Completion, Mode, Problem

if TYPE_CHECKING:
    from distill.select import Prompts

ALIKE = 16  # problems of which all samples must be equal for the teacher to be told that it does not draw
LOOKED_UP = 64  # requests for which answers are looked for at once
PORTION = 8192  # requests that a local engine is given at a time; it wants to see many, to read like ones together


def request(config: Config, problem: Problem, mode: Mode) -> Request:
    """What the teacher is asked; everything but the switch is the same in both modes."""
    how = config.thinking_prompt.mode(mode)
    return Request(
        f"{mode}/{problem.source}/{problem.id}",
        _messages(how, problem),
        config.max_new_tokens,
        thinking=how.thinking,
        seed=config.seed,
        samples=tuple(range(config.samples)),
        **config.decoding(mode),
    )


def _messages(how: AskConfig, problem: Problem) -> tuple[Message, ...]:
    system: tuple[Message, ...] = ({"role": "system", "content": how.system},) if how.system else ()
    return (*system, {"role": "user", "content": how.user.format(prompt=user_text(problem))})


def answers(
    config: Config, name: str, problem: Problem, mode: Mode, store: AnswerStore
) -> list[Answer]:
    """The answers to one problem, of the teacher that is called `name`, that are there, by sample."""
    asked = request(config, problem, mode)
    found = store.get([answer_key(name, asked, sample) for sample in asked.samples])
    return [answer for answer in found if answer is not None]


@dataclass
class Spent:
    """What the answers of a run have cost, those of earlier runs that it uses among them."""

    price: Price
    most: Spend
    prompt: int = 0
    completion: int = 0

    def add(self, answer: Answer) -> None:
        self.prompt += answer["n_prompt"]
        self.completion += answer["n_completion"]

    @property
    def money(self) -> float:
        return (self.prompt * self.price.prompt + self.completion * self.price.completion) / 1e6

    @property
    def over(self) -> str | None:
        """The limit that is reached."""
        if self.most.tokens is not None and self.prompt + self.completion >= self.most.tokens:
            return f"max_spend.tokens={self.most.tokens}"
        if self.most.money is not None and self.money >= self.most.money:
            return f"max_spend.money={self.most.money:g}"
        return None


class _Drawn:
    """Whether a teacher draws its answers at all: a server may well ignore the temperature it is asked for."""

    def __init__(self, samples: int) -> None:
        self.samples, self.alike, self.told = samples, 0, samples == 1
        self.open: dict[str, list[str]] = {}

    def answered(self, traces: Iterable[Completion]) -> str | None:
        """What to say, once, when the answers to so many problems, all there are, were word for word the same."""
        for trace in () if self.told else traces:
            texts = self.open.setdefault(trace.id, [])
            texts.append(trace.text)
            if len(texts) == self.samples:
                self.alike += 1
                self.told = len(set(self.open.pop(trace.id))) > 1
            if self.alike == ALIKE and not self.told:
                self.told = True
                return (
                    f"distill: warning: the {self.samples} answers to each of {ALIKE} prompts are word for word the same: does "
                    "the teacher sample? (`transformers serve` does so only where generation_config.json says do_sample)"
                )
        return None


class _Lacking:
    """The requests of one teacher for which the store has no answer, drawn one by one, and what they were asked under until the
    answer is there."""

    def __init__(
        self,
        config: Config,
        name: str,
        modes: Sequence[Mode],
        prompts: Iterable[Problem],
        store: AnswerStore,
        spent: Spent,
    ) -> None:
        self.config, self.name, self.modes, self.prompts, self.store, self.spent = (
            config,
            name,
            modes,
            prompts,
            store,
            spent,
        )
        self.open: dict[tuple[str, int], tuple[bytes, Request]] = {}
        self.found = 0

    def __iter__(self) -> Iterator[Request]:
        wanted = (
            request(self.config, problem, mode) for problem in self.prompts for mode in self.modes
        )
        for group in batched(wanted, LOOKED_UP):
            keys = [(r, s, answer_key(self.name, r, s)) for r in group for s in r.samples]
            lacking: dict[str, list[int]] = {}
            for (asked, sample, name), answer in zip(
                keys, self.store.get([name for *_, name in keys]), strict=True
            ):
                if answer is None or (self.config.retry_refused and answer["stop"] == "refused"):
                    self.open[asked.id, sample] = name, asked
                    lacking.setdefault(asked.id, []).append(sample)
                else:
                    self.found += 1
                    self.spent.add(answer)
            for asked in group:
                if self.spent.over:
                    return
                if samples := lacking.get(asked.id):
                    yield (
                        asked
                        if len(samples) == len(asked.samples)
                        else replace(asked, samples=tuple(samples))
                    )

    def answered(self, trace: Completion) -> tuple[bytes, Answer]:
        name, asked = self.open.pop((trace.id, trace.sample))
        answer = _answer(asked, trace)
        self.spent.add(answer)
        return name, answer


def ask(config: Config, prompts: Prompts, store: AnswerStore) -> dict[str, Any]:
    """Ask for all answers that the store lacks. Returns what is to be known of the teacher's side of the run. Raises Failure
    where the answers would cost more than they may."""
    wanted = prompts.n * len(MODES) * config.samples
    loaded: dict[str, LoadedEngine] = {}
    together: dict[str, list[Mode]] = {}
    for mode in MODES:
        together.setdefault(teacher_name(config, mode), []).append(mode)
    spent, began, there, new = Spent(config.price, config.max_spend), time.monotonic(), 0, 0
    rounds = []
    for name, modes in together.items():
        lacking = _Lacking(config, name, modes, prompts, store, spent)
        rest = iter(lacking)
        first = next(rest, None)
        if first is not None:
            started = _loaded(config, modes[0], _needed(config, modes))
            loaded[name] = started
            rounds.append((lacking, started, chain([first], rest)))
        else:
            there += lacking.found
    old = spent.prompt + spent.completion
    drawn = _Drawn(config.samples)
    gc.freeze()  # what is there now stays: the collector need not go through it again and again
    with progress(wanted, "distill", "answers") as bar:
        for lacking, started, requests in rounds:
            for traces in _asked(started, requests, spent):
                store.add(lacking.answered(trace) for trace in traces)
                new, there = new + len(traces), there + len(traces)
                bar.n = there + lacking.found
                if warning := drawn.answered(traces):
                    bar.write(warning, file=sys.stderr)
                seconds = time.monotonic() - began
                pairs, tokens = (
                    new / (wanted / prompts.n) / seconds,
                    (spent.prompt + spent.completion - old) / seconds,
                )
                cost = (
                    f", cost {spent.money:.2f} of about {spent.money * wanted / bar.n:.2f}"
                    if spent.money
                    else ""
                )
                bar.set_postfix_str(
                    f"{pairs:.3g} pairs/s, {tokens:.0f} tokens/s{cost}{_again(started)}",
                    refresh=False,
                )
                bar.update(0)
            there += lacking.found
        bar.update(there - bar.n)
    if there < wanted:
        assert spent.over
        raise Failure(
            f"{spent.over} is used up: {there} of {wanted} answers are there, of {spent.prompt + spent.completion} tokens"
            f"{_money(spent)}; they are safe: run this again with more"
        )
    return {
        "asked": {name: one.to_json() for name, one in loaded.items()},
        "spent": {
            "prompt": spent.prompt,
            "completion": spent.completion,
            "money": round(spent.money, 4),
        },
    }


def _asked(
    started: LoadedEngine, requests: Iterator[Request], spent: Spent
) -> Iterator[list[Completion]]:
    """Answers, until enough is spent: a server is then asked nothing new, and the calls under way are waited for; other engines
    have all requests of a portion by then, and are stopped."""
    engine = started.engine
    for portion in [requests] if engine.name in ("openai", "ray") else batched(requests, PORTION):
        for traces in engine.generate(portion):
            yield traces
            if spent.over and engine.name != "openai":
                return


def _again(started: LoadedEngine) -> str:
    again = ", ".join(f"{count} {kind}" for kind, count in started.retries.items())
    return f", again: {again}" if again else ""


def _money(spent: Spent) -> str:
    return f", cost {spent.money:.2f}" if spent.money else ""


def _needed(config: Config, modes: Sequence[Mode]) -> set[Capability]:
    return (
        {"thinking"}
        if any(config.thinking_prompt.mode(mode).thinking is not None for mode in modes)
        else set()
    )


def _loaded(config: Config, mode: Mode, needed: set[Capability]) -> LoadedEngine:
    engine = config.teacher.engine
    assert engine is not None
    if engine.name == "openai" and (other := config.thinking_prompt.mode(mode).model):
        engine = engine.model_copy(update={"model": other})
    try:
        return _load(config, engine, needed)
    except NoSwitch as error:
        raise BadInput(
            f"{error}; another way to tell it: thinking_prompt=suffix, system or template"
        ) from None


def _load(config: Config, engine: EngineConfig, needed: set[Capability]) -> LoadedEngine:
    return engines.load(
        engine,
        teacher_model(config) or ModelConfig(name="served", kind="served"),
        required=needed,
        dtype=config.dtype,
        device=config.device,
        threads=config.threads,
        keep_refused=True,
        num_workers=config.num_workers,
        executor=config.executor,
    )


def _answer(asked: Request, trace: Completion) -> Answer:
    """What is kept of one answer: its text with the tag that the prompt itself may have opened, and how it was decoded."""
    text = f"{OPEN}\n{trace.text}" if trace.opened else trace.text
    return {
        "id": asked.id,
        "sample": trace.sample,
        "text": text,
        "stop": trace.stop,
        "n_prompt": trace.n_prompt,
        "n_completion": trace.n_completion,
        "seconds": trace.seconds,
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "budget": asked.max_new_tokens,
        "seed": asked.seed,
    }
