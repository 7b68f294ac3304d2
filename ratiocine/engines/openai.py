"""The HTTP engine: servers with OpenAI's chat completions API, such as vLLM, SGLang, llama.cpp or
`transformers serve`.

Each sample is one call. A call is repeated if the server is busy or broken: status 5xx, 408, 409,
425 or 429, no connection, a timeout, an incomplete JSON body, or an answer without its fields.
Pauses grow exponentially, or follow Retry-After. The first failure is printed at once, further ones
at growing intervals without a usable answer. The run fails once no server has given a usable
answer for `retry_seconds`; a server may therefore restart during a run. A busy server gets fewer
concurrent calls until it keeps up.

A request that alone is refused, or on which the server alone fails, becomes a completion with stop
reason `refused` or `failed` and the server's words as its text, and is named. It fails alone if the
server answers, right after its failures, a request that it has answered before: once after
`ATTEMPTS` failures that are told of the request (status 500, an answer without its fields),
`ATTEMPTS` times in a row after as many of any other kind: a busy server's refusal of this call and
not of the next one is chance, a series of them is not. The run ends
with these words if the server refuses the caller, the model, or `REFUSALS` requests before it has
answered any.

Token counts are the server's; without them four characters count as one token. Stop strings are
applied here, after the reasoning: a server would apply them within it as well.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import queue
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator

from ratiocine.engines.chat_client import ChatClient
from ratiocine.engines.config import OpenAIConfig
from ratiocine.engines.http import RetryableError, check_connection, connection_pool, redacted
from ratiocine.engines.interface import Request
from ratiocine.engines.open_calls import OpenCalls
from ratiocine.engines.payload import Job, control_token, payload
from ratiocine.engines.rate_limit import ConcurrencyLimiter, call_with_retries
from ratiocine.engines.responses import CHARACTERS
from ratiocine.errors import BadInput, Failure
from ratiocine.records import Completion

# Failed calls of one request, while others are answered, after which it is given up. A server that
# fails on a tenth of its calls at random so loses one answer in a million; one that is busy for
# half of them, one in 80,000: after 5 failures, 6 more with an answered probe after each.
ATTEMPTS = 6
REFUSALS = 8  # refused requests without an answered one that end a run
REPORT_SECONDS = 10.0  # without a usable answer until a failure is printed again; doubled each time
GROUP_SECONDS = 0.02  # completions that arrive this close together are yielded and stored together
CONNECT_SECONDS = 0.005  # between first calls: servers in Python keep 5 connections waiting
Results = queue.SimpleQueue[Completion | BaseException | None]


DEFAULT_KEY = OpenAIConfig.model_fields["api_key_env"].default


class OpenAIEngine:
    """`generate` with one or more servers of the same model.

    `config.urls` are base URLs such as `http://localhost:8000/v1`; `model` is the model's name
    there. The key is read from the environment variable `api_key_env` and never written anywhere.
    Messages name the keys of the configuration as `<setting>.base_url`. With `has_room` a request
    is taken only once this is true.
    """

    name = "openai"

    def __init__(
        self,
        config: OpenAIConfig,
        setting: str = "engine",
        has_room: Callable[[], bool] | None = None,
    ) -> None:
        self.config, self.setting, self.has_room = config, setting, has_room
        self.urls = [url.rstrip("/") for url in config.urls]
        self.key = os.environ.get(config.api_key_env)
        if self.key is None and config.api_key_env != DEFAULT_KEY:
            raise BadInput(
                f"{setting}.api_key_env={config.api_key_env}: there is no such environment variable"
            )
        self.retries: Counter[str] = Counter()  # by error; "probe": of an answered request
        self.report_after = 0.0  # seconds without a usable answer
        self.estimates = False  # of tokens, as a server does not count them

    def generate(self, requests: Iterable[Request]) -> Iterator[list[Completion]]:
        """Completions of all samples, as they arrive; requests are consumed in their order.

        Raises BadInput if a server refuses all requests, Failure after `retry_seconds` without a
        usable answer.
        """
        self.answered: bytes | None = None  # the body of a request that was answered
        self.refused: list[Completion] = []  # held back until the server has answered any request
        results: Results = queue.SimpleQueue()
        loop = asyncio.SelectorEventLoop()  # the loop that libcurl supports on every system
        jobs = ((request, sample) for request in requests for sample in request.samples)
        task = loop.create_task(self._run(jobs, results))
        thread = threading.Thread(target=_run_loop, args=(loop, task, results), daemon=True)
        thread.start()
        try:
            while True:
                group = [results.get()]
                time.sleep(GROUP_SECONDS)
                group += [results.get_nowait() for _ in range(results.qsize())]
                if completions := [item for item in group if isinstance(item, Completion)]:
                    yield completions
                if isinstance(group[-1], BaseException):
                    raise group[-1]
                if group[-1] is None:
                    return
        finally:
            loop.call_soon_threadsafe(task.cancel)
            thread.join()
            loop.close()

    def check_connection(self) -> None:
        """Raise BadInput if a server accepts no connection."""
        for url in self.urls:
            check_connection(url, self.config.timeout, self.setting)

    async def _run(self, jobs: Iterator[Job], results: Results) -> None:
        waiting, concurrency = enumerate(jobs), self.config.concurrency
        postponed = deque[tuple[int, Job]]()
        self.last_answer, self.limiter = time.monotonic(), ConcurrencyLimiter(concurrency)
        self.in_flight = 0
        timeout = f"{self.setting}.timeout={self.config.timeout:g}"
        self.calls = OpenCalls(timeout, _print)
        async with connection_pool(concurrency) as pool:

            async def work(number: int) -> None:
                await asyncio.sleep(number * CONNECT_SECONDS)
                client = ChatClient(self.config, self.key, pool, self.setting)
                while True:
                    await self._room(postponed)
                    new = next(waiting, None)
                    if new is None and not postponed:
                        return
                    asked = new or postponed.popleft()
                    if kept := _kept_back(asked[1]):
                        results.put(kept)
                        continue
                    may_wait = new is not None and len(postponed) < REFUSALS
                    self.in_flight += 1
                    completion = await self._completion(client, *asked, may_wait=may_wait)
                    self.in_flight -= 1
                    if completion is None:
                        postponed.append(asked)
                    elif self.answered is None:
                        await self._hold(completion)
                    else:
                        results.put(completion)
                        while self.refused:
                            results.put(self.refused.pop())

            async with self.calls.watched(), asyncio.TaskGroup() as group:
                for number in range(concurrency):
                    group.create_task(work(number))
        if self.refused:
            raise self._all_refused()

    async def _room(self, postponed: Collection[object]) -> None:
        """Wait for `has_room`. Held-back and postponed requests take room that only further calls
        can free."""
        while self.has_room is not None and not self.has_room():
            if not self.in_flight and (self.refused or postponed):
                return
            await asyncio.sleep(GROUP_SECONDS)

    async def _hold(self, refused: Completion) -> None:
        """Hold back a refused completion. From `REFUSALS` on no new request is made until an open
        one is answered; raises BadInput if none is."""
        if not self.refused:
            _print(f"the server refuses a request: {refused.text}")
        self.refused.append(refused)
        while self.answered is None and len(self.refused) >= REFUSALS:
            if not self.in_flight:
                raise self._all_refused()
            await asyncio.sleep(GROUP_SECONDS)

    def _all_refused(self) -> BadInput:
        return BadInput(
            f"{' and '.join(self.urls)} refuses every request: {self.refused[0].text} (parameters "
            f"can be left out, renamed or added: {self.setting}.drop_params, "
            f"{self.setting}.rename_params, {self.setting}.extra_body)"
        )

    async def _completion(
        self, client: ChatClient, index: int, job: Job, *, may_wait: bool
    ) -> Completion | None:
        """The completion of one sample, with retries; the servers take turns. With `may_wait`, None
        after `ATTEMPTS` calls without any answer of a server: other requests come first."""
        turns, retry_seconds = itertools.count(index), self.config.retry_seconds
        failures, n_alone, url = Counter[bool](), 0, ""

        async def fails_alone() -> bool:
            """Whether the server still answers what it has answered."""
            if self.answered is None:
                return False
            self.retries["probe"] += 1
            return await client.answers(url, self.answered)

        def failed(error: RetryableError) -> Completion:
            words = redacted(" ".join(str(error).split()), self.key)
            _print(f"{job[0].id} failed, while the server answers others: {words}")
            return Completion(job[0].id, words, "failed", 0, 0, 0.0, sample=job[1])

        async def call() -> Completion | None:
            nonlocal n_alone, url
            url = self.urls[next(turns) % len(self.urls)]
            async with self.limiter:
                try:
                    return await self._call(client, url, job)
                except RetryableError as error:
                    failures[error.of_request] += 1
                    if failures[error.of_request] < ATTEMPTS:
                        raise
                    if may_wait and self.answered is None:
                        return None
                    n_alone = n_alone + 1 if await fails_alone() else 0
                    if n_alone < (1 if error.of_request else ATTEMPTS):
                        raise
                    return failed(error)

        try:
            return await call_with_retries(
                call, lambda: time.monotonic() - self.last_answer > retry_seconds, self._retry
            )
        except RetryableError as error:
            # All that a continued run asks may be what a server cannot answer.
            if self.answered is None and self.in_flight <= REFUSALS:
                self.answered = self._trivial_body()
            if await fails_alone():
                return failed(error)
            raise Failure(
                f"{' and '.join(self.urls)}: no usable answer for {retry_seconds:.0f} s: "
                f"{redacted(error, self.key)}; answers are kept, and the same command goes on"
            ) from None

    def _trivial_body(self) -> bytes:
        """A request that every working server answers."""
        request = Request("trivial", ({"role": "user", "content": "What is 1 + 1?"},), 1)
        return json.dumps(payload(self.config, (request, 0))).encode()

    def _retry(self, error: RetryableError) -> None:
        """Count a failed call that is repeated; print the first, and others the more rarely the
        longer no call succeeds."""
        self.retries[error.kind] += 1
        waited = time.monotonic() - self.last_answer
        if waited < self.report_after:
            return
        self.report_after = max(REPORT_SECONDS, 2 * waited)
        left = max(0.0, self.config.retry_seconds - waited)
        words = redacted(" ".join(str(error).split()), self.key)
        _print(
            f"{words}; calls are repeated, for {left:.0f} s more without a usable answer "
            f"({self.setting}.retry_seconds={self.config.retry_seconds:g})"
        )

    async def _call(self, client: ChatClient, url: str, job: Job) -> Completion:
        """One call for one completion."""
        body = json.dumps(payload(self.config, job)).encode()
        try:
            with self.calls.to(url):
                completion = await client.complete(url, job, body)
        except RetryableError as error:
            if error.busy:
                self.limiter.decrease()
            raise
        if completion.n_completion:  # none if refused; `stop` may be the server's own word
            self.last_answer, self.answered = time.monotonic(), body
            self.report_after = min(self.report_after, REPORT_SECONDS)
            self.limiter.increase()
            self._note_estimates(completion)
        return completion

    def _note_estimates(self, completion: Completion) -> None:
        """Say once that tokens, and with them FLOPs and prices, are estimates."""
        if not completion.counted and not self.estimates:
            self.estimates = True
            _print(
                "the server sends no `usage`: tokens, and with them FLOPs and prices, are "
                f"estimated at {CHARACTERS} characters a token"
            )


def _print(words: str) -> None:
    """Print a line beside a progress bar."""
    start = "\n" if sys.stderr.isatty() else ""
    sys.stderr.write(f"{start}engine=openai: {words}\n")


def _kept_back(job: Job) -> Completion | None:
    """The completion of a request with a control token; None if the request can be sent."""
    request, sample = job
    if (token := control_token(request)) is None:
        return None
    words = f"not sent: the text contains the control token {token}"
    return Completion(request.id, words, "refused", 0, 0, 0.0, sample=sample)


def _run_loop(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None], results: Results) -> None:
    """Run the task and append its end to the results: None, or the error."""
    try:
        loop.run_until_complete(task)
        results.put(None)
    except BaseExceptionGroup as errors:
        results.put(errors.exceptions[0])
    except BaseException as error:
        results.put(error)
