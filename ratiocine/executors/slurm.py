"""Commands as jobs of Slurm, submitted by submitit and followed by squeue."""

from __future__ import annotations

import math
import os
import pickle
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ratiocine.errors import BadInput, Failure
from ratiocine.executors import base
from ratiocine.executors.base import LOOK, Command, Job, exit_code, first_line, python_path
from ratiocine.executors.config import Slurm

NOTICE = 80  # seconds that Slurm's notice leaves for a checkpoint
INTERRUPTED = 130


@dataclass(frozen=True)
class Submitted:
    """A call as Slurm runs it: where there are several tasks each is a rank. A job that is preempted or comes to its time limit
    is queued again, and the verb goes on from what was stored."""

    call: Command

    def __call__(self) -> None:
        if self.call.ranks > 1:
            from submitit.helpers import TorchDistributedEnvironment

            TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
        status = self.call.run()
        if status == INTERRUPTED and self.call.ranks > 1:
            time.sleep(NOTICE)  # the first rank queues the job again, or Slurm ends it
        if status:
            sys.exit(status)  # by which srun ends the other ranks

    def checkpoint(self, *args: Any, **kwargs: Any) -> Any:
        """Called within a signal's handler: the verb has had the signal as well, and is given time to keep what it has."""
        from submitit.helpers import DelayedSubmission

        until = time.monotonic() + NOTICE
        for child in base.running:
            while (
                not os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                and time.monotonic() < until
            ):
                time.sleep(LOOK)
        return DelayedSubmission(self)


class SlurmExecutor:
    def __init__(self, on: Slurm, folder: Path) -> None:
        if find_spec("submitit") is None:
            raise BadInput(
                "executor=slurm needs the package submitit: pip install 'ratiocine[slurm]'"
            )
        if shutil.which("sbatch") is None:
            raise BadInput(
                "executor=slurm: there is no sbatch on this machine; give the command where jobs are submitted"
            )
        self.on, self.folder, self.jobs, self.queue = on, folder, on.max_parallel_jobs, Queue()

    def start(self, calls: Sequence[Command]) -> list[Job]:
        import submitit

        on, first = self.on, calls[0]
        tasks = on.nproc if first.ranks > 1 else 1
        cpus = on.cpus_per_task * on.nproc // tasks
        executor = submitit.AutoExecutor(self.folder, cluster="slurm")
        executor.update_parameters(
            name=first.name,
            nodes=on.nodes if first.ranks > 1 else 1,
            tasks_per_node=tasks,
            cpus_per_task=cpus,
            gpus_per_node=on.gpus_per_node or None,
            mem_gb=on.mem_gb,
            timeout_min=math.ceil(60 * on.time_limit_hours),
            stderr_to_stdout=True,
            slurm_partition=on.partition,
            slurm_account=on.account,
            slurm_array_parallelism=on.max_parallel_jobs,
            slurm_srun_args=[
                "--kill-on-bad-exit=1",
                f"--cpus-per-task={cpus}",
            ],  # srun has none of its own
            slurm_additional_parameters=dict(on.sbatch_args),
            slurm_setup=[f"export PYTHONPATH={shlex.quote(python_path())}"],
        )
        try:
            submitted = executor.submit_array([Submitted(one) for one in calls])
        except (submitit.core.utils.FailedJobError, OSError) as error:
            raise Failure(f"executor=slurm: {first_line(error)}") from None
        for one, job in zip(calls, submitted, strict=True):
            print(f"job {job.job_id}: {one}", flush=True)
        return [SlurmJob(job, self.queue, [job.paths.stdout]) for job in submitted]


class Queue:
    """What Slurm says of this user's jobs, asked at most once in a while. Not sacct, which needs a data base."""

    FINAL = frozenset(
        {
            "COMPLETED",
            "FAILED",
            "CANCELLED",
            "TIMEOUT",
            "NODE_FAIL",
            "OUT_OF_MEMORY",
            "BOOT_FAIL",
            "DEADLINE",
            "REVOKED",
        }
    )

    def __init__(self) -> None:
        self.asked = 0.0
        self.jobs: dict[str, tuple[str, int]] | None = None

    def look(self) -> dict[str, tuple[str, int]] | None:
        """State and exit code by job; None where Slurm does not answer."""
        if time.monotonic() - self.asked > 10 * LOOK:
            form = "--Format=JobArrayID:|,State:|,exit_code:|"
            words = ["squeue", "--noheader", "--me", "--array", "--states=all", form]
            asked = subprocess.run(words, capture_output=True, text=True, check=False)
            rows = [
                [part.strip() for part in line.split("|")] for line in asked.stdout.splitlines()
            ]
            whole = [row for row in rows if len(row) > 2 and row[2].isdigit()]
            known = {
                job: (state, exit_code(os.waitstatus_to_exitcode(int(status))))
                for job, state, status, *_ in whole
            }
            self.jobs, self.asked = None if asked.returncode else known, time.monotonic()
        return self.jobs


@dataclass
class SlurmJob:
    job: Any
    queue: Queue
    logs: Sequence[Path]
    began: float = field(default_factory=time.monotonic)

    def poll(self) -> int | None:
        known = self.queue.look()
        if known is None or self.queue.asked <= self.began:
            return None
        state, status = known.get(self.job.job_id, ("forgotten", 0))
        if state == "forgotten":
            return int(not self._returned())
        if state not in Queue.FINAL:
            return None
        return status if state == "COMPLETED" else status or 1

    def _returned(self) -> bool:
        """Whether the call came to its end, by what submitit has written of it."""
        file = self.job.paths.result_pickle
        return file.exists() and pickle.loads(file.read_bytes())[0] == "success"

    def stop(self) -> None:
        self.job.cancel(check=False)
