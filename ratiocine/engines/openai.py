"""The HTTP engine: any server that speaks OpenAI's chat completions, such as vLLM, SGLang, llama.cpp or `transformers serve`.

Each sample is one call. A call that meets a busy or broken server (5xx, 408, 429, no connection, no answer in time, an answer
that is no whole JSON) is made again, further apart each time, until the server has been of no use for `patience` seconds: a
server may be restarted under a run. Any other refusal ends the run with the server's own words.

Token counts are the server's; where it gives none, four characters count as a token. Stop strings are applied here, after the
thinking: a server would also apply them inside it.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import random
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ratiocine.engines import Request
from ratiocine.errors import BadInput, Failure
from ratiocine.prompts import OPEN, after_thinking, render
from ratiocine.traces import Trace

if TYPE_CHECKING:
    from aiohttp import ClientSession

BUSY = (408, 409, 425, 429)
Job = tuple[Request, int]


class _Again(Exception):
    """This call may succeed later."""


class OpenAIEngine:
    """`continue_` over one or more servers that hold the same model.

    `urls` are bases such as `http://localhost:8000/v1`; `model` is the name they know it by; the key is read from the
    environment variable `key_env` and is never written anywhere. At most `concurrency` calls are open at once, each for
    `timeout` seconds.
    """

    name = "openai"

    def __init__(
        self, urls: Sequence[str], model: str, *, key_env: str = "OPENAI_API_KEY", concurrency: int = 64, timeout: float = 600,
        patience: float = 600,
    ) -> None:  # fmt: skip
        self.urls, self.model = [url.rstrip("/") for url in urls], model
        self.key, self.concurrency, self.timeout, self.patience = os.environ.get(key_env), concurrency, timeout, patience
        self.repeated = 0  # calls that were made again

    def continue_(self, requests: Sequence[Request]) -> Iterator[list[Trace]]:
        """Traces of all samples, as the servers answer. Raises BadInput where a server refuses a request for good, Failure
        where none has been of use for `patience` seconds."""
        jobs = sorted(((r, s) for r in requests for s in r.samples), key=lambda job: -job[0].budget)
        found: queue.Queue[Trace | BaseException | None] = queue.Queue()
        loop = asyncio.new_event_loop()
        task = loop.create_task(self._all(jobs, found))
        thread = threading.Thread(target=_run, args=(loop, task, found), daemon=True)
        thread.start()
        try:
            while (trace := found.get()) is not None:
                if isinstance(trace, BaseException):
                    raise trace
                yield [trace]
        finally:
            loop.call_soon_threadsafe(task.cancel)
            thread.join()
            loop.close()

    def check(self) -> None:
        """Raise BadInput where a server does not even take a connection: that is a wrong address, not a busy server."""
        for url in self.urls:
            parts = urlsplit(url)
            try:
                port = parts.port or {"http": 80, "https": 443}[parts.scheme]
                socket.create_connection((parts.hostname or "", port), timeout=min(10, self.timeout)).close()
            except (KeyError, ValueError):
                raise BadInput(f"engine.url={url} is no address such as http://localhost:8000/v1") from None
            except OSError as error:
                raise BadInput(f"engine.url={url} does not answer: {error.strerror or error}") from None

    async def _all(self, jobs: Sequence[Job], found: queue.Queue[Any]) -> None:
        import aiohttp

        waiting = iter(enumerate(jobs))
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        timeout, connector = aiohttp.ClientTimeout(total=self.timeout), aiohttp.TCPConnector(limit=0)
        self.useful = time.monotonic()
        async with aiohttp.ClientSession(headers=headers, timeout=timeout, connector=connector) as session:

            async def work() -> None:
                for index, job in waiting:
                    found.put(await self._one(session, index, job))

            async with asyncio.TaskGroup() as group:
                for _ in range(min(self.concurrency, len(jobs))):
                    group.create_task(work())

    async def _one(self, session: ClientSession, index: int, job: Job) -> Trace:
        wait = 0.25
        for attempt in range(1 << 30):
            url = self.urls[(index + attempt) % len(self.urls)]
            started = time.perf_counter()
            try:
                trace = self._trace(job, await self._call(session, url, self._body(job)), time.perf_counter() - started)
                self.useful = time.monotonic()
                return trace
            except _Again as error:
                if time.monotonic() - self.useful > self.patience:
                    raise Failure(f"{url} has been of no use for {self.patience:.0f} s: {self._redacted(str(error))}") from None
                self.repeated += 1
                await asyncio.sleep(wait * (0.5 + random.random()))
                wait = min(2 * wait, 15.0)
        raise AssertionError

    async def _call(self, session: ClientSession, url: str, body: Any) -> Any:
        import aiohttp

        try:
            async with session.post(f"{url}/chat/completions", json=body) as response:
                text = await response.text(errors="replace")
        except (TimeoutError, aiohttp.InvalidURL, aiohttp.ClientError, OSError) as error:
            if isinstance(error, aiohttp.InvalidURL):
                raise BadInput(f"engine.url={url} is no address") from None
            raise _Again(f"{type(error).__name__} {error}".strip()) from None
        if response.status >= 500 or response.status in BUSY:
            raise _Again(f"HTTP {response.status} {text[:200]}")
        if response.status != 200:
            said = " ".join(text[:300].split())
            raise BadInput(f"{url} refuses with HTTP {response.status}: {self._redacted(said)}")
        try:
            return json.loads(text)
        except ValueError:
            raise _Again(f"no whole JSON: {text[-80:]!r}") from None

    def _body(self, job: Job) -> dict[str, Any]:
        request, sample = job
        body: dict[str, Any] = {
            "model": self.model, "messages": [dict(m) for m in request.messages], "max_tokens": request.budget,
            "temperature": request.temperature, "seed": request.stream(sample).getrandbits(31),
        }  # fmt: skip
        if request.top_p < 1:
            body["top_p"] = request.top_p
        if request.thinking is not None:
            body["chat_template_kwargs"] = {"enable_thinking": request.thinking}
        return body

    def _trace(self, job: Job, answer: Any, seconds: float) -> Trace:
        request, sample = job
        try:
            choice = answer["choices"][0]
            message = choice["message"]
            text = message.get("content") or ""
            reasoning = message.get("reasoning_content") or message.get("reasoning")
            usage = answer.get("usage") or {}
            cut = choice.get("finish_reason") == "length"
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise _Again(f"an answer without its fields: {type(error).__name__} {error}") from None
        if reasoning:
            text = render(text, reasoning.strip()) if text or not cut else f"{OPEN}\n{reasoning.strip()}"
        n_completion = int(usage.get("completion_tokens") or max(1, len(text) // 4))
        n_prompt = int(usage.get("prompt_tokens") or sum(len(m["content"]) for m in request.messages) // 4)
        at = after_thinking(text, request.stop)
        stop = "length" if cut and at is None else "stop"
        return Trace(request.id, text[:at], stop, n_prompt, n_completion, round(seconds, 4), sample=sample)  # type: ignore[arg-type]

    def _redacted(self, text: str) -> str:
        return text.replace(self.key, "[key]") if self.key else text


def _run(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None], found: queue.Queue[Any]) -> None:
    """Run the calls to their end, and put that end into the queue."""
    try:
        loop.run_until_complete(task)
        found.put(None)
    except BaseExceptionGroup as errors:
        found.put(errors.exceptions[0])
    except BaseException as error:
        found.put(error)
