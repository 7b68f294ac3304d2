"""FLOPs per second of a verb: measured in finished stages, assumed, of the assumed card, or of this
machine's matmuls."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal, cast

from launch.cards import CARDS
from launch.config import Assumptions
from launch.stages import Stage
from ratiocine import runs
from ratiocine.executors import ExecutorConfig
from ratiocine.stores import read_object

# Rough model FLOPs utilization: the fraction of the machine's matmul rate that a verb reaches.
Working = Literal["train", "eval", "rl"]
UTILIZATION: Mapping[Working, float] = {"train": 0.4, "eval": 0.15, "rl": 0.25}


class Rates:
    """The rates of a study's verbs, each from the first source that knows it."""

    def __init__(
        self,
        assumptions: Assumptions,
        executor: ExecutorConfig,
        stages: Sequence[Stage],
        done: Mapping[str, Path],
    ) -> None:
        self.assumptions, self.executor = assumptions, executor
        self.measured = {verb: measured_rate(verb, stages, done) for verb in UTILIZATION}

    def of_job(self, verb: str, gpus: int) -> float | None:
        """FLOPs per second of a job on so many GPUs or workers, over which its work is taken to
        divide evenly; None if unknown."""
        key = cast(Working, verb)
        if measured := self.measured[key]:
            return measured
        one = self._of_one(key)
        return None if one is None else gpus * one

    def _of_one(self, verb: Working) -> float | None:
        known = self.assumptions
        if assumed := known.flops_per_second.get(verb):
            return assumed
        if known.gpu:
            return CARDS[known.gpu].flops * known.mfu.get(verb, UTILIZATION[verb])
        executor, share = self.executor, 1.0
        if executor.name == "slurm":
            if executor.requests_gpus:  # which this machine may not have
                return None
            cpus = executor.cpus_per_task * executor.nproc
            share = min(1.0, cpus / (os.cpu_count() or 1))
        matmuls = machine_rate()
        return share * UTILIZATION[verb] * matmuls if matmuls else None

    @property
    def source(self) -> str:
        """Where they come from, for a message."""
        known = self.assumptions
        if any(self.measured.values()):
            return "as finished stages took"
        if rates := known.flops_per_second:
            return ", ".join(f"{verb} at {rate:.2g} FLOPs/s" for verb, rate in rates.items())
        if known.gpu:
            mfu = {verb: known.mfu.get(verb, share) for verb, share in UTILIZATION.items()}
            told = ", ".join(f"{verb} {share:g}" for verb, share in mfu.items())
            of = CARDS[known.gpu]
            dtype = "" if of.bfloat16 else " in float32 (it has no bfloat16)"
            return f"{known.gpu}: {of.flops / 1e12:g} TFLOP/s{dtype} × mfu ({told})"
        return "roughly, from this machine's matmul rate"


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
