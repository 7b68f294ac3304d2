"""One writer a folder: a lock that ends with the process that has it, however that ends."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ratiocine.errors import BadInput

LOCK = ".lock.partial"
PATIENCE = 30.0  # seconds

_held: dict[Path, int] = {}  # folders that this process writes to, with the open files that say so


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """The folder is this process's alone."""
    folder.mkdir(parents=True, exist_ok=True)
    hold(folder)
    try:
        yield
    finally:
        release(folder)


def hold(folder: Path, patience: float = PATIENCE) -> None:
    """Have the folder to this process and what it forks, until `release` or its end, however that comes. Another that has it
    may be about to end, after a kill or a preemption, and is waited for so many seconds; then raises BadInput. (A file system
    that knows no locks is taken as it is.)"""
    if sys.platform == "win32" or (folder := folder.absolute()) in _held:
        return
    deadline = time.monotonic() + patience
    while (file := _locked(folder / LOCK)) is None:
        if time.monotonic() >= deadline:
            raise BadInput(
                f"out={folder} is being written to by another process; wait for it, or choose another out"
            )
        time.sleep(0.2)
    _held[folder] = file


def _locked(path: Path) -> int | None:
    """An open file that has the lock; None where another has it."""
    import fcntl

    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            os.close(file)
            return None
        return file
    if (
        not path.exists() or path.stat().st_ino != os.fstat(file).st_ino
    ):  # whoever had it has removed it meanwhile
        os.close(file)
        return None
    return file


def release(folder: Path) -> None:
    """Let others have it."""
    if (file := _held.pop(folder.absolute(), None)) is not None:
        (folder / LOCK).unlink(missing_ok=True)
        os.close(file)
