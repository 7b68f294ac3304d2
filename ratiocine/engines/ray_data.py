"""Any engine on several processes of a Ray cluster: Ray Data hands out the requests, starts workers anew that were lost, and
gives their requests out again.

The cluster is the one that RAY_ADDRESS names, else one on this machine. Its nodes see this checkout at the same place, and
have the keys of servers in their own environment.
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
from ratiocine.executors import check_ray, cluster
from ratiocine.hashing import batched
from ratiocine.records import Completion


class _Worker:
    def __init__(self, make: Callable[[], Engine]) -> None:
        self.engine = make()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The traces, and in the first row what made a server be asked again, as JSON."""
        before = Counter[str](getattr(self.engine, "errors", {}))
        made = [
            trace for traces in self.engine.generate(list(batch["request"])) for trace in traces
        ]
        again = Counter[str](getattr(self.engine, "errors", {})) - before
        return {"trace": made, "again": [json.dumps(again), *[""] * (len(made) - 1)]}


class RayEngine:
    """`generate` by `workers` processes, each with the engine that `make` makes there, `cpus` processors and, where it is to
    have one, a GPU. Raises BadInput without Ray."""

    name = "ray"

    def __init__(self, make: Callable[[], Engine], workers: int, cpus: int, gpus: bool) -> None:
        check_ray()
        self.make, self.workers, self.cpus, self.gpus = make, workers, cpus, gpus
        self.errors = Counter[str]()  # what workers that were not lost asked a server again for

    def generate(self, requests: Iterable[Request]) -> Iterator[list[Completion]]:
        """Traces of all samples, a worker's block at a time. Raises what the workers' engines raise."""
        with cluster() as ray:
            importlib.import_module("ray.data")
            logging.getLogger("ray.data").setLevel(logging.ERROR)
            context = ray.data.DataContext.get_current()
            context.enable_progress_bars = False
            context.actor_task_retry_on_errors = (
                False  # what a server refuses for good is no lost worker
            )
            for portion in batched(requests, PORTION):
                yield from self._portion(ray, portion)

    def _portion(self, ray: Any, portion: list[Request]) -> Iterator[list[Completion]]:
        n = sum(1 for _ in blocks(portion, self.workers))
        found = ray.data.from_items(
            [{"request": request} for request in portion], override_num_blocks=n
        ).map_batches(
            _Worker,
            fn_constructor_args=(self.make,),
            batch_size=None,
            num_cpus=self.cpus,
            num_gpus=1 if self.gpus else None,
            compute=ray.data.ActorPoolStrategy(size=self.workers),
        )
        try:
            for batch in found.iter_batches(batch_size=None, prefetch_batches=0):
                for again in filter(None, batch["again"]):
                    self.errors.update(json.loads(again))
                yield list(batch["trace"])
        except ray.exceptions.RayError as error:
            raise _own(error) or Failure(
                f"executor=ray: {str(error).strip().splitlines()[-1]}"
            ) from None


def _own(error: BaseException | None) -> BadInput | Failure | None:
    """The error of ours that Ray has wrapped."""
    while error is not None and not isinstance(error, (BadInput, Failure)):
        error = getattr(error, "cause", None) or error.__cause__
    return error
