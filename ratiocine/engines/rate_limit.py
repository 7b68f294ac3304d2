"""Concurrency limit and retry policy of calls to busy servers."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from ratiocine.engines.http import RetryableError

BACKOFF = wait_random_exponential(multiplier=0.5, max=20)
MAX_RETRY_AFTER = 120.0  # seconds; a server that asks for more is called sooner
T = TypeVar("T")


class ConcurrencyLimiter:
    """Bounds the open calls: additive increase, multiplicative decrease.

    A busy server halves the limit, at most once per second; as many successful calls as the limit
    raise it by one, up to `maximum`.
    """

    def __init__(self, maximum: int) -> None:
        self.maximum, self.limit, self.open, self.decreased = maximum, float(maximum), 0, 0.0
        self.waiting: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> None:
        while self.open >= self.limit:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.waiting.append(turn)
            await turn
        self.open += 1

    async def __aexit__(self, *error: object) -> None:
        self.open -= 1
        for _ in range(min(len(self.waiting), max(0, int(self.limit) - self.open))):
            turn = self.waiting.popleft()
            if not turn.done():
                turn.set_result(None)

    def increase(self) -> None:
        """Raise the limit after a successful call."""
        self.limit = min(self.maximum, self.limit + 1 / self.limit)

    def decrease(self) -> None:
        """Halve the limit after a busy server's answer."""
        if time.monotonic() - self.decreased >= 1:
            self.limit, self.decreased = max(1.0, self.limit / 2), time.monotonic()


async def call_with_retries(
    call: Callable[[], Awaitable[T]],
    give_up: Callable[[], bool],
    on_retry: Callable[[RetryableError], None],
) -> T:
    """The result of `call`, repeated on RetryableError until `give_up`, each time after `on_retry`.

    Waits for Retry-After, or exponentially longer with jitter. Raises the last RetryableError.
    """
    # The first call is made without tenacity's overhead: nearly all succeed at once.
    try:
        return await call()
    except RetryableError as error:
        failed: RetryableError | None = error

    async def next_call() -> T:
        nonlocal failed
        if failed is not None:
            error, failed = failed, None
            raise error
        return await call()

    retrying = AsyncRetrying(
        retry=retry_if_exception_type(RetryableError),
        wait=lambda state: max(min(_error(state).after, MAX_RETRY_AFTER), BACKOFF(state)),
        stop=lambda state: give_up(),
        before_sleep=lambda state: on_retry(_error(state)),
        reraise=True,
    )
    return await retrying(next_call)


def _error(state: RetryCallState) -> RetryableError:
    assert state.outcome is not None
    error = state.outcome.exception()
    assert isinstance(error, RetryableError)
    return error
