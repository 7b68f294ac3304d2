"""Start-up and end of commands: garbage collection around imports, and packages that libraries
import wherever they are installed.

The libraries behind a verb make a million objects that live as long as the process. By default
Python visits them again and again while they are imported, and several times as it ends: a third of
the start-up of an evaluation, and a second at its end.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

IMPORTING = (200_000, 10, 10)
"""Thresholds of `gc` during imports; not off, as a command may never reach `freeze_imports`."""
_usual = gc.get_threshold()


def begin_imports() -> None:
    """Collect garbage rarely, until `freeze_imports`."""
    gc.set_threshold(*IMPORTING)


def freeze_imports() -> None:
    """Exempt all objects of a command from garbage collection, and collect as usual from now on.

    To be called after the imports and before weights are loaded, which would stay in memory.
    Without `begin_imports` before it does nothing.
    """
    if gc.get_threshold() == IMPORTING:
        gc.freeze()
        gc.set_threshold(*_usual)


@contextmanager
def hidden(*packages: str) -> Iterator[None]:
    """Import as if those of these packages that are not imported yet were not installed.

    transformers, peft and accelerate import optional packages wherever they find them, and remember
    what they found: hide what this process will not use through them.
    """
    names = [name for name in packages if name not in sys.modules]
    # "If the value is None, then a ModuleNotFoundError is raised" (Python's import system).
    sys.modules.update(dict.fromkeys(names))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in names:
            if sys.modules.get(name, name) is None:
                del sys.modules[name]
