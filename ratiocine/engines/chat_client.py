"""Single calls of the chat completions API, and the meaning of their statuses."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ratiocine.engines.config import OpenAIConfig
from ratiocine.engines.http import Connection, RetryableError, redacted
from ratiocine.engines.payload import Job
from ratiocine.engines.responses import completion_of
from ratiocine.errors import BadInput
from ratiocine.records import Completion

if TYPE_CHECKING:
    from pycurl import AsyncCurlMulti

BUSY = (408, 409, 425, 429, 503)
NOT_THE_REQUEST = (401, 403, 404)  # statuses that refuse the caller or the model


class ChatClient:
    """One call at a time to servers of the same model."""

    def __init__(
        self, config: OpenAIConfig, key: str | None, pool: AsyncCurlMulti, setting: str
    ) -> None:
        self.config, self.key, self.setting = config, key, setting
        self.connection = Connection(pool, key, config.timeout, setting)

    async def complete(self, url: str, job: Job, body: bytes) -> Completion:
        """The server's completion, or one with stop reason `refused` and the server's words.

        Raises RetryableError without a usable answer, BadInput if the server refuses the caller or
        the model.
        """
        started = time.perf_counter()
        status, text, after = await self.connection.call(f"{url}/chat/completions", body)
        if status >= 500 or status in BUSY:
            raise RetryableError(
                f"HTTP {status}",
                text[:200],
                after=after,
                busy=status in BUSY,
                of_request=status not in (*BUSY, 502, 504),
            )
        if status != 200:
            message = redacted(" ".join(text[:300].split()), self.key)
            if status not in NOT_THE_REQUEST:
                return Completion(job[0].id, message, "refused", 0, 0, 0.0, sample=job[1])
            hint = await self._hint(url, status)
            raise BadInput(f"{url} refuses with HTTP {status}: {message}{hint}")
        try:
            answer = json.loads(text)
            seconds = time.perf_counter() - started
            return completion_of(*job, answer, seconds, self.config.complete)
        except ValueError:
            raise RetryableError("incomplete JSON", repr(text[-80:])) from None

    async def answers(self, url: str, body: bytes) -> bool:
        """Whether the server answers a request."""
        try:
            status, text, _ = await self.connection.call(f"{url}/chat/completions", body)
            return status == 200 and bool(json.loads(text)["choices"])
        except (RetryableError, ValueError, LookupError, TypeError):
            return False

    async def _hint(self, url: str, status: int) -> str:
        """What to do about a refusal: the variable with the key, or the models of the server."""
        if status in (401, 403):
            state = "set" if self.key else "not set"
            return f" (the key is read from {self.config.api_key_env}, which is {state})"
        try:
            models = json.loads((await self.connection.call(f"{url}/models"))[1])["data"]
            names = [str(model["id"]) for model in models]
        except (RetryableError, ValueError, LookupError, TypeError):
            complete = urlsplit(url).path.endswith("/v1")
            return "" if complete else f" (no /v1? try {self.setting}.base_url={url}/v1)"
        if self.config.model in names:
            return ""
        return f" (models of this server: {', '.join(names[:20]) or 'none'})"
