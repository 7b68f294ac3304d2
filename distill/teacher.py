"""A teacher that is a model: one request per problem and mode, answered from the cache or by an
engine. Answers are cached before they count."""

from __future__ import annotations

import gc
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, NoReturn

from distill.answer_cache import Answer, AnswerCache, answer_key
from distill.config import Config, teacher_model, teacher_name
from distill.missing_answers import MissingAnswers, portions, report_cached
from distill.spending import Spending
from distill.teacher_checks import SamplingCheck, ThinkingCheck
from distill.teacher_config import AskConfig
from ratiocine import cli, engines
from ratiocine.engines import Capability, LoadedEngine, Message, Request
from ratiocine.errors import BadInput, Failure
from ratiocine.models import ModelConfig
from ratiocine.progress import count_earlier, progress
from ratiocine.prompts import NoSwitch, user_text
from ratiocine.records import MODES, Completion, Mode, Problem

if TYPE_CHECKING:
    from tqdm import tqdm

    from distill.select import Prompts

SETTING = "teacher.engine"  # the engine's key in conf/distill.yaml


def request(config: Config, problem: Problem, mode: Mode) -> Request:
    """The request for one problem; only `thinking_prompt` differs between the modes."""
    how, decoding = config.thinking_prompt.mode(mode), config.decoding(mode)
    return Request(
        f"{mode}/{problem.source}/{problem.id}",
        _messages(how, problem),
        config.max_new_tokens,
        thinking=how.thinking,
        temperature=decoding.temperature,
        top_p=decoding.top_p,
        seed=config.seed,
        samples=tuple(range(config.samples)),
    )


def _messages(how: AskConfig, problem: Problem) -> tuple[Message, ...]:
    system: tuple[Message, ...] = ({"role": "system", "content": how.system},) if how.system else ()
    return (*system, {"role": "user", "content": how.user.format(prompt=user_text(problem))})


def cached_answers(
    config: Config, teacher: str, problem: Problem, mode: Mode, cache: AnswerCache
) -> list[Answer]:
    """The cached answers to one problem, by sample."""
    asked = request(config, problem, mode)
    found = cache.get([answer_key(teacher, asked, sample) for sample in asked.samples])
    return [answer for answer in found if answer is not None]


@dataclass(frozen=True)
class Requested:
    """How the answers of a run were obtained, for its manifest."""

    engines: Mapping[str, Mapping[str, Any]]
    """Facts of each engine that was loaded, by teacher."""
    spent: Mapping[str, int | float]


def request_answers(config: Config, prompts: Prompts, cache: AnswerCache) -> Requested:
    """Request every answer that the cache lacks. Raises Failure when `max_spend` is reached."""
    wanted = prompts.n * len(MODES) * config.samples
    spending = Spending(config.price, config.max_spend)
    complete, rounds = _rounds(config, prompts, cache, spending)
    asked = [*complete, *(current.missing for current in rounds)]
    sampling, thinking = SamplingCheck(config.samples), ThinkingCheck(config)
    gc.freeze()  # the problems stay alive: garbage collection need not traverse them again
    cached = sum(missing.n_cached for missing in asked)
    with progress(wanted, "distill", "answers", initial=cached) as bar:
        meter = _Meter(bar, spending, wanted, prompts.n, asked)
        cli.on_error(lambda error: f"; {meter.n} of {wanted} answers are safe in {cache.path}")
        for current in rounds:
            for completions in _generate(current, spending):
                cache.add(current.missing.answered(completion) for completion in completions)
                if warning := sampling.check(completions):
                    bar.write(warning, file=sys.stderr)
                thinking.check(completions)
                meter.show(len(completions), current)
        count_earlier(bar, meter.n - bar.n)
    assert config.teacher.engine is not None
    report_cached(asked, wanted, "answers", config.teacher.engine, SETTING)
    if meter.n < wanted:
        assert spending.reached
        cost = f", cost {spending.money:.2f}" if spending.money else ""
        state = "is used up" if spending.tokens else "leaves no room for the next answer"
        raise Failure(
            f"{spending.reached} {state}: {meter.n} of {wanted} answers are there, "
            f"of {spending.tokens} tokens{cost}; they are safe: run this again with more"
        )
    return Requested(
        {current.teacher: current.loaded.to_json() for current in rounds}, spending.to_json()
    )


@dataclass(frozen=True)
class _Round:
    """One teacher with the requests for it."""

    teacher: str
    missing: MissingAnswers
    loaded: LoadedEngine
    requests: Iterator[Request]


def _rounds(
    config: Config, prompts: Prompts, cache: AnswerCache, spending: Spending
) -> tuple[list[MissingAnswers], list[_Round]]:
    """The teachers that lack no answer, and those that do, each loaded. Modes with one teacher are
    requested together."""
    assert config.teacher.engine is not None
    modes_of: dict[str, list[Mode]] = {}
    for mode in MODES:
        modes_of.setdefault(teacher_name(config, mode), []).append(mode)
    complete, rounds = [], []
    for teacher, modes in modes_of.items():
        wanted = _wanted(config, prompts, modes)
        missing = MissingAnswers(
            wanted,
            teacher,
            cache,
            spending,
            servers=engines.servers(config.teacher.engine),
            retry_refused=config.retry_refused,
        )
        requests = iter(missing)
        first = next(requests, None)
        if first is None:
            complete.append(missing)
        else:
            loaded = _load(config, modes, spending)
            rounds.append(_Round(teacher, missing, loaded, chain([first], requests)))
    return complete, rounds


def _wanted(config: Config, prompts: Prompts, modes: Sequence[Mode]) -> Iterator[Request]:
    return (request(config, problem, mode) for problem in prompts for mode in modes)


class _Meter:
    """Rates, cost and retries behind the progress bar."""

    def __init__(
        self,
        bar: tqdm[NoReturn],
        spending: Spending,
        wanted: int,
        n_prompts: int,
        asked: Sequence[MissingAnswers],
    ) -> None:
        self.bar, self.spending, self.wanted = bar, spending, wanted
        self.answers_per_pair = wanted / n_prompts if n_prompts else 1.0
        self.started, self.tokens_before = time.monotonic(), spending.tokens
        self.asked, self.n_new = asked, 0  # answers of this run

    @property
    def n(self) -> int:
        """Answers that are there, cached ones included."""
        return self.n_new + sum(missing.n_cached for missing in self.asked)

    def show(self, n: int, current: _Round) -> None:
        """Count `n` new answers."""
        self.n_new += n
        seconds, money = time.monotonic() - self.started, self.spending.money
        pairs = self.n_new / self.answers_per_pair / seconds
        tokens = (self.spending.tokens - self.tokens_before) / seconds
        expected = money * self.wanted / self.n
        cost = f", cost {money:.2f} of about {expected:.2f}" if money else ""
        retried = _retried(current.loaded.retries)
        status = f"{pairs:.3g} pairs/s, {tokens:.0f} tokens/s{cost}{retried}"
        self.bar.set_postfix_str(status, refresh=False)
        self.bar.update(n)
        count_earlier(self.bar, self.n - self.bar.n)


def _retried(retries: Counter[str]) -> str:
    counts = ", ".join(f"{count} {kind}" for kind, count in retries.items())
    return f", again: {counts}" if counts else ""


def _generate(current: _Round, spending: Spending) -> Iterator[list[Completion]]:
    """Completions until a limit is reached. A server gets no call with which the open ones could
    exceed it; any other engine has all requests of a portion by then, and is stopped."""
    engine = current.loaded.engine
    requests: Iterator[Request] = current.requests
    if engine.name == "openai":
        requests = spending.reserving(requests)
    for portion in portions(engine, requests):
        for completions in engine.generate(portion):
            yield completions
            spending.release(completions)
            if spending.reached and engine.name != "openai":
                return


def _load(config: Config, modes: Sequence[Mode], spending: Spending) -> LoadedEngine:
    """The engine of a teacher that answers in these modes."""
    prompts, engine = config.thinking_prompt, config.teacher.engine
    assert engine is not None
    if engine.name == "openai" and (model := prompts.mode(modes[0]).model):
        engine = engine.model_copy(update={"model": model})
    switched = any(prompts.mode(mode).thinking is not None for mode in modes)
    required: set[Capability] = {"thinking"} if switched else set()
    try:
        return engines.load(
            engine,
            teacher_model(config) or ModelConfig(name="served", kind="served"),
            required=required,
            dtype=config.dtype,
            device=config.device,
            threads=config.threads,
            num_workers=config.num_workers,
            executor=config.executor,
            setting=SETTING,
            has_room=spending.has_room if spending.limited else None,
        )
    except NoSwitch as error:
        raise BadInput(
            f"{error}; another way to tell it: thinking_prompt=suffix, system or template"
        ) from None
