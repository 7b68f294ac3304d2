"""Several processes that train one model: which of them this is, and what only the first may do.

They are started by torchrun, `accelerate launch` or `deepspeed`, which say so in the environment. Only the first writes the run
directory; the others write into folders of their own, which go when they end.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


def rank() -> int:
    return int(os.environ.get("RANK", 0))


def world() -> int:
    """How many processes there are."""
    return int(os.environ.get("WORLD_SIZE", 1))


def launched() -> bool:
    """Whether a launcher started this process."""
    return "RANK" in os.environ


def is_first() -> bool:
    return rank() == 0


@cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix=f"ratiocine-rank-{rank()}-")


def scratch() -> Path:
    """A folder of this process alone, removed when it ends."""
    return Path(_scratch().name)


def gathered(value: T) -> list[T]:
    """What every rank gives, by rank."""
    import torch

    found: list[Any] = [value] * world()
    if world() > 1:
        torch.distributed.all_gather_object(found, value)
    return found


def shared_out(items: Sequence[T], work: Callable[[Sequence[T]], Sequence[R]]) -> list[R]:
    """`work` makes one thing of each item; each rank does it to every so-manieth of them, and all have all that was made."""
    nothing = object()
    parts = gathered(work(items[rank() :: world()]))
    return [made for made in chain.from_iterable(zip_longest(*parts, fillvalue=nothing)) if made is not nothing]  # type: ignore[misc]


def wait() -> None:
    """Until all processes are here."""
    import torch

    if world() > 1 and torch.distributed.is_initialized():
        torch.distributed.barrier()
