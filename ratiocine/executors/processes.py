"""A function over many items in several processes of this machine, with results in order."""

from __future__ import annotations

import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, TypeVar

from ratiocine.errors import Failure
from ratiocine.executors.local import end_with_parent

T = TypeVar("T")
R = TypeVar("R")
AHEAD = 4  # items for each process that are waiting or done, while an earlier one is not

_function: Callable[[Any], Any] | None = None  # of a worker process


def num_cpus() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def map_in_processes(
    function: Callable[[T], R], items: Iterable[T], num_workers: int
) -> Iterator[R]:
    """The results of a function, in the order of the items; with one worker in this process.

    Each process gets the function once, so that it may hold much. Raises its errors, and Failure if
    a process is killed.
    """
    if num_workers == 1:
        yield from map(function, items)
        return
    # A forked process shares what the function holds.
    context = get_context("fork" if sys.platform == "linux" else "spawn")
    pool = ProcessPoolExecutor(num_workers, context, _initialize, (function,))
    running: deque[Future[R]] = deque()
    try:
        for item in items:
            running.append(pool.submit(_call, item))
            if len(running) >= AHEAD * num_workers:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    except BrokenProcessPool:
        raise Failure("a process was lost (killed, or out of memory); try again") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _initialize(function: Callable[[Any], Any]) -> None:
    global _function
    _function = function
    end_with_parent()
    # The parent handles interrupts, and a forked process has its handlers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2):
        signal.signal(number, signal.SIG_DFL)


def _call(item: Any) -> Any:
    assert _function is not None
    return _function(item)
