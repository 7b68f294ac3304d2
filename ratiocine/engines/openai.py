"""The HTTP engine: servers with OpenAI's chat completions API, such as vLLM, SGLang, llama.cpp or
`transformers serve`.

Each sample is one call. A call is repeated if the server is busy or broken: status 5xx, 408, 409,
425 or 429, no connection, a timeout, an incomplete JSON body, or an answer without its fields.
Pauses grow exponentially, or follow Retry-After. The first failure is printed at once, further ones
at growing intervals without a usable answer. The run fails once no server has given a usable
answer for `retry_seconds`; a server may therefore restart during a run. A busy server gets fewer
concurrent calls until it keeps up.

A request that alone is refused, or on which the server alone fails `ATTEMPTS` times, becomes a
completion with stop reason `refused` or `failed` and the server's words as its text. The run ends
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
import socket
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

from ratiocine.engines.config import OpenAIConfig
from ratiocine.engines.http import Connection, RetryableError, connection_pool, proxy
from ratiocine.engines.interface import Request
from ratiocine.engines.rate_limit import ConcurrencyLimiter, call_with_retries
from ratiocine.engines.responses import completion_of
from ratiocine.errors import BadInput, Failure
from ratiocine.prompts import CONTROL_TOKEN
from ratiocine.records import Completion

BUSY = (408, 409, 425, 429, 503)
NOT_THE_REQUEST = (401, 403, 404)  # statuses that refuse the caller or the model
# Failed calls of one request, while others are answered, after which it is given up. A server that
# fails on a tenth of its calls at random so loses one answer in a million.
ATTEMPTS = 6
REFUSALS = 8  # refused requests without an answered one that end a run
REPORT_SECONDS = 10.0  # without a usable answer until a failure is printed again; doubled each time
GROUP_SECONDS = 0.02  # completions that arrive this close together are yielded and stored together
Job = tuple[Request, int]  # request, sample
Results = queue.SimpleQueue[Completion | BaseException | None]


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
        self.retries: Counter[str] = Counter()  # by error
        self.report_after = 0.0  # seconds without a usable answer

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
        """Raise BadInput if a server accepts no connection: a wrong address, not a busy server."""
        for url in self.urls:
            try:
                parts = urlsplit(url)
                if proxy(url):
                    continue  # only the proxy knows
                port = parts.port or {"http": 80, "https": 443}[parts.scheme]
                address, timeout = (parts.hostname or "", port), min(10, self.config.timeout)
                socket.create_connection(address, timeout=timeout).close()
            except (KeyError, ValueError):
                raise BadInput(
                    f"{self.setting}.base_url={url} is no address such as http://localhost:8000/v1"
                ) from None
            except OSError as error:
                raise BadInput(
                    f"{self.setting}.base_url={url} does not answer: {error.strerror or error}"
                ) from None

    async def _run(self, jobs: Iterator[Job], results: Results) -> None:
        waiting, concurrency = enumerate(jobs), self.config.concurrency
        postponed = deque[tuple[int, Job]]()
        self.last_answer, self.limiter = time.monotonic(), ConcurrencyLimiter(concurrency)
        self.in_flight = 0
        async with connection_pool(concurrency) as pool:

            async def work() -> None:
                connection = Connection(pool, self.key, self.config.timeout, self.setting)
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
                    completion = await self._completion(connection, *asked, may_wait=may_wait)
                    self.in_flight -= 1
                    if completion is None:
                        postponed.append(asked)
                    elif self.answered is None:
                        await self._hold(completion)
                    else:
                        results.put(completion)
                        while self.refused:
                            results.put(self.refused.pop())

            async with asyncio.TaskGroup() as group:
                for _ in range(concurrency):
                    group.create_task(work())
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
        self, connection: Connection, index: int, job: Job, *, may_wait: bool
    ) -> Completion | None:
        """The completion of one sample, with retries; the servers take turns. With `may_wait`, None
        after `ATTEMPTS` calls without any answer of a server: other requests come first."""
        turns, retry_seconds = itertools.count(index), self.config.retry_seconds
        attempts = 0

        async def call() -> Completion | None:
            nonlocal attempts
            url = self.urls[next(turns) % len(self.urls)]
            async with self.limiter:
                try:
                    return await self._call(connection, url, job)
                except RetryableError as error:
                    attempts += error.of_request
                    if attempts >= ATTEMPTS and may_wait and self.answered is None:
                        return None
                    if attempts < ATTEMPTS or not await self._answers(connection, url):
                        raise
                    words = self._redacted(str(error))
            return Completion(job[0].id, words, "failed", 0, 0, 0.0, sample=job[1])

        try:
            return await call_with_retries(
                call, lambda: time.monotonic() - self.last_answer > retry_seconds, self._retry
            )
        except RetryableError as error:
            raise Failure(
                f"{' and '.join(self.urls)}: no usable answer for {retry_seconds:.0f} s: "
                f"{self._redacted(str(error))}"
            ) from None

    def _retry(self, error: RetryableError) -> None:
        """Count a failed call that is repeated; print the first, and others the more rarely the
        longer no call succeeds."""
        self.retries[error.kind] += 1
        waited = time.monotonic() - self.last_answer
        if waited < self.report_after:
            return
        self.report_after = max(REPORT_SECONDS, 2 * waited)
        left = max(0.0, self.config.retry_seconds - waited)
        words = self._redacted(" ".join(str(error).split()))
        _print(
            f"{words}; calls are repeated, for {left:.0f} s more without a usable answer "
            f"({self.setting}.retry_seconds={self.config.retry_seconds:g})"
        )

    async def _answers(self, connection: Connection, url: str) -> bool:
        """Whether the server answers a request that it has answered before."""
        if self.answered is None:
            return False
        try:
            status, text, _ = await connection.call(f"{url}/chat/completions", self.answered)
            return status == 200 and bool(json.loads(text)["choices"])
        except (RetryableError, ValueError, LookupError, TypeError):
            return False

    async def _call(self, connection: Connection, url: str, job: Job) -> Completion:
        """One call for one completion."""
        started = time.perf_counter()
        body = json.dumps(self._body(job)).encode()
        status, text, after = await connection.call(f"{url}/chat/completions", body)
        if status >= 500 or status in BUSY:
            if status in BUSY:
                self.limiter.decrease()
            of_request = status not in (*BUSY, 502, 504)
            raise RetryableError(f"HTTP {status}", text[:200], after=after, of_request=of_request)
        if status != 200:
            message = self._redacted(" ".join(text[:300].split()))
            if status not in NOT_THE_REQUEST:
                return Completion(job[0].id, message, "refused", 0, 0, 0.0, sample=job[1])
            hint = await self._hint(connection, url, status)
            raise BadInput(f"{url} refuses with HTTP {status}: {message}{hint}")
        try:
            answer = json.loads(text)
            seconds = time.perf_counter() - started
            completion = completion_of(*job, answer, seconds, self.config.complete)
        except ValueError:
            raise RetryableError("incomplete JSON", repr(text[-80:])) from None
        self.last_answer, self.answered = time.monotonic(), body
        self.report_after = min(self.report_after, REPORT_SECONDS)
        self.limiter.increase()
        return completion

    async def _hint(self, connection: Connection, url: str, status: int) -> str:
        """What to do about a refusal: the variable with the key, or the models of the server."""
        if status in (401, 403):
            state = "set" if self.key else "not set"
            return f" (the key is read from {self.config.api_key_env}, which is {state})"
        try:
            models = json.loads((await connection.call(f"{url}/models"))[1])["data"]
            names = [str(model["id"]) for model in models]
        except (RetryableError, ValueError, LookupError, TypeError):
            complete = urlsplit(url).path.endswith("/v1")
            return "" if complete else f" (no /v1? try {self.setting}.base_url={url}/v1)"
        if self.config.model in names:
            return ""
        return f" (models of this server: {', '.join(names[:20]) or 'none'})"

    def _body(self, job: Job) -> dict[str, Any]:
        request, sample = job
        body: dict[str, Any] = {
            "model": self.config.model,
            "messages": [dict(message) for message in request.messages],
            "max_tokens": request.max_new_tokens,
            "temperature": request.temperature,
            "seed": request.seed_of(sample),
        }
        if request.temperature:  # 1 too: a server has its own default
            body["top_p"] = request.top_p
        if request.thinking is not None:
            body["chat_template_kwargs"] = {"enable_thinking": request.thinking}
        renamed = self.config.rename_params or {}
        body = {
            renamed.get(name, name): value
            for name, value in body.items()
            if name not in self.config.drop_params
        }
        for name, value in (self.config.extra_body or {}).items():
            both = isinstance(value, dict) and isinstance(body.get(name), dict)
            body[name] = {**body[name], **value} if both else value
        return body

    def _redacted(self, text: str) -> str:
        return text.replace(self.key, "[key]") if self.key else text


def _print(words: str) -> None:
    """Print a line beside a progress bar."""
    start = "\n" if sys.stderr.isatty() else ""
    sys.stderr.write(f"{start}engine=openai: {words}\n")


def _kept_back(job: Job) -> Completion | None:
    """The completion of a request with a control token, which a server would take for one; None if
    the request can be sent."""
    request, sample = job
    for message in request.messages:
        if found := CONTROL_TOKEN.search(message["content"]):
            words = f"not sent: the text contains the control token {found[0]}"
            return Completion(request.id, words, "refused", 0, 0, 0.0, sample=sample)
    return None


def _run_loop(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None], results: Results) -> None:
    """Run the task and append its end to the results: None, or the error."""
    try:
        loop.run_until_complete(task)
        results.put(None)
    except BaseExceptionGroup as errors:
        results.put(errors.exceptions[0])
    except BaseException as error:
        results.put(error)
