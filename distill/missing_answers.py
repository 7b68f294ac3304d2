"""The requests that the answer cache cannot answer, as an engine gets them."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from distill.answer_cache import Answer, AnswerCache, answer_key
from distill.spending import Spending
from ratiocine.engines import Engine, EngineConfig, OpenAIEngine, Request
from ratiocine.errors import BadInput
from ratiocine.hashing import batched
from ratiocine.records import Completion

LOOKUP = 64  # requests whose answers are looked up in one query
PORTION = 8192  # requests given to a local engine at once: it batches similar ones together


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


def portions(engine: Engine, requests: Iterable[Request]) -> Iterable[Iterable[Request]]:
    """The requests that an engine gets at once: a server and Ray take them one by one."""
    whole = engine.name in ("openai", "ray")
    return [requests] if whole else batched(requests, PORTION)
