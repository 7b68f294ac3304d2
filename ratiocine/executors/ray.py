"""A Ray cluster, and commands as its tasks."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ratiocine.errors import BadInput, Failure
from ratiocine.executors.base import Command, Job, first_line, python_path
from ratiocine.executors.config import Ray


def check_ray() -> None:
    """Raise BadInput where Ray is not installed."""
    if find_spec("ray") is None:
        raise BadInput("executor=ray needs the package ray: pip install 'ratiocine[ray]'")


@contextmanager
def cluster() -> Iterator[Any]:
    """Ray, connected to the cluster that RAY_ADDRESS names or to one that is made here, whose processes do not outlive this.
    Raises BadInput without Ray."""
    check_ray()
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if "RAY_ADDRESS" not in os.environ:  # a cluster on this machine alone listens on loopback alone
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    known = {"env_vars": {"PYTHONPATH": python_path()}}
    try:
        ray.init(
            log_to_driver=False, logging_level="error", include_dashboard=False, runtime_env=known
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise Failure(f"executor=ray: the cluster does not answer: {first_line(error)}") from None
    try:
        yield ray
    finally:
        ray.shutdown()


class RayExecutor:
    def __init__(self, on: Ray, folder: Path, ray: Any) -> None:
        self.on, self.folder, self.ray, self.jobs = on, folder.absolute(), ray, on.max_parallel_jobs
        self.folder.mkdir(parents=True, exist_ok=True)
        cpus = on.cpus_per_task * on.nproc
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not any(
            node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= on.gpus_per_node for node in nodes
        ):
            raise BadInput(
                f"executor=ray: no node of the cluster has the {cpus} CPUs and {on.gpus_per_node} GPUs that a task is to have"
            )
        # Begun anew as often as a worker is lost: a verb goes on from what was stored.
        self.task = ray.remote(num_cpus=cpus, num_gpus=on.gpus_per_node, max_retries=8)(Command.run)

    def start(self, calls: Sequence[Command]) -> list[Job]:
        found: list[Job] = []
        for one in calls:
            log = self.folder / f"{one.name}-{time.time_ns()}.log"
            log.touch()
            found.append(Task(self.ray, self.task.remote(one, log), [log]))
        return found


@dataclass
class Task:
    ray: Any
    ref: Any
    logs: Sequence[Path]

    def poll(self) -> int | None:
        if not self.ray.wait([self.ref], timeout=0)[0]:
            return None
        try:
            return self.ray.get(self.ref)
        except self.ray.exceptions.RayError as error:
            with open(self.logs[0], "a") as log:
                log.write(f"executor=ray: {first_line(error)}\n")
            return 1

    def stop(self) -> None:
        self.ray.cancel(self.ref, force=True)
