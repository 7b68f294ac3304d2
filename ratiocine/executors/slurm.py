"""Commands as Slurm jobs: submitted with submitit, polled with squeue."""

from __future__ import annotations

import io
import json
import math
import os
import pickle
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ratiocine.errors import BadInput, Failure
from ratiocine.executors import base
from ratiocine.executors.base import (
    INTERRUPTED,
    POLL_SECONDS,
    Command,
    Job,
    exit_code,
    first_line,
    python_path,
)
from ratiocine.executors.config import SlurmConfig

CHECKPOINT_SECONDS = 80  # for a checkpoint, between Slurm's warning signal and its kill
TIME_LIMIT_HOURS = 24  # without an estimate
FAILED_STATES = ("FAILED", "CANCELLED", "TIMEOUT", "DEADLINE", "OUT_OF_MEMORY")
NO_SBATCH = "there is no sbatch on this machine; run the command on a login node of the cluster"
NO_CONTROLLER = ("Unable to contact slurm controller", "configuration source")
LOST_STATES = ("NODE_FAIL", "BOOT_FAIL", "REVOKED")
FINAL_STATES = ("COMPLETED", *FAILED_STATES, *LOST_STATES)


@dataclass(frozen=True)
class Submission:
    """A command as submitit runs it; of several tasks each is a rank.

    A job that is preempted or reaches its time limit is requeued, and the verb resumes from what
    it has stored.
    """

    command: Command

    def __call__(self) -> None:
        distributed = self.command.world_size > 1
        if distributed:
            from submitit.helpers import TorchDistributedEnvironment

            TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
        status = self.command.run()
        if status == INTERRUPTED and distributed:
            time.sleep(CHECKPOINT_SECONDS)  # until the first rank has requeued the job
        if status:
            sys.exit(status)  # by which srun ends the other ranks

    def checkpoint(self, *args: object, **kwargs: object) -> Any:
        """submitit's hook, called in a signal handler. The verb has had the signal as well: wait
        for its checkpoint."""
        from submitit.helpers import DelayedSubmission

        deadline = time.monotonic() + CHECKPOINT_SECONDS
        ended = os.WEXITED | os.WNOHANG | os.WNOWAIT
        for child in base.children:
            while not os.waitid(os.P_PID, child.pid, ended) and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
        return DelayedSubmission(self)


class SlurmExecutor:
    """Submits commands as a job array. Raises BadInput without submitit or sbatch, or where the
    first job is refused; Failure for a later one, since earlier ones may run."""

    def __init__(self, max_parallel_jobs: int, folder: Path) -> None:
        check_submitit()
        if shutil.which("sbatch") is None:
            raise BadInput(f"executor=slurm: {NO_SBATCH}")
        self.folder, self.queue = folder, Queue()
        self.max_parallel_jobs = max_parallel_jobs
        self.has_submitted = False

    def submit(self, commands: Sequence[Command]) -> list[Job]:
        import submitit

        if commands[0].stage and (known := self._submitted_before(commands[0])):
            return [known]
        try:
            executor = submitit.AutoExecutor(self.folder, cluster="slurm")
            executor.update_parameters(**parameters(commands[0]))
            with redirect_stderr(io.StringIO()):  # submitit prints what sbatch says
                submitted = executor.submit_array([*map(Submission, commands)])
        except (submitit.core.utils.FailedJobError, OSError) as error:
            kind = Failure if self.has_submitted else BadInput
            raise kind(f"executor=slurm: {refusal(error)}") from None
        self.has_submitted = True
        for command, job in zip(commands, submitted, strict=True):
            if command.stage:
                record = json.dumps({"job": job.job_id, "args": command.args})
                self._record(command).write_text(record + "\n", encoding="utf-8")
            print(f"job {job.job_id}: {command}", flush=True)
        return [SlurmJob(job, self.queue, [job.paths.stdout]) for job in submitted]

    def _record(self, command: Command) -> Path:
        return self.folder / f"{command.name}.json"

    def _submitted_before(self, command: Command) -> Job | None:
        """The job of the same command that an earlier launch submitted and Slurm still has."""
        import submitit

        try:
            record = json.loads(self._record(command).read_text(encoding="utf-8"))
            name, args = str(record["job"]), tuple(record["args"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        jobs = self.queue.poll()
        if args != command.args or jobs is None or name not in jobs:
            return None
        if jobs[name][0] in FINAL_STATES:
            return None
        print(f"job {name}: {command} (submitted by an earlier launch)", flush=True)
        job = submitit.SlurmJob(folder=self.folder, job_id=name)
        return SlurmJob(job, self.queue, [job.paths.stdout])


def refusal(error: Exception) -> str:
    """Why a job was not taken, with sbatch's own words."""
    words = [line.strip() for line in str(error).splitlines() if line.startswith("sbatch:")]
    if not words:
        return first_line(error)
    said = words[-1].removeprefix("sbatch: ").removeprefix("error: ").removeprefix("fatal: ")
    if any(sign in str(error) for sign in NO_CONTROLLER):
        return f"no controller of Slurm can be reached from this machine; sbatch says: '{said}'"
    return f"sbatch refused the job: '{said}'"


def parameters(first: Command) -> dict[str, Any]:
    """The configuration as parameters of submitit, for commands like the `first`."""
    config = first.executor
    assert isinstance(config, SlurmConfig)
    distributed = first.world_size > 1
    tasks = config.nproc if distributed else 1
    cpus = config.cpus_per_task * config.nproc // tasks
    hours = config.time_limit_hours or first.resources.hours or TIME_LIMIT_HOURS
    sets_memory = any(key.startswith("mem") for key in config.sbatch_args)
    return {
        "name": first.name,
        "nodes": config.nodes if distributed else 1,
        "tasks_per_node": tasks,
        "cpus_per_task": cpus,
        "gpus_per_node": first.gpus_per_node or None,
        "mem_gb": config.mem_gb or (None if sets_memory else first.resources.mem_gb),
        "timeout_min": math.ceil(round(60 * hours, 6)),
        "stderr_to_stdout": True,
        "slurm_partition": config.partition,
        "slurm_account": config.account,
        "slurm_array_parallelism": config.max_parallel_jobs,
        # srun does not take cpus-per-task over from sbatch.
        "slurm_srun_args": ["--kill-on-bad-exit=1", f"--cpus-per-task={cpus}"],
        "slurm_additional_parameters": dict(config.sbatch_args),
        "slurm_setup": [f"export PYTHONPATH={shlex.quote(python_path())}"],
    }


def job_script(folder: Path, command: Command) -> str:
    """The sbatch script of a command, and a line for what this machine lacks to submit it; without
    submitit, which writes the script, that line alone."""
    if find_spec("submitit") is None:
        return NO_SUBMITIT
    from submitit.slurm import slurm

    class Offline(slurm.SlurmExecutor):
        """Writes scripts on a machine without Slurm too."""

        @classmethod
        def affinity(cls) -> int:
            return 1

    executor = Offline(folder)
    # As submitit.AutoExecutor converts them.
    executor.update_parameters(
        **executor._convert_parameters(
            {
                name.removeprefix("slurm_"): value
                for name, value in parameters(command).items()
                if value is not None
            }
        )
    )
    script = executor._make_submission_file_text(executor._submitit_command_str, "")
    lacking = "" if shutil.which("sbatch") else f"\nnot submitted from here: {NO_SBATCH}"
    return f"{script.strip()}{lacking}"


NO_SUBMITIT = "executor=slurm needs the package submitit: pip install -e '.[slurm]'"


def check_submitit() -> None:
    """Raise BadInput without submitit."""
    if find_spec("submitit") is None:
        raise BadInput(NO_SUBMITIT)


class Queue:
    """The user's jobs according to squeue, polled at a bounded rate. sacct would need a
    database."""

    def __init__(self) -> None:
        self.polled = 0.0
        self.jobs: dict[str, tuple[str, int]] | None = None

    def poll(self) -> dict[str, tuple[str, int]] | None:
        """State and exit code by job id; None while squeue fails."""
        if time.monotonic() - self.polled > 10 * POLL_SECONDS:
            columns = "--Format=JobArrayID:|,State:|,exit_code:|"
            command = ["squeue", "--noheader", "--me", "--array", "--states=all", columns]
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            rows = [[part.strip() for part in r.split("|")] for r in result.stdout.splitlines()]
            complete = [row for row in rows if len(row) > 2 and row[2].isdigit()]
            jobs = {
                job: (state, exit_code(os.waitstatus_to_exitcode(int(status))))
                for job, state, status, *_ in complete
            }
            self.jobs = None if result.returncode else jobs
            self.polled = time.monotonic()
        return self.jobs


@dataclass
class SlurmJob:
    """A job by its submitit handle."""

    job: Any
    queue: Queue
    logs: Sequence[Path]
    submitted: float = field(default_factory=time.monotonic)

    def poll(self) -> int | None:
        jobs = self.queue.poll()
        if jobs is None or self.queue.polled <= self.submitted:
            return None
        if self.job.job_id not in jobs:  # Slurm forgets ended jobs after some minutes
            return int(not self._succeeded())
        state, status = jobs[self.job.job_id]
        if state not in FINAL_STATES:
            return None
        return status if state == "COMPLETED" else status or 1

    def _succeeded(self) -> bool:
        """Whether the command returned, according to submitit's result file."""
        file = self.job.paths.result_pickle
        return file.exists() and pickle.loads(file.read_bytes())[0] == "success"

    def cancel(self) -> None:
        self.job.cancel(check=False)
