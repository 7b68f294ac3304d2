"""Any engine on several processes of a Ray cluster: Ray Data hands out the requests, starts workers anew that were lost, and
gives their requests out again.

The cluster is the one that RAY_ADDRESS names, else one on this machine. Its nodes see this checkout at the same place, and
have the keys of servers in their own environment.
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ratiocine.engines import Engine, Request
from ratiocine.errors import BadInput, Failure
from ratiocine.traces import Trace, batched

CHECKOUT = Path(__file__).resolve().parent.parent.parent
PORTION = 16384  # requests that are handed to the cluster at a time
BLOCK = 128  # requests that a worker has at a time; what is lost with it is asked again


class _Worker:
    def __init__(self, make: Callable[[], Engine]) -> None:
        self.engine = make()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The traces, and in the first row what made a server be asked again, as JSON."""
        before = Counter[str](getattr(self.engine, "errors", {}))
        made = [trace for traces in self.engine.continue_(list(batch["request"])) for trace in traces]
        again = Counter[str](getattr(self.engine, "errors", {})) - before
        return {"trace": made, "again": [json.dumps(again), *[""] * (len(made) - 1)]}


class RayEngine:
    """`continue_` by `workers` processes, each with the engine that `make` makes there. Raises BadInput without Ray."""

    name = "ray"

    def __init__(self, make: Callable[[], Engine], workers: int) -> None:
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        if "RAY_ADDRESS" not in os.environ:  # a cluster on this machine alone listens on loopback alone
            os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        try:
            import ray
            import ray.data
        except ImportError:
            raise BadInput("on=ray needs the package ray: pip install 'ratiocine[ray]'") from None
        logging.getLogger("ray").setLevel(logging.ERROR)
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        self.ray, self.make, self.workers = ray, make, workers
        self.errors = Counter[str]()  # what workers that were not lost asked a server again for

    @contextmanager
    def _cluster(self) -> Iterator[None]:
        """Ours for as long as it is needed: no process of it outlives the work."""
        path = os.pathsep.join([str(CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.ray.init(
            log_to_driver=False, logging_level="error", include_dashboard=False, runtime_env={"env_vars": {"PYTHONPATH": path}}
        )
        context = self.ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.actor_task_retry_on_errors = False  # what a server refuses for good is no lost worker
        try:
            yield
        finally:
            self.ray.shutdown()

    def continue_(self, requests: Iterable[Request]) -> Iterator[list[Trace]]:
        """Traces of all samples, a worker's block at a time. Raises what the workers' engines raise."""
        with self._cluster():
            for portion in batched(requests, PORTION):
                yield from self._portion(portion)

    def _portion(self, portion: list[Request]) -> Iterator[list[Trace]]:
        data = self.ray.data
        blocks = -(-len(portion) // BLOCK)
        found = data.from_items([{"request": request} for request in portion], override_num_blocks=blocks).map_batches(
            _Worker, fn_constructor_args=(self.make,), batch_size=None, compute=data.ActorPoolStrategy(size=self.workers)
        )
        try:
            for batch in found.iter_batches(batch_size=None, prefetch_batches=0):
                for again in filter(None, batch["again"]):
                    self.errors.update(json.loads(again))
                yield list(batch["trace"])
        except self.ray.exceptions.RayError as error:
            raise _own(error) or Failure(f"on=ray: {str(error).strip().splitlines()[-1]}") from None


def _own(error: BaseException | None) -> BadInput | Failure | None:
    """The error of ours that Ray has wrapped."""
    while error is not None and not isinstance(error, (BadInput, Failure)):
        error = getattr(error, "cause", None) or error.__cause__
    return error
