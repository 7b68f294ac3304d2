"""Commands as processes of this machine: one at a time, or as ranks of one training."""

from __future__ import annotations

import atexit
import ctypes
import importlib
import logging
import os
import runpy
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from ratiocine import startup
from ratiocine.errors import Failure
from ratiocine.executors.base import Command, Job, end_reason, exit_code, first_line
from ratiocine.executors.config import LocalConfig, check_gpus

# Slow imports of every verb. They start no threads, so that forking after them is safe.
PRELOADED = ("torch", "transformers.trainer", "peft", "datasets", "hydra", "reasoning_gym")
VERBS = ("distill", "train", "rl", "eval")
LOCAL_POLL_SECONDS = 0.05  # between two polls of processes of this machine
SHUTDOWN_SECONDS = 15  # for the other ranks to end once one is lost


class LocalExecutor:
    """Runs commands as child processes."""

    max_parallel_jobs = 1

    def submit(self, commands: Sequence[Command]) -> list[Job]:
        return [LocalJob(command) for command in commands]


class LocalJob:
    """A child process. Where possible it is forked from this one, which has imported torch and the
    like: some 20 s saved per command on a slow machine."""

    logs: Sequence[Path] = ()

    def __init__(self, command: Command) -> None:
        self.code: int | None = None
        if sys.platform == "linux" and command.module in VERBS:
            preload()
        if not can_fork():
            words = [sys.executable, "-m", command.module, *command.args]
            environment = {**os.environ, **command.environment}
            self.process = subprocess.Popen(words, cwd=command.cwd, env=environment)
            self.pid = self.process.pid
            return
        sys.stdout.flush()
        self.pid = os.fork()
        if not self.pid:
            end_with_parent()
            os.environ.update(command.environment)
            exec_module(command.module, command.args)

    def poll(self) -> int | None:
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = exit_code(os.waitstatus_to_exitcode(status)) if pid else None
        return self.code

    def cancel(self) -> None:
        # An interrupt from the keyboard reaches the child as well: leave it time to exit by itself.
        for _ in range(20):
            if self.poll() is not None:
                return
            time.sleep(0.1)
        os.kill(self.pid, signal.SIGTERM)
        while self.poll() is None:
            time.sleep(0.1)


def run_process(command: Command) -> int:
    """Run a command in a process of its own and return its exit code, 1 after a signal, whose name
    is printed; an interrupt cancels it."""
    job = LocalJob(command)
    try:
        while (code := job.poll()) is None:
            time.sleep(LOCAL_POLL_SECONDS)
    except KeyboardInterrupt:
        job.cancel()
        raise
    if reason := end_reason(code):
        print(f"{command.module}: {reason}", file=sys.stderr)
        return 1
    return code


def can_fork() -> bool:
    """Whether forks of this process can use everything: on Linux, unless an import has initialised
    CUDA, as that of bitsandbytes does on a machine with a GPU."""
    torch = sys.modules.get("torch")
    return sys.platform == "linux" and (torch is None or not torch.cuda.is_initialized())


def preload() -> None:
    """Import the modules that all verbs need, once before forking."""
    # Else a library that asks whether there is a GPU initialises CUDA.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # in dependencies of reasoning_gym
        for module in PRELOADED:
            importlib.import_module(module)
    startup.freeze_imports()


def end_with_parent() -> None:
    """Have the kernel send SIGTERM to this process when its parent ends (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def exec_module(module: str, args: Sequence[str]) -> NoReturn:
    """Run `python -m module *args` in this process and exit as that would."""
    status: object = 1
    try:
        sys.argv = [module, *args]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        status = end.code
        if isinstance(status, str):
            print(status, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else int(status is not None))


def run_torchrun(command: Command, executor: LocalConfig) -> int:
    """Start the ranks of this node with torchrun's launcher and return an exit code.

    Prints one line about the rank whose failure ended the others. Raises BadInput for GPUs that
    the machine does not have, Failure if the nodes find no rendezvous.
    """
    import torch
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    check_gpus(executor)
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    threads = max(1, (os.cpu_count() or 1) // executor.nproc)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    if not executor.gpus_per_node:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    config = LaunchConfig(
        executor.nodes,
        executor.nodes,
        executor.nproc,
        run_id="ratiocine",
        rdzv_backend="c10d",
        max_restarts=0,
        shutdown_timeout=SHUTDOWN_SECONDS,
        rdzv_endpoint=executor.rdzv_endpoint or "localhost:0",
        local_addr=None if executor.rdzv_endpoint else "localhost",
    )
    try:
        elastic_launch(config, sys.executable)("-m", command.module, *command.args)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            print(
                f"{command.module}: rank {rank} was ended by {failure.signal_name()}, "
                "and the other ranks with it",
                file=sys.stderr,
            )
        return max(1, failure.exitcode)
    except SignalException:
        return 130
    except (torch.distributed.DistError, RendezvousError, RuntimeError) as error:
        raise Failure(
            f"executor.rdzv_endpoint={executor.rdzv_endpoint}: no rendezvous of the ranks: "
            f"{first_line(error)}"
        ) from None
    return 0
