"""Commands as processes of this machine: one after the other, or as ranks that work together."""

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
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from ratiocine.errors import Failure
from ratiocine.executors.base import Command, Job, exit_code, first_line
from ratiocine.executors.config import Local, check_gpus

HEAVY = (
    "torch",
    "transformers.trainer",
    "peft",
    "datasets",
    "hydra",
    "reasoning_gym",
)  # safe to fork after
VERBS = ("distill", "train", "rl", "eval")
GRACE = 15  # seconds that ranks have to end in, once one of them is lost


class LocalExecutor:
    jobs = 1

    def start(self, calls: Sequence[Command]) -> list[Job]:
        return [Child(one) for one in calls]


class Child:
    """A process of its own. On Linux it is forked from this one, which imports what every verb needs once: some 20 s on a slow
    machine."""

    logs: Sequence[Path] = ()

    def __init__(self, one: Command) -> None:
        self.ended: int | None = None
        if sys.platform != "linux":
            self.process = subprocess.Popen(
                [sys.executable, "-m", one.module, *one.words], cwd=one.folder
            )
            self.child = self.process.pid
            return
        for heavy in HEAVY if one.module in VERBS else ():
            importlib.import_module(heavy)
        sys.stdout.flush()
        self.child = os.fork()
        if not self.child:
            end_with_parent()
            exec_module(one.module, one.words)

    def poll(self) -> int | None:
        if self.ended is None:
            found, status = os.waitpid(self.child, os.WNOHANG)
            self.ended = exit_code(os.waitstatus_to_exitcode(status)) if found else None
        return self.ended

    def stop(self) -> None:
        for _ in range(
            20
        ):  # an interrupt from the keyboard reaches it as well, and may be under way there
            if self.poll() is not None:
                return
            time.sleep(0.1)
        os.kill(self.child, signal.SIGTERM)
        while self.poll() is None:
            time.sleep(0.1)


def end_with_parent() -> None:
    """Let this process have SIGTERM when its parent ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def exec_module(module: str, arguments: Sequence[str]) -> NoReturn:
    """Run as `python -m module arguments` does, and end this process as that would end."""
    status: object = 1
    try:
        sys.argv = [module, *arguments]
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


def run_ranks(one: Command, on: Local) -> int:
    """Ranks on this machine (and on others, where the same is called), by torchrun's own launcher; says in one line which of
    them ended the others."""
    import torch
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    check_gpus(on)
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // on.nproc)))
    if not on.gpus_per_node:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    config = LaunchConfig(
        on.nodes,
        on.nodes,
        on.nproc,
        run_id="ratiocine",
        rdzv_backend="c10d",
        max_restarts=0,
        shutdown_timeout=GRACE,
        rdzv_endpoint=on.rdzv_endpoint or "localhost:0",
        local_addr=None if on.rdzv_endpoint else "localhost",
    )
    try:
        elastic_launch(config, sys.executable)("-m", one.module, *one.words)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            print(
                f"{one.module}: rank {rank} was ended by {failure.signal_name()}, and the others with it",
                file=sys.stderr,
            )
        return exit_code(failure.exitcode)
    except SignalException:
        return 130
    except (torch.distributed.DistError, RendezvousError, RuntimeError) as error:
        raise Failure(
            f"executor.rdzv_endpoint={on.rdzv_endpoint}: the ranks do not come together: {first_line(error)}"
        ) from None
    return 0
