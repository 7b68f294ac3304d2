"""Submission of a verb's commands to the configured executor, and waiting for their jobs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ratiocine.executors.base import LOOK, Command, Executor, Job, Tail
from ratiocine.executors.config import ExecutorConfig, VerbConfig
from ratiocine.executors.local import LocalExecutor, run_ranks

JOBS = Path("runs") / "jobs"


def submit(verb: str, config: VerbConfig, commands: Sequence[Sequence[str]]) -> int:
    """Have these commands of a verb run where `config.on` says, and follow them; returns the highest exit code."""
    on = config.executor
    if on.name == "local":
        return max(
            run_ranks(Command(verb, tuple(without_executor(words))), on) for words in commands
        )
    calls = [
        remote_command(verb, without_executor(words), on, on.overrides, config.data_parallel)
        for words in commands
    ]
    with open_executor(on, JOBS) as started:
        jobs = started.start(calls)
        if on.name == "slurm" and not on.wait:
            return 0
        return wait_for_jobs(calls, jobs)


def without_executor(words: Sequence[str]) -> list[str]:
    """A command line without where it is to run."""
    return [word for word in words if not word.lstrip("+~").startswith(("executor=", "on."))]


def remote_command(
    module: str,
    words: Sequence[str],
    on: ExecutorConfig,
    several: Sequence[str],
    data_parallel: bool,
    name: str = "",
) -> Command:
    """What is started elsewhere for a command of a verb; `several` are the words for several processes, where it takes them."""
    if on.name == "slurm" and not data_parallel:
        return Command(
            module, tuple(words), name or module, on.nproc * on.nodes
        )  # every rank is a task of its own
    return Command(module, (*words, *several), name or module)


def wait_for_jobs(calls: Sequence[Command], jobs: Sequence[Job]) -> int:
    """Until all have ended; shows what a single one says, and of several how each ended. An interrupt stops them."""
    codes: dict[int, int] = {}
    tails = [Tail(job.logs) for job in jobs]
    try:
        while len(codes) < len(jobs):
            for number, job in enumerate(jobs):
                if number in codes:
                    continue
                ended = job.poll()
                if len(jobs) == 1:
                    tails[0].show()
                if ended is None:
                    continue
                codes[number] = ended
                if len(jobs) > 1:
                    said = f": {tails[number].last()}" if ended else ""
                    print(
                        f"[{len(codes)}/{len(jobs)}] {calls[number]}: exit code {ended}{said}",
                        flush=True,
                    )
            time.sleep(LOOK)
    except BaseException:
        for job in jobs:
            job.stop()
        raise
    return max(codes.values())


@contextmanager
def open_executor(on: ExecutorConfig, folder: Path) -> Iterator[Executor]:
    """Ready to start jobs, whose logs are in `folder`."""
    if on.name == "slurm":
        from ratiocine.executors.slurm import SlurmExecutor

        yield SlurmExecutor(on, folder)
    elif on.name == "ray":
        from ratiocine.executors.ray import RayExecutor, cluster

        with cluster() as ray:
            yield RayExecutor(on, folder, ray)
    else:
        yield LocalExecutor()
