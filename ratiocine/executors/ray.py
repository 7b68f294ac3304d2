"""Commands as tasks of a Ray cluster."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ratiocine.errors import BadInput, Failure
from ratiocine.executors.base import Command, Job, first_line, python_path
from ratiocine.executors.config import RayConfig

MAX_RETRIES = 8  # of a task whose worker is lost; the verb resumes from what it has stored


def check_ray() -> None:
    """Raise BadInput if Ray is not installed."""
    if find_spec("ray") is None:
        raise BadInput("executor=ray needs the package ray: pip install -e '.[ray]'")


@contextmanager
def connect() -> Iterator[Any]:
    """The module `ray`, connected to the cluster at RAY_ADDRESS or to a new one on this machine.

    The processes of a new cluster end with the context. Raises BadInput if Ray is not installed,
    Failure if the cluster cannot be reached.
    """
    check_ray()
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if "RAY_ADDRESS" not in os.environ:  # a cluster of this machine alone listens on loopback
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    interrupt = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            log_to_driver=False,
            logging_level="error",
            include_dashboard=False,
            runtime_env={"env_vars": {"PYTHONPATH": python_path()}},
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise Failure(f"executor=ray: no connection to the cluster: {first_line(error)}") from None
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, interrupt)  # Ray's own would end the process with code 15
    try:
        yield ray
    finally:
        ray.shutdown()


class RayExecutor:
    """Submits commands as tasks, each on one node. Raises BadInput if no node is large enough for
    the first, Failure for a later one, since earlier ones may run."""

    def __init__(self, max_parallel_jobs: int, folder: Path, ray: Any) -> None:
        self.folder, self.ray = folder.absolute(), ray
        self.max_parallel_jobs = max_parallel_jobs
        self.folder.mkdir(parents=True, exist_ok=True)
        self.has_submitted = False

    def submit(self, commands: Sequence[Command]) -> list[Job]:
        jobs: list[Job] = []
        for command in commands:
            task = self._task(command)
            log = self.folder / f"{command.name}-{time.time_ns()}.log"
            log.touch()
            jobs.append(RayJob(self.ray, task.remote(command, log), [log]))
            self.has_submitted = True
        return jobs

    def _task(self, command: Command) -> Any:
        config = command.executor
        assert isinstance(config, RayConfig)
        cpus, gpus = config.cpus_per_task * config.nproc, config.gpus_per_node
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        if not any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
            kind = Failure if self.has_submitted else BadInput
            raise kind(
                f"executor=ray: no node of the cluster has {cpus} CPUs and {gpus} GPUs for a task"
            )
        options = self.ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=MAX_RETRIES)
        return options(Command.run)


@dataclass
class RayJob:
    """A task by its object reference."""

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

    def cancel(self) -> None:
        self.ray.cancel(self.ref, force=True)
