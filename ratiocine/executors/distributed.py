"""The ranks of a distributed training: rank and world size, collectives, and one-line errors.

torchrun, `accelerate launch` and `deepspeed` start the ranks and set RANK and WORLD_SIZE. Only rank
0 writes the run directory; the others write to temporary folders.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, TypeVar

from ratiocine.errors import BadInput

# Found in the errors of gloo, NCCL and torch's store when another rank is gone or late.
LOST_PEER = (
    "Connection closed",
    "Connection reset",
    "Timed out",
    "Broken pipe",
    "timeout",
    "NCCL",
    "Socket",
    "Gloo",
    "gloo",
    "TCPStore",
)
_phases = ["starting"]
T = TypeVar("T")
R = TypeVar("R")


def rank() -> int:
    return int(os.environ.get("RANK", 0))


def world_size() -> int:
    """The number of ranks."""
    return int(os.environ.get("WORLD_SIZE", 1))


def is_launched() -> bool:
    """Whether a launcher has started this process."""
    return "RANK" in os.environ


def is_first() -> bool:
    return rank() == 0


@cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix=f"ratiocine-rank-{rank()}-")


def scratch() -> Path:
    """A temporary folder of this process."""
    return Path(_scratch().name)


def init_process_group(timeout: int, device: str) -> None:
    """Initialise gloo for ranks on CPUs, with a timeout of collectives in seconds.

    On GPUs transformers does so itself; on CPUs it ignores the timeout.
    """
    import torch

    if world_size() > 1 and device == "cpu" and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo", timeout=timedelta(seconds=timeout))


def all_gather(value: T) -> list[T]:
    """The values of all ranks, by rank."""
    import torch

    values = [value] * world_size()
    if world_size() > 1:
        torch.distributed.all_gather_object(values, value)
    return values


def scatter_map(items: Sequence[T], work: Callable[[Sequence[T]], Sequence[R]]) -> list[R]:
    """`work(items)`, computed in parallel: of N ranks, rank r maps items r, r + N, …, and all ranks
    return all results, in order."""
    missing = object()
    parts = all_gather(work(items[rank() :: world_size()]))
    interleaved: Iterable[Any] = chain.from_iterable(zip_longest(*parts, fillvalue=missing))
    return [result for result in interleaved if result is not missing]


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Name what all ranks are doing, for the error message of a rank that lost another."""
    _phases.append(name)
    yield
    _phases.pop()  # not in a `finally`: the message is composed after the error has left


def lost_peer_message(error: BaseException) -> str | None:
    """One line about ranks that lost each other; None for an error of another kind."""
    import torch

    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    # Drop the source location in front and all sentences after the first.
    text = re.sub(r"\[/[^\]]*\] *", "", text).partition(". ")[0]
    lost = isinstance(error, RuntimeError) and any(word in str(error) for word in LOST_PEER)
    if world_size() == 1 or not (lost or isinstance(error, torch.distributed.DistError)):
        return None
    if "EADDRINUSE" in str(error):
        return f"port {os.environ.get('MASTER_PORT')} is in use; give the launcher another one"
    return f"while {_phases[-1]} this rank waited for another in vain ({text[:200]})"


def check_agreement(facts: Mapping[str, object]) -> None:
    """Raise BadInput if the ranks differ in a fact; names it with both values."""
    import socket

    gathered = all_gather((socket.gethostname(), dict(facts)))
    host, first = gathered[0]
    for number, (other, those) in enumerate(gathered):
        names = sorted({*first, *those})
        if differ := [name for name in names if first.get(name) != those.get(name)]:
            name, more = differ[0], f"; nor on {', '.join(differ[1:4])}" if differ[1:] else ""
            raise BadInput(
                f"ranks do not agree on {name}: rank 0 on {host} has {first.get(name)}, "
                f"rank {number} on {other} has {those.get(name)}{more}"
            )


def barrier() -> None:
    """Wait for all ranks."""
    import torch

    if world_size() > 1 and torch.distributed.is_initialized():
        torch.distributed.barrier()
