"""Commands as processes with a time limit, their output in a file.

Forked where possible: the parent has imported torch and the like, but never touches a device, so
that children start in a second and a child that hangs or is killed leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from bench.gpu_check.rows import Failed, OutOfTime
from ratiocine.executors import LOCAL_POLL_SECONDS, can_fork, end_with_parent, exec_module, preload

SHUTDOWN_SECONDS = 5
LOG_LINES = 25


@cache
def prepare_forks() -> None:
    """Import what most checks need, without bitsandbytes, whose import initialises CUDA. A check of
    it starts a new interpreter."""
    held = "bitsandbytes" not in sys.modules
    if held:
        sys.modules["bitsandbytes"] = None  # type: ignore[assignment]
    try:
        preload()
        importlib.import_module("train.sft")
    finally:
        if held:
            del sys.modules["bitsandbytes"]


class Process:
    """`python -m module args…`, in a session of its own."""

    def __init__(
        self,
        module: str,
        args: Sequence[str],
        log: Path,
        *,
        forked: bool,
        environment: Mapping[str, str] = {},
    ) -> None:
        self.module, self.log = module, log
        self.code: int | None = None
        if forked:
            prepare_forks()
            forked = can_fork()
        if forked:
            sys.stdout.flush()
            self.pid = os.fork()
            if not self.pid:
                self._become(args, environment)
            return
        with open(log, "ab") as out:
            self.child = subprocess.Popen(
                [sys.executable, "-m", module, *args],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        self.pid = self.child.pid

    def _become(self, args: Sequence[str], environment: Mapping[str, str]) -> None:
        os.setsid()
        end_with_parent()
        out = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for number, target in ((0, os.open(os.devnull, os.O_RDONLY)), (1, out), (2, out)):
            os.dup2(target, number)
        os.environ.update(environment)
        exec_module(self.module, args)

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code

    def wait(self, deadline: float) -> int:
        """The exit code. At the deadline (of `time.monotonic`) ends it and raises OutOfTime."""
        try:
            while (code := self.poll()) is None:
                if time.monotonic() > deadline:
                    reason = f"python -m {self.module}: ended at the time limit"
                    raise OutOfTime(reason, self.tail())
                time.sleep(LOCAL_POLL_SECONDS)
        except BaseException:  # an interrupt, too
            self.end()
            raise
        return code

    def end(self) -> None:
        """End the process and its descendants, with SIGKILL where SIGTERM does not."""
        import psutil

        try:
            process = psutil.Process(self.pid)
            family = [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            family = []
        for one in family:
            _signal(one.pid, signal.SIGTERM)
        end = time.monotonic() + SHUTDOWN_SECONDS
        while self.poll() is None and time.monotonic() < end:
            time.sleep(LOCAL_POLL_SECONDS)
        for one in family:
            if one.is_running():
                _signal(one.pid, signal.SIGKILL)
        while self.poll() is None:
            time.sleep(LOCAL_POLL_SECONDS)

    def kill(self) -> None:
        """SIGKILL, as a lost machine would."""
        _signal(self.pid, signal.SIGKILL)
        while self.poll() is None:
            time.sleep(LOCAL_POLL_SECONDS)

    def tail(self) -> str:
        """The last lines of its output."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        lines = text.replace("\r", "\n").splitlines()
        return "\n".join(line[:300] for line in lines[-LOG_LINES:])

    def check(self, deadline: float) -> None:
        """Wait for a success. Raises Failed or OutOfTime."""
        if code := self.wait(deadline):
            what = f"exit code {code}" if code > 0 else signal.Signals(-code).name
            raise Failed(f"python -m {self.module}: {what}", self.tail())


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
