"""A command of a verb, the job it becomes, and the executor that runs it: what all executors share.

A command keeps the words that were typed, without its executor. Wherever it starts, it finds this checkout on its path and the
same working directory, and writes where it would have written here.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

CHECKOUT = Path(__file__).resolve().parents[2]
LOOK = 0.2  # seconds between two looks at what runs elsewhere
running: list[subprocess.Popen[bytes]] = []  # what calls of this process have started


class Job(Protocol):
    """Something that runs. `poll` gives its exit code once it has ended; `logs` are the files in which it says what it does."""

    logs: Sequence[Path]

    def poll(self) -> int | None: ...

    def stop(self) -> None: ...


class Executor(Protocol):
    """What starts jobs, at most `jobs` of which run at once."""

    jobs: int

    def start(self, calls: Sequence[Command]) -> list[Job]: ...


@dataclass(frozen=True)
class Command:
    """`python -m module words`. With `ranks` above 1 it is started so many times in all, and these work together."""

    module: str
    words: tuple[str, ...]
    name: str = ""
    ranks: int = 1
    folder: Path = field(default_factory=Path.cwd)

    def run(self, log: Path | None = None) -> int:
        """Do it in a process that does not outlive this one; what it says goes to the end of `log`."""
        command = [sys.executable, "-m", "ratiocine.executors", self.module, *self.words]
        with open(log, "ab") if log else open(os.dup(1), "wb") as out:
            child = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": python_path()},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT if log else None,
            )
            running.append(child)
            status = child.wait()
        running.remove(child)
        return exit_code(status)

    def __str__(self) -> str:
        return f"python -m {self.module} {shlex.join(self.words)}"


def python_path() -> str:
    """PYTHONPATH for what starts elsewhere."""
    return os.pathsep.join([str(CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")])])


class Tail:
    """What files say beyond what was shown."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.at = dict.fromkeys(files, 0)

    def show(self) -> None:
        for file, at in self.at.items():
            if file.exists():
                with open(file, "rb") as text:
                    text.seek(at)
                    new = text.read()
                self.at[file] += len(new)
                sys.stderr.write(new.decode(errors="replace"))
        sys.stderr.flush()

    def last(self) -> str:
        """Their last line, less those of what started it."""
        lines = [
            line
            for file in self.at
            if file.exists()
            for line in file.read_text(errors="replace").splitlines()
        ]
        return next(
            (
                line
                for line in reversed(lines)
                if line.strip() and not line.startswith(("srun:", "submitit "))
            ),
            "",
        )


def exit_code(status: int) -> int:
    """An exit code, 1 where a signal ended it."""
    return status if status >= 0 else 1


def first_line(error: BaseException) -> str:
    return next(
        (line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__
    )
