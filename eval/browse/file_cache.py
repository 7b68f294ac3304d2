"""Values computed from files, kept until a file changes."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")
Version = tuple[tuple[int, int, int] | None, ...]


class FileCache(Generic[T]):
    """The `size` values that were used last; one is computed at a time."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._values: OrderedDict[Hashable, tuple[Version, T]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable, files: Sequence[Path], make: Callable[[], T]) -> T:
        """The value of `key`: `make()`, again once one of the files has another inode, time of
        change or size."""
        with self._lock:
            version = tuple(_version(file) for file in files)
            known = self._values.pop(key, None)
            found = make() if known is None or known[0] != version else known[1]
            self._values[key] = version, found
            while len(self._values) > self.size:
                self._values.popitem(last=False)
            return found


def _version(file: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_ino, found.st_ctime_ns, found.st_size
