"""The HTTP engine: any server that speaks OpenAI's chat completions, such as vLLM, SGLang, llama.cpp or `transformers serve`.

Each sample is one call. A call that meets a busy or broken server (5xx, 408, 429, no connection, no answer in time, an answer
that is no whole JSON) is made again, further apart each time or when the server says (Retry-After), until the server has been
of no use for `patience` seconds: a server may be restarted under a run. A busy one is asked fewer things at once, until it
keeps up. Any other refusal ends the run with the server's own words, or is kept as a trace where that is wanted.

Token counts are the server's; where it gives none, four characters count as a token. Stop strings are applied here, after the
thinking: a server would also apply them inside it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import queue
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from typing import Any, Literal
from urllib.parse import urlsplit

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from ratiocine.engines.config import OpenAIConfig
from ratiocine.engines.http import Line, RetryableError, lines, proxy
from ratiocine.engines.interface import Request
from ratiocine.errors import BadInput, Failure
from ratiocine.prompts import OPEN, after_thinking, render
from ratiocine.records import Completion

BUSY = (408, 409, 425, 429, 503)
NOT_HERE = (401, 403, 404)  # a refusal of the caller or the model, not of what is asked
LATER = wait_random_exponential(multiplier=0.5, max=20)
TOGETHER = 0.02  # seconds: answers that come so close after one are handed over with it, and made durable together
LONGEST = 120.0  # seconds that a server's Retry-After is believed
Job = tuple[Request, int]


class ConcurrencyLimiter:
    """How many calls may be open: halved, at most once a second, when the server is busy, and one more for each round of calls
    that it answers."""

    def __init__(self, most: int) -> None:
        self.most, self.allowed, self.open, self.changed = most, float(most), 0, 0.0
        self.waiting: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> None:
        while self.open >= self.allowed:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.waiting.append(turn)
            await turn
        self.open += 1

    async def __aexit__(self, *error: object) -> None:
        self.open -= 1
        for _ in range(min(len(self.waiting), max(0, int(self.allowed) - self.open))):
            turn = self.waiting.popleft()
            if not turn.done():
                turn.set_result(None)

    def answered(self) -> None:
        self.allowed = min(self.most, self.allowed + 1 / self.allowed)

    def busy(self) -> None:
        if time.monotonic() - self.changed >= 1:
            self.allowed, self.changed = max(1.0, self.allowed / 2), time.monotonic()


class OpenAIEngine:
    """`generate` over one or more servers that hold the same model.

    `settings.urls` are bases such as `http://localhost:8000/v1`; `model` is the name they know it by; the key is read from the
    environment variable `key_env` and is never written anywhere. At most `concurrency` calls are open at once, each for
    `timeout` seconds. With `keep_refused`, what a server will not do (a prompt over its context, say) comes back as a trace
    that has stopped with "refused" and holds the server's words.
    """

    name = "openai"

    def __init__(self, settings: OpenAIConfig, *, keep_refused: bool = False) -> None:
        self.urls, self.model, self.key_env = (
            [url.rstrip("/") for url in settings.urls],
            settings.model,
            settings.api_key_env,
        )
        self.key, self.concurrency = os.environ.get(settings.api_key_env), settings.concurrency
        self.timeout, self.patience, self.keep_refused = (
            settings.timeout,
            settings.retry_seconds,
            keep_refused,
        )
        self.errors: Counter[str] = Counter()  # calls that were made again, by what was wrong

    def generate(self, requests: Iterable[Request]) -> Iterator[list[Completion]]:
        """Traces of all samples, as the servers answer; all that have come since the last ones together. Requests are drawn one
        by one, in their order. Raises BadInput where a server refuses a request for good, Failure where none has been of use
        for `patience` seconds."""
        found: queue.SimpleQueue[Completion | BaseException | None] = queue.SimpleQueue()
        loop = asyncio.SelectorEventLoop()  # what libcurl can be driven by, on every system
        task = loop.create_task(self._all(((r, s) for r in requests for s in r.samples), found))
        thread = threading.Thread(target=_run, args=(loop, task, found), daemon=True)
        thread.start()
        try:
            while True:
                group = [found.get()]
                time.sleep(TOGETHER)
                group += [found.get_nowait() for _ in range(found.qsize())]
                if traces := [item for item in group if isinstance(item, Completion)]:
                    yield traces
                if isinstance(group[-1], BaseException):
                    raise group[-1]
                if group[-1] is None:
                    return
        finally:
            loop.call_soon_threadsafe(task.cancel)
            thread.join()
            loop.close()

    def check(self) -> None:
        """Raise BadInput where a server does not even take a connection: that is a wrong address, not a busy server."""
        for url in self.urls:
            parts = urlsplit(url)
            if proxy(url):
                continue  # whether it answers is for the proxy to say
            try:
                port = parts.port or {"http": 80, "https": 443}[parts.scheme]
                socket.create_connection(
                    (parts.hostname or "", port), timeout=min(10, self.timeout)
                ).close()
            except (KeyError, ValueError):
                raise BadInput(
                    f"engine.base_url={url} is no address such as http://localhost:8000/v1"
                ) from None
            except OSError as error:
                raise BadInput(
                    f"engine.base_url={url} does not answer: {error.strerror or error}"
                ) from None

    async def _all(self, jobs: Iterator[Job], found: queue.SimpleQueue[Any]) -> None:
        waiting = enumerate(jobs)
        self.useful, self.gate = time.monotonic(), ConcurrencyLimiter(self.concurrency)
        async with lines(self.concurrency) as multi:

            async def work() -> None:
                line = Line(multi, self.key, self.timeout)
                for index, job in waiting:
                    found.put(await self._one(line, index, job))

            async with asyncio.TaskGroup() as group:
                for _ in range(self.concurrency):
                    group.create_task(work())

    async def _one(self, line: Line, index: int, job: Job) -> Completion:
        """The answer to one call, however often it must be made; the servers take turns."""
        turns = itertools.count(index)

        async def once() -> Completion:
            async with self.gate:
                return await self._once(line, self.urls[next(turns) % len(self.urls)], job)

        try:
            return await once()
        except RetryableError as error:
            failed: RetryableError | None = error

        async def again() -> Completion:
            nonlocal failed
            if (
                failed is not None
            ):  # the first call, made without the machinery: nearly all need no other
                error, failed = failed, None
                raise error
            return await once()

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(RetryableError),
            wait=_pause,
            stop=self._of_no_use,
            before_sleep=self._note,
            reraise=True,
        )
        try:
            return await retrying(again)
        except RetryableError as error:
            said = self._redacted(str(error))
            raise Failure(
                f"{' and '.join(self.urls)}: of no use for {self.patience:.0f} s: {said}"
            ) from None

    async def _once(self, line: Line, url: str, job: Job) -> Completion:
        started = time.perf_counter()
        status, words = await self._call(line, url, self._body(job))
        if status != 200:
            said = self._redacted(" ".join(words[:300].split()))
            if self.keep_refused and status not in NOT_HERE:
                return Completion(job[0].id, said, "refused", 0, 0, 0.0, sample=job[1])
            raise BadInput(
                f"{url} refuses with HTTP {status}: {said}{await self._hint(line, url, status)}"
            )
        try:
            trace = self._trace(job, json.loads(words), time.perf_counter() - started)
        except ValueError:
            raise RetryableError("no whole JSON", repr(words[-80:])) from None
        self.useful = time.monotonic()
        self.gate.answered()
        return trace

    async def _call(self, line: Line, url: str, body: Any) -> tuple[int, str]:
        """Status and text of one answer."""
        status, text, after = await line.call(f"{url}/chat/completions", json.dumps(body).encode())
        if status >= 500 or status in BUSY:
            if status in BUSY:
                self.gate.busy()
            raise RetryableError(f"HTTP {status}", text[:200], after=after)
        return status, text

    async def _hint(self, line: Line, url: str, status: int) -> str:
        """What to do about a refusal: the variable that holds the key, or the models that are served."""
        if status in (401, 403):
            return f" (the key is read from {self.key_env}, which is {'set' if self.key else 'not set'})"
        try:
            names = [
                str(model["id"])
                for model in json.loads((await line.call(f"{url}/models"))[1])["data"]
            ]
        except (RetryableError, ValueError, LookupError, TypeError):
            return ""
        return (
            f" (it serves: {', '.join(names[:20]) or 'nothing'})" if self.model not in names else ""
        )

    def _of_no_use(self, state: RetryCallState) -> bool:
        return time.monotonic() - self.useful > self.patience

    def _note(self, state: RetryCallState) -> None:
        assert state.outcome is not None
        error = state.outcome.exception()
        assert isinstance(error, RetryableError)
        self.errors[error.kind] += 1

    def _body(self, job: Job) -> dict[str, Any]:
        request, sample = job
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [dict(m) for m in request.messages],
            "max_tokens": request.max_new_tokens,
            "temperature": request.temperature,
            "seed": request.seed_of(sample),
        }
        if request.top_p < 1:
            body["top_p"] = request.top_p
        if request.thinking is not None:
            body["chat_template_kwargs"] = {"enable_thinking": request.thinking}
        return body

    def _trace(self, job: Job, answer: Any, seconds: float) -> Completion:
        request, sample = job
        try:
            choice = answer["choices"][0]
            message = choice["message"]
            text = message.get("content") or ""
            reasoning = message.get("reasoning_content") or message.get("reasoning")
            usage = answer.get("usage") or {}
            cut = choice.get("finish_reason") == "length"
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise RetryableError(
                "an answer without its fields", f"{type(error).__name__} {error}"
            ) from None
        if reasoning:
            text = (
                render(text, reasoning.strip())
                if text or not cut
                else f"{OPEN}\n{reasoning.strip()}"
            )
        n_completion = int(usage.get("completion_tokens") or max(1, len(text) // 4))
        n_prompt = int(
            usage.get("prompt_tokens") or sum(len(m["content"]) for m in request.messages) // 4
        )
        at = after_thinking(text, request.stop)
        stop: Literal["stop", "length"] = "length" if cut and at is None else "stop"
        return Completion(
            request.id, text[:at], stop, n_prompt, n_completion, round(seconds, 4), sample=sample
        )

    def _redacted(self, text: str) -> str:
        return text.replace(self.key, "[key]") if self.key else text


def _pause(state: RetryCallState) -> float:
    """Seconds before the next try: what the server has asked for, or longer each time, with jitter."""
    assert state.outcome is not None
    error = state.outcome.exception()
    assert isinstance(error, RetryableError)
    return max(min(error.after, LONGEST), LATER(state))


def _run(
    loop: asyncio.AbstractEventLoop, task: asyncio.Task[None], found: queue.SimpleQueue[Any]
) -> None:
    """Run the calls to their end, and put that end into the queue."""
    try:
        loop.run_until_complete(task)
        found.put(None)
    except BaseExceptionGroup as errors:
        found.put(errors.exceptions[0])
    except BaseException as error:
        found.put(error)
