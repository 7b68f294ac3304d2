"""Start-up and end of commands: what their imports leave out.

Two costs of the libraries behind a verb. They make a million objects that live as long as the
process; by default Python visits these again and again while they are imported, and several times
as it ends. And they import what they find installed, whether or not a run uses it.

What is left out here is imported after all where it is used, or where a later release of a library
asks for it in another way: a start is slower then, and nothing else changes.
"""

from __future__ import annotations

import functools
import gc
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

IMPORTING = (200_000, 10, 10)
"""Thresholds of `gc` during imports; not off, as a command may never reach `freeze_imports`."""
COMPILER = "torch._dynamo"
MODELS = "transformers.modeling_layers"  # what the models of transformers import
_usual = gc.get_threshold()
_command = False


def begin_imports() -> None:
    """Mark this process as that of one command; collect garbage rarely until `freeze_imports`."""
    global _command
    _command = True
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
    """Import transformers as if these packages were not installed, those apart that are imported
    already. It, peft and accelerate import optional packages wherever they find them, and remember
    what they found: once transformers is imported nothing is hidden.
    """
    known = "transformers" in sys.modules
    names = [name for name in packages if not known and name not in sys.modules]
    # None makes an import of the name raise ModuleNotFoundError (Python's import system).
    sys.modules.update(dict.fromkeys(names))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in names:
            if sys.modules.get(name, name) is None:
                del sys.modules[name]


def import_transformers(*, inference: bool) -> None:
    """Import the models of transformers; for `inference`, in the process of a command, without
    torch's compiler and its tensors that are sharded across ranks (`DTensor`)."""
    if "transformers" in sys.modules:
        return
    with hidden("scipy"):  # for the losses of object detection
        if inference and _command:
            # An ImportError: a release that needs more of the compiler than the stand-in has.
            with suppress(ImportError), _compiler_stand_in():
                _without_ranks()
                importlib.import_module(MODELS)
        importlib.import_module(MODELS)


class _Deferred(ModuleType):
    """A package that is imported when an attribute of it is first used."""

    def __getattr__(self, name: str) -> Any:
        module: Any = self
        module.__class__ = ModuleType  # first, as the import itself looks for attributes
        module.__spec__.loader.exec_module(module)
        return getattr(self, name)


def defer(package: str) -> None:
    """Let `import package` import it on first use; nothing where it is missing or imported.

    `importlib.util.LazyLoader` would import it at the import statement, which looks at `__spec__`.
    """
    if package not in sys.modules and (spec := find_spec(package)) is not None:
        module: ModuleType = module_from_spec(spec)
        module.__class__ = _Deferred
        sys.modules[package] = module


class _Compiler(ModuleType):
    """Stand-in of `torch._dynamo` with the decorators that transformers uses when it is imported.
    Their marks are for `torch.compile`, which no command calls. For anything else the compiler is
    imported."""

    def __getattr__(self, name: str) -> Any:
        if name == "disable":
            return _disable
        if name in ("allow_in_graph", "assume_constant_result"):
            return lambda function: function
        sys.modules.pop(COMPILER, None)
        return getattr(importlib.import_module(COMPILER), name)


@contextmanager
def _compiler_stand_in() -> Iterator[None]:
    import torch  # noqa: F401

    if COMPILER in sys.modules or (spec := find_spec(COMPILER)) is None:
        yield
        return
    stand_in = module_from_spec(spec)
    stand_in.__class__ = _Compiler
    sys.modules[COMPILER] = stand_in
    try:
        yield
    finally:
        if sys.modules.get(COMPILER) is stand_in:
            del sys.modules[COMPILER]


def _disable(function: Any = None, recursive: bool = True, **options: Any) -> Any:
    """`torch._dynamo.disable`, applied when the function is first called."""
    if function is None:
        return functools.partial(_disable, recursive=recursive, **options)

    @functools.cache
    def disabled() -> Any:
        return importlib.import_module(COMPILER).disable(function, recursive, **options)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return disabled()(*args, **kwargs)

    return call


def _without_ranks() -> None:
    """Let transformers find, and remember, that this build of torch has no ranks."""
    import torch

    found = torch.distributed.is_available
    torch.distributed.is_available = lambda: False
    try:
        importlib.import_module("transformers.utils").is_torch_distributed_available()
    finally:
        torch.distributed.is_available = found
