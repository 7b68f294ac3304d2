"""Commands that are sent where `on=` says, and followed. What is sent is the command as it was typed, less its `on`; whatever
starts there finds this checkout on its path and in its working directory, and writes where the command would have written."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ratiocine.executors.config import Place, Placed
from ratiocine.executors.local import Here, become, code, end_with_parent, together

CHECKOUT = Path(__file__).resolve().parents[2]
JOBS = Path("runs") / "jobs"
LOOK = 0.2  # seconds between two looks at what runs elsewhere
running: list[subprocess.Popen[bytes]] = []  # what calls of this process have started


class Job(Protocol):
    """Something that runs. `poll` gives its exit code once it has ended; `logs` are the files in which it says what it does."""

    logs: Sequence[Path]

    def poll(self) -> int | None: ...

    def stop(self) -> None: ...


class Starter(Protocol):
    """What starts jobs, at most `jobs` of which run at once."""

    jobs: int

    def start(self, calls: Sequence[Call]) -> list[Job]: ...


@dataclass(frozen=True)
class Call:
    """`python -m module words`. With `ranks` above 1 it is started so many times in all, and these work together."""

    module: str
    words: tuple[str, ...]
    name: str = ""
    ranks: int = 1
    folder: Path = field(default_factory=Path.cwd)

    def run(self, log: Path | None = None) -> int:
        """Do it in a process that does not outlive this one; what it says goes to the end of `log`."""
        command = [sys.executable, "-m", "ratiocine.executors.base", self.module, *self.words]
        with open(log, "ab") if log else open(os.dup(1), "wb") as out:
            child = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": path()},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT if log else None,
            )
            running.append(child)
            status = child.wait()
        running.remove(child)
        return code(status)

    def __str__(self) -> str:
        return f"python -m {self.module} {shlex.join(self.words)}"


def path() -> str:
    """PYTHONPATH for what starts elsewhere."""
    return os.pathsep.join([str(CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")])])


def send(verb: str, config: Placed, commands: Sequence[Sequence[str]]) -> int:
    """Have these commands of a verb run where `config.on` says, and follow them; returns the highest exit code."""
    on = config.on
    if on.name == "local":
        return max(together(Call(verb, tuple(own(words))), on) for words in commands)
    calls = [call(verb, own(words), on, on.words, config.shares_out) for words in commands]
    with starter(on, JOBS) as started:
        jobs = started.start(calls)
        if on.name == "slurm" and not on.wait:
            return 0
        return follow(calls, jobs)


def own(words: Sequence[str]) -> list[str]:
    """A command line without where it is to run."""
    return [word for word in words if not word.lstrip("+~").startswith(("on=", "on."))]


def call(
    module: str,
    words: Sequence[str],
    on: Place,
    several: Sequence[str],
    shares_out: bool,
    name: str = "",
) -> Call:
    """What is started elsewhere for a command of a verb; `several` are the words for several processes, where it takes them."""
    if on.name == "slurm" and not shares_out:
        return Call(
            module, tuple(words), name or module, on.processes * on.nodes
        )  # every rank is a task of its own
    return Call(module, (*words, *several), name or module)


def follow(calls: Sequence[Call], jobs: Sequence[Job]) -> int:
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


@contextmanager
def starter(on: Place, folder: Path) -> Iterator[Starter]:
    """Ready to start jobs, whose logs are in `folder`."""
    if on.name == "slurm":
        from ratiocine.executors.slurm import SlurmStarter

        yield SlurmStarter(on, folder)
    elif on.name == "ray":
        from ratiocine.executors.ray import RayStarter, cluster

        with cluster() as ray:
            yield RayStarter(on, folder, ray)
    else:
        yield Here()


if (
    __name__ == "__main__"
):  # python -m ratiocine.executors.base VERB words…: what is started elsewhere ends with what started it
    end_with_parent()
    become(sys.argv[1], sys.argv[2:])
