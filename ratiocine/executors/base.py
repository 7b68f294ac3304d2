"""The interface of executors: a command, the job that runs it, and the executor that submits it.

A command holds the arguments of a verb without its `executor` keys. On whichever machine it runs,
it imports this checkout and has the same working directory, hence the same output paths.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ratiocine.executors.config import ExecutorConfig

CHECKOUT = Path(__file__).resolve().parents[2]
POLL_SECONDS = 0.2  # between two polls of remote jobs
STAGE = "RATIOCINE_STAGE"  # in the environment of a study's stages: the study reports for them
children: list[subprocess.Popen[bytes]] = []  # running children of this process


class Job(Protocol):
    """A submitted command; `logs` are the files with its output."""

    logs: Sequence[Path]

    def poll(self) -> int | None:
        """The exit code, None while the job is pending or running."""
        ...

    def cancel(self) -> None: ...


class Executor(Protocol):
    """Submits commands; at most `max_parallel_jobs` of a study run at once."""

    max_parallel_jobs: int

    def submit(self, commands: Sequence[Command]) -> list[Job]: ...


@dataclass(frozen=True)
class Resources:
    """What a job is estimated to need, where the executor's configuration states nothing; None if
    unknown."""

    hours: float | None = None
    mem_gb: float | None = None
    """GB of each node."""


@dataclass(frozen=True)
class Command:
    """`python -m module *args`, started as `world_size` processes that train together; or a stage
    of a study."""

    module: str
    args: tuple[str, ...]
    name: str = ""
    world_size: int = 1
    gpus_per_node: int = 0
    stage: bool = False
    resources: Resources = Resources()
    executor: ExecutorConfig | None = None
    """Of its job; None for a process of this machine."""
    cwd: Path = field(default_factory=Path.cwd)

    def run(self, log: Path | None = None) -> int:
        """Run as a child that ends with this process and return its exit code; output is
        appended to `log`."""
        with open(log, "ab") if log else open(os.dup(1), "wb") as out:
            child = subprocess.Popen(
                [sys.executable, "-m", "ratiocine.executors", self.module, *self.args],
                cwd=self.cwd,
                env={**os.environ, **self.environment, "PYTHONPATH": python_path()},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT if log else None,
            )
            children.append(child)
            status = child.wait()
        children.remove(child)
        return exit_code(status)

    @property
    def environment(self) -> dict[str, str]:
        """Variables of its process."""
        return {STAGE: "1"} if self.stage else {}

    def __str__(self) -> str:
        return f"python -m {self.module} {shlex.join(self.args)}"


def is_stage() -> bool:
    """Whether this process is a stage of a study."""
    return STAGE in os.environ


def python_path() -> str:
    """PYTHONPATH of commands that start on another machine."""
    return os.pathsep.join([str(CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")])])


class LogTail:
    """Copies what is appended to log files to stderr."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.offsets = dict.fromkeys(files, 0)

    def show(self) -> None:
        """Print what was appended since the last call."""
        for file, offset in self.offsets.items():
            if file.exists():
                with open(file, "rb") as log:
                    log.seek(offset)
                    new = log.read()
                self.offsets[file] += len(new)
                sys.stderr.write(new.decode(errors="replace"))
        sys.stderr.flush()

    def last_line(self) -> str:
        """The last line of the command itself, not of its launcher."""
        for file in reversed(self.offsets):
            lines = file.read_text(errors="replace").splitlines() if file.exists() else []
            for line in reversed(lines):
                if line.strip() and not line.startswith(("srun:", "submitit ")):
                    return line
        return ""


INTERRUPTED = 130  # exit code of a command after an interrupt


def exit_code(status: int) -> int:
    """An exit code from `subprocess`, as a shell gives it: 128 and its number after a signal."""
    return status if status >= 0 else 128 - status


def end_reason(code: int) -> str:
    """How a process ended whose exit code is that of a signal; empty for one that exited."""
    if code <= 128 or code == INTERRUPTED or code - 128 not in set(signal.Signals):
        return ""
    name = signal.Signals(code - 128).name
    memory = ", which the kernel or the cluster sends where memory runs out"
    return f"ended by {name}{memory if name == 'SIGKILL' else ''}"


def first_line(error: BaseException) -> str:
    """The first line of an error's message, its type if there is none."""
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__)
