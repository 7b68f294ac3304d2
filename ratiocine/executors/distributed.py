"""Several processes that train one model: which of them this is, and what only the first may do.

They are started by torchrun, `accelerate launch` or `deepspeed`, which say so in the environment. Only the first writes the run
directory; the others write into folders of their own, which go when they end.
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

# What gloo, NCCL and torch's store say when another process is gone or late.
LOST = (
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
    """How many processes there are."""
    return int(os.environ.get("WORLD_SIZE", 1))


def is_launched() -> bool:
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


def init_process_group(deadline: int, device: str) -> None:
    """Let the ranks of a CPU find each other, and wait for each other so many seconds at most; transformers forgets the latter
    there, and does both itself elsewhere."""
    import torch

    if world_size() > 1 and device == "cpu" and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo", timeout=timedelta(seconds=deadline))


def all_gather(value: T) -> list[T]:
    """What every rank gives, by rank."""
    import torch

    found: list[Any] = [value] * world_size()
    if world_size() > 1:
        torch.distributed.all_gather_object(found, value)
    return found


def scatter_map(items: Sequence[T], work: Callable[[Sequence[T]], Sequence[R]]) -> list[R]:
    """`work` makes one thing of each item; each rank does it to every so-manieth of them, and all have all that was made."""
    nothing = object()
    parts = all_gather(work(items[rank() :: world_size()]))
    interleaved: Iterable[Any] = chain.from_iterable(zip_longest(*parts, fillvalue=nothing))
    return [made for made in interleaved if made is not nothing]


@contextmanager
def phase(name: str) -> Iterator[None]:
    """What all ranks are about while this lasts, for the one line of a rank that lost another."""
    _phases.append(name)
    yield
    _phases.pop()  # not after an error: it is told what it came in


def lost_peer_message(error: BaseException) -> str | None:
    """In one line how ranks lost each other; None for an error that is not of that kind."""
    import torch

    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    text = re.sub(r"\[/[^\]]*\] *", "", text).partition(". ")[
        0
    ]  # less the place in a source file, and what follows the fact
    known = isinstance(error, RuntimeError) and any(word in str(error) for word in LOST)
    known = known or isinstance(error, torch.distributed.DistError)
    if world_size() == 1 or not known:
        return None
    if "EADDRINUSE" in str(error):
        return f"port {os.environ.get('MASTER_PORT')} is in use; give the launcher another one"
    return f"while {_phases[-1]} this rank waited for another in vain ({text[:200]})"


def check_agreement(facts: Mapping[str, Any]) -> None:
    """Raise BadInput, with both named, where a rank has other facts than the first."""
    import socket

    found = all_gather((socket.gethostname(), dict(facts)))
    host, first = found[0]
    for number, (other, those) in enumerate(found):
        if differ := [
            name for name in sorted({*first, *those}) if first.get(name) != those.get(name)
        ]:
            name, more = differ[0], f"; nor on {', '.join(differ[1:4])}" if differ[1:] else ""
            raise BadInput(
                f"ranks do not agree on {name}: rank 0 on {host} has {first.get(name)}, rank {number} on {other} has "
                f"{those.get(name)}{more}"
            )


def barrier() -> None:
    """Until all processes are here."""
    import torch

    if world_size() > 1 and torch.distributed.is_initialized():
        torch.distributed.barrier()
