"""An engine in several processes of this machine, each with its own GPU if there are GPUs."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.queues import Queue

from ratiocine import startup
from ratiocine.engines.interface import Engine, Feed, Request, blocks
from ratiocine.errors import Failure
from ratiocine.executors import end_with_parent
from ratiocine.records import Completion

_engine: Engine | Exception | None = None  # of a worker process, or the reason why it has none


def _initialize(make: Callable[[], Engine], devices: Queue[str]) -> None:
    """Load the engine of a worker; an error is raised by its first task."""
    global _engine
    startup.begin_imports()
    end_with_parent()
    # An interrupt from the keyboard is handled by the parent, which terminates the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["CUDA_VISIBLE_DEVICES"] = devices.get()
    try:
        _engine = make()
    except Exception as error:
        _engine = error


def _generate(requests: list[Request]) -> list[Completion]:
    if isinstance(_engine, Exception):
        raise _engine
    assert _engine is not None
    return [completion for batch in _engine.generate(requests) for completion in batch]


class PoolEngine:
    """`generate` by worker processes, each with the engine that `make` returns there."""

    name = "pool"

    def __init__(self, make: Callable[[], Engine], workers: int, gpus: bool) -> None:
        self.make, self.workers, self.gpus = make, workers, gpus

    def generate(self, requests: Iterable[Request]) -> Iterator[list[Completion]]:
        """Completions by blocks of requests.

        Raises the errors of the workers' engines, and Failure if a worker is killed.
        """
        spawn = multiprocessing.get_context("spawn")
        devices = spawn.Queue()
        for device in self._visible_devices():
            devices.put(device)
        pool = ProcessPoolExecutor(self.workers, spawn, _initialize, (self.make, devices))
        try:
            running: set[Future[list[Completion]]] = set()
            for block in blocks(requests, self.workers):
                running.add(pool.submit(_generate, block))
                if len(running) > 2 * self.workers:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
                if isinstance(requests, Feed):
                    new = blocks(requests, self.workers)
                    running |= {pool.submit(_generate, block) for block in new}
        except BrokenProcessPool:
            raise Failure(
                "a worker process was lost (killed, or out of memory); finished completions are "
                "stored, and the same command resumes"
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()

    def _visible_devices(self) -> list[str]:
        """CUDA_VISIBLE_DEVICES of each worker."""
        if not self.gpus:
            return [""] * self.workers
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        return visible.split(",") if visible else [str(n) for n in range(self.workers)]
