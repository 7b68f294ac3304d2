"""Any engine in several processes of this machine, each with a GPU of its own where they are to have one."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from ratiocine.engines.interface import Engine, Request, blocks
from ratiocine.errors import Failure
from ratiocine.executors import end_with_parent
from ratiocine.records import Completion

_engine: Engine | Exception | None = None  # of a process of the pool, or why it has none


def _prepare(make: Callable[[], Engine], names: Any) -> None:
    global _engine
    end_with_parent()
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # of the keyboard: the process that waits for this one ends it
    os.environ["CUDA_VISIBLE_DEVICES"] = names.get()
    try:
        _engine = make()
    except Exception as error:
        _engine = error


def _answered(requests: list[Request]) -> list[Completion]:
    if isinstance(_engine, Exception):
        raise _engine
    assert _engine is not None
    return [trace for traces in _engine.generate(requests) for trace in traces]


class PoolEngine:
    """`generate` by `processes` processes, each with the engine that `make` makes there."""

    name = "pool"

    def __init__(self, make: Callable[[], Engine], processes: int, gpus: bool) -> None:
        self.make, self.processes, self.gpus = make, processes, gpus

    def generate(self, requests: Iterable[Request]) -> Iterator[list[Completion]]:
        """Traces of all samples, a block of requests at a time. Raises what the processes' engines raise."""
        spawned = multiprocessing.get_context("spawn")
        names = spawned.Queue()
        seen = os.environ.get("CUDA_VISIBLE_DEVICES")
        for name in (
            (seen.split(",") if seen else map(str, range(self.processes)))
            if self.gpus
            else [""] * self.processes
        ):
            names.put(name)
        pool = ProcessPoolExecutor(self.processes, spawned, _prepare, (self.make, names))
        try:
            running: set[Future[list[Completion]]] = set()
            for block in blocks(requests, self.processes):
                running.add(pool.submit(_answered, block))
                if len(running) > 2 * self.processes:
                    ended, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from (one.result() for one in ended)
            while running:
                ended, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (one.result() for one in ended)
        except BrokenProcessPool:
            raise Failure(
                "a process that answers was lost (killed, or out of memory); what was answered is kept, and the same command "
                "goes on from there"
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()
