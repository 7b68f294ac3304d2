"""Submits the commands of a verb to the configured executor and waits for the jobs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ratiocine.executors.base import POLL_SECONDS, Command, Executor, Job, LogTail, Resources
from ratiocine.executors.config import ExecutorConfig, SlurmConfig, VerbConfig
from ratiocine.executors.local import LocalExecutor, run_torchrun

JOBS = Path("runs") / "jobs"  # logs


def submit(verb: str, config: VerbConfig, jobs: Sequence[Sequence[str]]) -> int:
    """Run a verb once for each list of overrides, as `config.executor` says.

    Waits for the jobs and returns their highest exit code.
    """
    executor = config.executor
    overrides = [without_executor(words) for words in jobs]
    if executor.name == "local":
        return max(run_torchrun(Command(verb, tuple(words)), executor) for words in overrides)
    commands = [
        command_for(verb, words, executor, executor.overrides, config.data_parallel)
        for words in overrides
    ]
    with open_executor(executor, JOBS) as opened:
        submitted = opened.submit(commands)
        if executor.name == "slurm" and not executor.wait:
            return 0
        return wait_for_jobs(commands, submitted)


def describe(folder: Path, commands: Sequence[Command]) -> Iterator[str]:
    """The job scripts of these commands where Slurm runs them, one of each kind."""
    from ratiocine.executors.slurm import job_script

    shown: dict[tuple[int, int, str], list[Command]] = {}
    for command in commands:
        if isinstance(command.executor, SlurmConfig):
            kind = command.world_size, command.gpus_per_node, command.executor.model_dump_json()
            shown.setdefault(kind, []).append(command)
    for alike in shown.values():
        verbs = ", ".join(dict.fromkeys(command.module for command in alike))
        script = job_script(folder, alike[0])
        jobs = f"{len(alike)} job{'s' * (len(alike) > 1)}"
        head = f"{jobs}, first {alike[0].name}{_limits(alike)}"
        yield f"job script of {verbs} ({head}):\n{script}"


def _limits(commands: Sequence[Command]) -> str:
    """The range of the limits of jobs, where they differ."""
    from ratiocine.executors.slurm import parameters

    told = ""
    for key, name, unit in (("timeout_min", "time limits", "min"), ("mem_gb", "memory", "GB")):
        values = {parameters(command)[key] for command in commands}
        if len(known := values - {None}) > 1:
            told += f"; {name} of {min(known):g} to {max(known):g} {unit}"
    return told


def without_executor(overrides: Sequence[str]) -> list[str]:
    """Overrides without those of the executor."""
    own = ("executor=", "executor.")
    return [word for word in overrides if not word.lstrip("+~").startswith(own)]


def command_for(
    module: str,
    overrides: Sequence[str],
    executor: ExecutorConfig,
    process_overrides: Sequence[str],
    data_parallel: bool,
    stage: str | None = None,
    resources: Resources = Resources(),  # noqa: B008
) -> Command:
    """The command to submit for a verb, or for the `stage` of a study of that name;
    `process_overrides` make it start several processes itself. Slurm starts each rank of a training
    as a task."""
    by_slurm = executor.name == "slurm" and not data_parallel
    return Command(
        module,
        (*overrides, *(() if by_slurm else process_overrides)),
        name=stage or module,
        world_size=executor.world_size if by_slurm else 1,
        # A command that cannot use several processes (an oracle's) has no model either.
        gpus_per_node=executor.gpus_per_node if process_overrides else 0,
        stage=stage is not None,
        resources=resources,
        executor=executor,
    )


def wait_for_jobs(commands: Sequence[Command], jobs: Sequence[Job]) -> int:
    """Wait for all jobs and return the highest exit code.

    Shows the output of a single job, and the exit code of each of several. An interrupt cancels
    them.
    """
    codes: dict[int, int] = {}
    tails = [LogTail(job.logs) for job in jobs]
    try:
        while len(codes) < len(jobs):
            for number, job in enumerate(jobs):
                if number in codes:
                    continue
                code = job.poll()
                if len(jobs) == 1:
                    tails[0].show()
                if code is None:
                    continue
                codes[number] = code
                if len(jobs) > 1:
                    last = f": {tails[number].last_line()}" if code else ""
                    done = f"[{len(codes)}/{len(jobs)}] {commands[number]}"
                    print(f"{done}: exit code {code}{last}", flush=True)
            time.sleep(POLL_SECONDS)
    except BaseException:
        for job in jobs:
            job.cancel()
        raise
    return max(codes.values())


@contextmanager
def open_executor(config: ExecutorConfig, folder: Path) -> Iterator[Executor]:
    """The configured executor, ready for `submit`; logs go to `folder`."""
    if config.name == "slurm":
        from ratiocine.executors.slurm import SlurmExecutor

        yield SlurmExecutor(config.max_parallel_jobs, folder)
    elif config.name == "ray":
        from ratiocine.executors.ray import RayExecutor, connect

        with connect() as ray:
            yield RayExecutor(config.max_parallel_jobs, folder, ray)
    else:
        yield LocalExecutor()
