"""What the checks share: inputs and runs made on first use, and processes within the time of the
check in progress."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import socket
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.gpu_check.machine import Machine
from bench.gpu_check.processes import Process
from bench.gpu_check.rows import Failed, Found, Measured, OutOfTime, Skipped
from bench.harness import significant


@dataclass(frozen=True)
class Size:
    """How large the runs are."""

    model: str
    """A shape of `bench.gpu_check.models`."""
    large: str
    data: str
    teacher: str
    pairs: int
    lr: float
    """Enough for random weights to learn within `steps` how answers end."""
    batch_size: int
    micro_batch_size: int
    steps: int
    warm: int
    """First steps that no rate counts."""
    problems: int
    """Of each family of an evaluation."""


FULL = Size(
    *("qwen2.5-0.5b", "qwen2.5-1.5b", "gsm_symbolic", "reference"),
    pairs=512,
    lr=1e-3,
    batch_size=16,
    micro_batch_size=8,
    steps=12,
    warm=3,
    problems=8,
)
TINY = Size(
    *("tiny", "tiny", "sums", "oracle"),
    pairs=24,
    lr=1e-2,
    batch_size=8,
    micro_batch_size=4,
    steps=5,
    warm=1,
    problems=1,
)
MAX_LENGTH = 2048
ESTIMATE = re.compile(r"^memory: about ([\d.e+]+) GB", re.M)


@dataclass(frozen=True)
class TrainRun:
    """A finished run of `train`."""

    name: str
    out: Path
    rows: list[dict[str, Any]]
    """metrics.jsonl"""
    facts: dict[str, Any]
    """manifest.json"""
    estimate_gb: float
    """The memory that the run announced."""

    @property
    def losses(self) -> list[float]:
        return [row["loss"] for row in self.rows]

    @property
    def peak_gb(self) -> float:
        return max(row["memory_gb"] for row in self.rows)

    def rate(self, warm: int) -> tuple[float, float]:
        """Tokens and FLOPs per second after the first `warm` steps, by the median step."""
        tokens, flops = [], []
        for before, row in zip(self.rows[warm - 1 :], self.rows[warm:], strict=False):
            seconds = (row["tokens"] - before["tokens"]) / row["tokens_per_second"]
            tokens.append(row["tokens_per_second"])
            flops.append((row["flops"] - before["flops"]) / seconds)
        return statistics.median(tokens), statistics.median(flops)


class Workbench:
    """One run of all checks: `begin` starts a check, whose processes end at its deadline."""

    def __init__(self, folder: Path, size: Size, *, forked: bool) -> None:
        self.folder, self.size, self.forked = folder, size, forked
        self.machine: Machine
        self.deadline = float("inf")
        self.found = Found()
        self.made: dict[str, Any] = {}
        self.count = 0

    def begin(self, deadline: float) -> Found:
        """Start a check that has to end at `deadline` (of `time.monotonic`)."""
        self.deadline, self.found = deadline, Found()
        return self.found

    def start(
        self, module: str, *args: str, environment: Mapping[str, str] = {}, forked: bool = True
    ) -> Process:
        self.count += 1
        words = " ".join(f"{name}={value}" for name, value in environment.items())
        shown = f"{words} python -m {module} {shlex.join(args)}".strip()
        self.found.commands.append(shown.replace(str(self.folder), "WORK"))
        log = self.folder / f"{self.count}-{module.rpartition('.')[2]}.log"
        return Process(module, args, log, forked=self.forked and forked, environment=environment)

    def run(
        self, module: str, *args: str, environment: Mapping[str, str] = {}, forked: bool = True
    ) -> Process:
        """A finished process. Raises Failed or OutOfTime."""
        process = self.start(module, *args, environment=environment, forked=forked)
        process.check(self.deadline)
        return process

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` returns, or how it failed, kept for later checks."""
        if name not in self.made:
            try:
                self.made[name] = make()
            except Failed as error:
                self.made[name] = error
                raise
        if isinstance(self.made[name], Failed):
            raise Skipped(f"needs {name}, which failed: {self.made[name]}")
        return self.made[name]

    def pairs(self) -> Path:
        """Problems, each with a direct answer and a worked solution."""
        out = self.folder / "pairs"

        def make() -> Path:
            source = (f"teacher={self.size.teacher}", f"data={self.size.data}")
            limit = f"limit={self.size.pairs}"
            self.run("distill", *source, limit, "model=tiny", f"out={out}")
            return out

        return self.once("the pairs", make)

    def model(self, name: str | None = None) -> Path:
        """A model folder of this shape."""
        shape = name or self.size.model
        out = self.folder / "models" / shape

        def make() -> Path:
            self.run("bench.gpu_check.models", shape, str(out))
            return out

        return self.once(f"the model {shape}", make)

    def overrides(self, *words: str, model: str | None = None, ratio: float = 0.5) -> list[str]:
        """Of `train`, without `out`."""
        size = self.size
        return [
            f"ratio={ratio}",
            f"model={self.model(model)}",
            f"pairs={self.pairs()}",
            f"batch_size={size.batch_size}",
            f"micro_batch_size={size.micro_batch_size}",
            f"max_steps={size.steps}",
            f"max_length={MAX_LENGTH}",
            f"lr={size.lr}",
            *words,
        ]

    def train(
        self,
        name: str,
        *words: str,
        model: str | None = None,
        ratio: float = 0.5,
        environment: Mapping[str, str] = {},
        forked: bool = True,
        keep: bool = False,
    ) -> TrainRun:
        """The run of `train` with this name, made on first use; its weights are kept if asked."""

        def make() -> TrainRun:
            out = self.folder / name
            arguments = (*self.overrides(*words, model=model, ratio=ratio), f"out={out}")
            process = self.run("train", *arguments, environment=environment, forked=forked)
            return self.finished(name, out, process, keep=keep)

        return self.once(name, make)

    def finished(self, name: str, out: Path, process: Process, *, keep: bool = False) -> TrainRun:
        """A run read from its files."""
        lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        estimate = ESTIMATE.search(process.log.read_text(encoding="utf-8", errors="replace"))
        facts = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
        if not keep:
            shutil.rmtree(out / "model")
        gb = float(estimate[1]) if estimate else float("nan")
        return TrainRun(name, out, [json.loads(line) for line in lines], facts, gb)

    def full(self) -> TrainRun:
        """Training of all weights, with which others are compared."""
        return self.train("sft-full")

    def student(self) -> Path:
        """The folder of a student of short answers, which it ends."""
        words = (f"max_steps={2 * self.size.steps}",)  # to learn how answers end
        return self.train("student", *words, ratio=0, keep=True).out / "model"

    def note(self, **values: Any) -> None:
        """Record numbers of the check in progress."""
        rounded: Measured = {
            name: significant(value) if isinstance(value, float) else value
            for name, value in values.items()
        }
        self.found.measured.update(rounded)

    def note_training(self, run: TrainRun) -> None:
        tokens, flops = run.rate(self.size.warm)
        self.note(
            loss_first=run.losses[0],
            loss_last=run.losses[-1],
            tokens_per_second=tokens,
            mfu=flops / self.machine.peak_flops,
            peak_gb=run.peak_gb,
            estimate_gb=run.estimate_gb,
            precision=run.facts["precision"],
            attention=run.facts["attention"],
            padding_free=run.facts["padding_free"],
        )


def single_rank() -> dict[str, str]:
    """The environment that torchrun gives to a single process."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ranks = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
    return {**ranks, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def largest_difference(a: Sequence[float], b: Sequence[float]) -> float:
    """The largest relative difference of two logs of losses."""
    if len(a) != len(b):
        raise Failed(f"{len(a)} steps instead of {len(b)}")
    return max(abs(x - y) / abs(y) for x, y in zip(a, b, strict=True))


def wait_for(condition: Callable[[], bool], process: Process, deadline: float, what: str) -> None:
    """Wait until a running process has done something. Raises Failed where it ends before."""
    while not condition():
        if (code := process.poll()) is not None:
            raise Failed(f"ended with exit code {code} before {what}", process.tail())
        if time.monotonic() > deadline:
            process.end()
            raise OutOfTime(f"no {what} within the time limit", process.tail())
        time.sleep(0.01)
