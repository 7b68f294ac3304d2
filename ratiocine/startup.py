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
from importlib.util import find_spec, module_from_spec
from types import ModuleType

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


class _Deferred(ModuleType):
    """A package that is imported when an attribute of it is first used."""

    def __getattr__(self, name: str) -> object:
        self.__class__ = ModuleType  # first, as the import itself looks for attributes
        assert self.__spec__ and self.__spec__.loader
        self.__spec__.loader.exec_module(self)
        return getattr(self, name)


def defer(package: str) -> None:
    """Let `import package` import it on first use; nothing where it is missing or imported.

    `importlib.util.LazyLoader` would import it at the import statement, which looks at `__spec__`.
    """
    if package not in sys.modules and (spec := find_spec(package)) is not None:
        module = module_from_spec(spec)
        module.__class__ = _Deferred
        sys.modules[package] = module


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
