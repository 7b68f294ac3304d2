"""An engine on several processes of a Ray cluster, through Ray Data.

Ray Data distributes the requests, restarts workers that are lost and reassigns their requests. The
cluster is the one at RAY_ADDRESS, else a new one on this machine. Its nodes have this checkout at
the same path, and API keys in their own environment.
"""

from __future__ import annotations

import importlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ratiocine.engines.interface import PORTION, Engine, Request, blocks
from ratiocine.errors import BadInput, Failure
from ratiocine.executors import check_ray, connect
from ratiocine.hashing import batched
from ratiocine.records import Completion


class _Worker:
    """The callable of `map_batches`: one engine per actor."""

    def __init__(self, make: Callable[[], Engine]) -> None:
        self.engine = make()

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """The completions of a batch, and in its first row the retries, as JSON."""
        before = self._retries()
        completions = [c for batch in self.engine.generate(list(batch["request"])) for c in batch]
        retries = self._retries() - before
        padding = [""] * (len(completions) - 1)
        return {"completion": completions, "retries": [json.dumps(retries), *padding]}

    def _retries(self) -> Counter[str]:
        return Counter(getattr(self.engine, "retries", {}))


class RayEngine:
    """`generate` by `workers` processes, each with the engine that `make` returns there, `cpus`
    CPUs and, with `gpus`, one GPU. Raises BadInput if Ray is not installed."""

    name = "ray"

    def __init__(self, make: Callable[[], Engine], workers: int, cpus: int, gpus: bool) -> None:
        check_ray()
        self.make, self.workers, self.cpus, self.gpus = make, workers, cpus, gpus
        self.retries = Counter[str]()  # of workers that were not lost

    def generate(self, requests: Iterable[Request]) -> Iterator[list[Completion]]:
        """Completions by blocks of requests. Raises the errors of the workers' engines."""
        with connect() as ray:
            importlib.import_module("ray.data")
            logging.getLogger("ray.data").setLevel(logging.ERROR)
            context = ray.data.DataContext.get_current()
            context.enable_progress_bars = False
            # An error of the engine is final (a server's refusal); only lost workers are retried.
            context.actor_task_retry_on_errors = False
            for portion in batched(requests, PORTION):
                yield from self._portion(ray, portion)

    def _portion(self, ray: Any, portion: list[Request]) -> Iterator[list[Completion]]:
        n = sum(1 for _ in blocks(portion, self.workers))
        rows = [{"request": request} for request in portion]
        results = ray.data.from_items(rows, override_num_blocks=n).map_batches(
            _Worker,
            fn_constructor_args=(self.make,),
            batch_size=None,
            num_cpus=self.cpus,
            num_gpus=1 if self.gpus else None,
            compute=ray.data.ActorPoolStrategy(size=self.workers),
        )
        try:
            for batch in results.iter_batches(batch_size=None, prefetch_batches=0):
                for retries in filter(None, batch["retries"]):
                    self.retries.update(json.loads(retries))
                yield list(batch["completion"])
        except ray.exceptions.RayError as error:
            message = str(error).strip().splitlines()[-1]
            raise _wrapped(error) or Failure(f"executor=ray: {message}") from None


def _wrapped(error: BaseException | None) -> BadInput | Failure | None:
    """The error of this project that Ray has wrapped, if any."""
    while error is not None and not isinstance(error, (BadInput, Failure)):
        error = getattr(error, "cause", None) or error.__cause__
    return error
