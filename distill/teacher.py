"""A teacher that is a model: one request per problem and mode, answered from the cache or by an
engine. Answers are cached before they count."""

from __future__ import annotations

import gc
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, NoReturn, cast

from distill.answer_cache import Answer, AnswerCache, answer_key
from distill.config import AskConfig, Config, teacher_model, teacher_name
from distill.spending import Spending
from ratiocine import cli, engines
from ratiocine.completion_parts import split
from ratiocine.engines import (
    Capability,
    Engine,
    EngineConfig,
    LoadedEngine,
    Message,
    OpenAIEngine,
    Request,
)
from ratiocine.errors import BadInput, Failure
from ratiocine.hashing import batched
from ratiocine.models import ModelConfig
from ratiocine.progress import progress
from ratiocine.prompts import NoSwitch, user_text
from ratiocine.records import MODES, Completion, Mode, Problem

if TYPE_CHECKING:
    from tqdm import tqdm

    from distill.select import Prompts

IGNORED = 8  # whole answers in one mode that are all of the other, before a run ends
IDENTICAL = 16  # problems whose samples must all be identical before a warning
SETTING = "teacher.engine"  # the engine's key in conf/distill.yaml
LOOKUP = 64  # requests whose answers are looked up in one query
PORTION = 8192  # requests given to a local engine at once: it batches similar ones together


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
    cached = sum(missing.n_cached for missing in complete)
    sampling, thinking = SamplingCheck(config.samples), ThinkingCheck(config)
    gc.freeze()  # the problems stay alive: garbage collection need not traverse them again
    with progress(wanted, "distill", "answers") as bar:
        meter = _Meter(bar, spending, wanted, prompts.n, cached)
        cli.on_error(lambda error: f"; {bar.n} of {wanted} answers are safe in {cache.path}")
        for current in rounds:
            for completions in _generate(current, spending):
                cache.add(current.missing.answered(completion) for completion in completions)
                if warning := sampling.check(completions):
                    bar.write(warning, file=sys.stderr)
                thinking.check(completions)
                meter.show(len(completions), current)
            meter.n += current.missing.n_cached
        bar.update(meter.n - bar.n)
    assert config.teacher.engine is not None
    asked = [*complete, *(current.missing for current in rounds)]
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


class MissingAnswers:
    """The requests of one teacher that the cache cannot answer, made one by one; each is remembered
    with its key until it is answered."""

    def __init__(
        self,
        wanted: Iterable[Request],
        teacher: str,
        cache: AnswerCache,
        spending: Spending,
        *,
        servers: str = "",
        retry_refused: bool,
    ) -> None:
        self.wanted, self.teacher, self.retry_refused = wanted, teacher, retry_refused
        self.servers = servers
        self.cache, self.spending = cache, spending
        self.pending: dict[tuple[str, int], tuple[bytes, Request]] = {}
        self.n_cached = 0
        self.of_others = Counter[str]()  # cached answers of other servers, by address

    def __iter__(self) -> Iterator[Request]:
        for group in batched(self.wanted, LOOKUP):
            lacking = self._look_up(group)
            for asked in group:
                if self.spending.reached:
                    return
                if samples := lacking.get(asked.id):
                    whole = len(samples) == len(asked.samples)
                    yield asked if whole else replace(asked, samples=tuple(samples))

    def _look_up(self, group: Sequence[Request]) -> dict[str, list[int]]:
        """The samples without an answer, by request."""
        keyed = [(r, s, answer_key(self.teacher, r, s)) for r in group for s in r.samples]
        answers = self.cache.get([key for *_, key in keyed])
        lacking: dict[str, list[int]] = {}
        for (asked, sample, key), answer in zip(keyed, answers, strict=True):
            if answer is None or (self.retry_refused and answer.stop not in ("stop", "length")):
                self.pending[asked.id, sample] = key, asked
                lacking.setdefault(asked.id, []).append(sample)
            else:
                self.n_cached += 1
                if answer.server not in ("", self.servers):
                    self.of_others[answer.server] += 1
                self.spending.add(answer)
        return lacking

    def answered(self, completion: Completion) -> tuple[bytes, Answer]:
        """The answer under its key; its cost is counted."""
        key, asked = self.pending.pop((completion.id, completion.sample))
        answer = Answer.from_completion(asked, completion, self.servers)
        self.spending.add(answer)
        return key, answer


def report_cached(
    missing: Sequence[MissingAnswers],
    wanted: int,
    unit: str,
    engine: EngineConfig,
    setting: str = "engine",
) -> None:
    """Print how many of the answers were in the cache, and warn of those of other servers; where
    all were, of a server that is down, which nothing else would show."""
    n = sum(one.n_cached for one in missing)
    if not n:
        return
    path = missing[0].cache.path
    print(f"{n} of {wanted} {unit} from the cache {path}; answer_cache=… for others")
    for server, count in sum((one.of_others for one in missing), Counter[str]()).items():
        _warn(f"{count} of them were given by {server}, under the same model name")
    if n == wanted and engine.name == "openai":
        try:
            OpenAIEngine(engine, setting).check_connection()
        except BadInput as error:
            _warn(f"{error}; no call was needed")


def _warn(words: str) -> None:
    print(f"distill: warning: {words}", file=sys.stderr)


class SamplingCheck:
    """Whether a teacher samples at all: a server may ignore the temperature."""

    def __init__(self, samples: int) -> None:
        self.samples, self.n_identical, self.settled = samples, 0, samples == 1
        self.texts: dict[str, list[str]] = {}

    def check(self, completions: Iterable[Completion]) -> str | None:
        """A warning, once, if all samples of the first `IDENTICAL` problems are identical."""
        for completion in () if self.settled else completions:
            texts = self.texts.setdefault(completion.id, [])
            texts.append(completion.text)
            if len(texts) == self.samples:
                self.n_identical += 1
                self.settled = len(set(self.texts.pop(completion.id))) > 1
            if self.n_identical == IDENTICAL and not self.settled:
                self.settled = True
                return (
                    f"distill: warning: the {self.samples} answers to each of {IDENTICAL} prompts "
                    "are word for word the same: does the teacher sample? (`transformers serve` "
                    "does so only where generation_config.json says do_sample)"
                )
        return None


class ThinkingCheck:
    """Whether a teacher does as it is told: a server may ignore `enable_thinking`."""

    def __init__(self, config: Config) -> None:
        self.config, self.settled = config, set[Mode]()
        self.by_steps = config.thinking_prompt.trace == "steps"  # a trace without tags
        self.ignored = Counter[Mode]()

    def check(self, completions: Iterable[Completion]) -> None:
        """Raise Failure if the first `IGNORED` whole answers in one mode are all of the other."""
        for completion in completions:
            mode = cast(Mode, completion.id.partition("/")[0])
            if completion.stop != "stop" or mode in self.settled or self.by_steps:
                continue
            parts = split(completion.text)
            if bool(parts.think) == (mode == "reasoning") or completion.opened:
                self.settled.add(mode)
                continue
            self.ignored[mode] += 1
            if self.ignored[mode] == IGNORED:
                asked = "to think and did not" if mode == "reasoning" else "not to think and did"
                raise Failure(
                    f"the teacher was told {asked} in the first {IGNORED} answers: it ignores "
                    f"thinking_prompt={self.config.thinking_prompt.name}; others: "
                    f"{', '.join(cli.options('thinking_prompt'))}"
                )


class _Meter:
    """Rates, cost and retries behind the progress bar."""

    def __init__(
        self, bar: tqdm[NoReturn], spending: Spending, wanted: int, n_prompts: int, cached: int
    ) -> None:
        self.bar, self.spending, self.wanted = bar, spending, wanted
        self.answers_per_pair = wanted / n_prompts if n_prompts else 1.0
        self.started, self.tokens_before = time.monotonic(), spending.tokens
        self.n, self.n_new = cached, 0  # answers that are there, and those of this run

    def show(self, n: int, current: _Round) -> None:
        """Count `n` new answers."""
        self.n, self.n_new = self.n + n, self.n_new + n
        self.bar.n = self.n + current.missing.n_cached
        seconds, money = time.monotonic() - self.started, self.spending.money
        pairs = self.n_new / self.answers_per_pair / seconds
        tokens = (self.spending.tokens - self.tokens_before) / seconds
        expected = money * self.wanted / self.bar.n
        cost = f", cost {money:.2f} of about {expected:.2f}" if money else ""
        retried = _retried(current.loaded.retries)
        status = f"{pairs:.3g} pairs/s, {tokens:.0f} tokens/s{cost}{retried}"
        self.bar.set_postfix_str(status, refresh=False)
        self.bar.update(0)


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


def portions(engine: Engine, requests: Iterable[Request]) -> Iterable[Iterable[Request]]:
    """The requests that an engine gets at once: a server and Ray take them one by one."""
    whole = engine.name in ("openai", "ray")
    return [requests] if whole else batched(requests, PORTION)


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
