"""One writer for each folder: a file lock that ends with its process, however that ends."""

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
TIMEOUT = 30.0  # seconds

_open: dict[Path, int] = {}  # file descriptors of this process's locks, by folder


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Create a folder and lock it for the block; raises BadInput as `acquire`."""
    folder.mkdir(parents=True, exist_ok=True)
    acquire(folder)
    try:
        yield
    finally:
        release(folder)


def acquire(folder: Path, timeout: float = TIMEOUT) -> None:
    """Lock a folder for this process and its forks, until `release` or its end.

    Another owner may be about to end, after a kill or a preemption, and is waited for `timeout`
    seconds; then raises BadInput. On a file system without locks it does nothing.
    """
    if sys.platform == "win32" or (folder := folder.absolute()) in _open:
        return
    deadline = time.monotonic() + timeout
    while (file := _locked(folder / LOCK)) is None:
        if time.monotonic() >= deadline:
            raise BadInput(
                f"out={folder} is being written to by another process; wait for it, or choose "
                "another out"
            )
        time.sleep(0.2)
    _open[folder] = file


def _locked(path: Path) -> int | None:
    """The descriptor of the locked file; None where another process has the lock."""
    import fcntl

    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            os.close(file)
            return None
        return file
    # Its previous owner may have removed the file between the two calls above.
    if not path.exists() or path.stat().st_ino != os.fstat(file).st_ino:
        os.close(file)
        return None
    return file


def is_locked(folder: Path) -> bool:
    """Whether a process has the folder locked, found without writing anything; False on a file
    system without locks."""
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        file = os.open(folder / LOCK, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        # For an instant only: an owner that begins just now tries again (`acquire`).
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EAGAIN, errno.EACCES)
    finally:
        os.close(file)
    return False


def is_held(folder: Path) -> bool:
    """Whether this process has the folder locked."""
    return folder.absolute() in _open


def release(folder: Path) -> None:
    """Unlock a folder, where this process has locked it."""
    if (file := _open.pop(folder.absolute(), None)) is not None:
        (folder / LOCK).unlink(missing_ok=True)
        os.close(file)
