"""Several processes that train one model: which of them this is, and what only the first may do.

They are started by torchrun, `accelerate launch` or `deepspeed`, which say so in the environment. Only the first writes the run
directory; the others write into folders of their own, which go when they end.
"""

from __future__ import annotations

import os
import tempfile
from functools import cache
from pathlib import Path


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


def wait() -> None:
    """Until all processes are here."""
    import torch

    if world() > 1 and torch.distributed.is_initialized():
        torch.distributed.barrier()
