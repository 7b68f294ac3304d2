"""Calls to servers that are open, and a line where none of them is answered for long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

SILENT_SECONDS = 30.0  # without an answer until that is printed; doubled each time


class OpenCalls:
    """Open calls by server. `limit` is the setting, as `engine.timeout=600`, that ends one.

    Where answers take long, only silence of twice the longest answer counts.
    """

    def __init__(self, limit: str, tell: Callable[[str], None]) -> None:
        self.limit, self.tell = limit, tell
        self.open: dict[object, tuple[float, str]] = {}
        self.last_end, self.longest, self.report_after = time.monotonic(), 0.0, SILENT_SECONDS

    @contextmanager
    def to(self, url: str) -> Iterator[None]:
        """A call, open within the context; one that raises no error was answered."""
        call, started = object(), time.monotonic()
        self.open[call] = started, url
        try:
            yield
            self.longest = max(self.longest, time.monotonic() - started)
            self.report_after = SILENT_SECONDS
        finally:
            self.last_end = time.monotonic()
            del self.open[call]

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Within the context a line is printed where no call ends for `SILENT_SECONDS`, and further
        ones at growing intervals."""
        watch = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(SILENT_SECONDS / 30)
            if not self.open:
                continue
            now, first = time.monotonic(), min(started for started, _ in self.open.values())
            silent = now - max(first, self.last_end)
            if silent >= max(self.report_after, 2 * self.longest):
                self.report_after = 2 * silent
                self.tell(self._silence(silent, now - first))

    def _silence(self, silent: float, waited: float) -> str:
        urls, n = sorted({url for _, url in self.open.values()}), len(self.open)
        calls = "1 call is open," if n == 1 else f"{n} calls are open, the oldest"
        return (
            f"no answer from {' or '.join(urls)} for {silent:.0f} s: {calls} for {waited:.0f} s "
            f"(at most {self.limit} s)"
        )
