"""FLOPs per second: of the finished stages of a verb, or of this machine's matmuls."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path

from launch.stages import Stage
from ratiocine import runs
from ratiocine.stores import read_object


def measured_rate(verb: str, stages: Sequence[Stage], done: Mapping[str, Path]) -> float | None:
    """FLOPs per second of the finished stages of a verb; None without one."""
    total = seconds = 0.0
    for stage in stages:
        if stage.verb != verb or stage.name not in done:
            continue
        manifest = runs.read_manifest(done[stage.name])
        if verb == "eval":
            scores = read_object(done[stage.name] / "scores.json")
            flops = (scores["all"]["flops"] or 0.0) * scores["all"]["n"]
            elapsed = manifest.evaluation.seconds
        else:
            flops, elapsed = manifest.training.train_flops or 0.0, manifest.training.seconds
        if flops:
            total, seconds = total + flops, seconds + (elapsed or 0.0)
    return total / seconds if total and seconds else None


@cache
def machine_rate() -> float | None:
    """FLOPs per second of this machine's matmuls; None if the measurement fails.

    Measured in a child process: a process whose OpenMP threads have run a matmul can no longer
    fork children that do (the stages).
    """
    from multiprocessing import get_context

    context = get_context("fork") if sys.platform == "linux" else get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_rate, args=(sender,))
    process.start()
    sender.close()
    try:
        return float(receiver.recv())
    except EOFError:
        return None
    finally:
        process.join()


def _send_rate(sender: Connection) -> None:
    from ratiocine import devices

    device = devices.resolve_device("auto")
    sender.send(devices.matmul_rate(device, devices.compute_dtype("auto", device)))
