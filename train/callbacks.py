"""What happens after every step: a row in the log, a checkpoint when one is due, and an orderly end when one is asked for."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from ratiocine.errors import Failure
from ratiocine.traces import MODES
from ratiocine.tracking import Tracker
from train.scenario import Example


def newest(folder: Path) -> Path | None:
    """The newest whole checkpoint in a folder."""
    return max(whole(folder), key=lambda f: int(f.name), default=None)


def whole(folder: Path) -> list[Path]:
    return [f for f in folder.glob("*") if f.name.isdigit()]


class Checkpoints(TrainerCallback):
    """A checkpoint counts once it has its name, the number of its step: what a kill leaves half-written has none. The newest
    `keep` are kept, and the one that `best` names."""

    def __init__(self, folder: Path, keep: int, best: Callable[[], int | None] = lambda: None) -> None:
        self.folder, self.keep, self.best, self.stopping, self.ended = folder, keep, best, False, False

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.ended = state.global_step >= state.max_steps
        if self.stopping and not self.ended:
            control.should_save = control.should_training_stop = True
        if self.ended:
            control.should_save = False  # the student itself is written next

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        made = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        for file in made.rglob("*"):
            if file.is_file():
                with open(file, "rb") as handle:
                    os.fsync(handle.fileno())
        final = self.folder / str(state.global_step)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(made, final)
        for old in sorted(whole(self.folder), key=lambda f: int(f.name))[: -self.keep]:
            if int(old.name) != self.best():
                shutil.rmtree(old)

    @contextmanager
    def on_signal(self) -> Iterator[None]:
        """While this lasts, the first SIGTERM or SIGINT makes a checkpoint after the step and ends as interrupted."""
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

        def restore() -> None:
            for number, handler in before.items():
                signal.signal(number, handler)

        def asked(number: int, frame: Any) -> None:
            self.stopping = True
            restore()

        for number in before:
            signal.signal(number, asked)
        try:
            yield
        finally:
            restore()
        if self.stopping and not self.ended:
            raise KeyboardInterrupt


class StepLog(TrainerCallback):
    """One row a step in `metrics.jsonl` (appended live), in the tracker and in the progress bar. Of a run that goes on, the
    first `done` rows are those that were there. `flops` says what a global batch costs, exact and by the published formula;
    `peak` is what the device could do in a second."""

    def __init__(
        self, path: Path, bar: Any, batches: Sequence[Sequence[Example]],
        flops: Callable[[Sequence[Example]], tuple[int, int]], *, peak: float, tracker: Tracker, done: int = 0,
    ) -> None:  # fmt: skip
        self.path, self.bar, self.batches, self.flops, self.peak, self.tracker = path, bar, batches, flops, peak, tracker
        self.rows: list[dict[str, Any]] = [json.loads(line) for line in path.read_text().splitlines()[:done]] if done else []
        self.tokens: int = self.rows[-1]["tokens"] if done else 0
        self.before: float = self.rows[-1]["seconds"] if done else 0.0
        self.seconds, self.norm = self.before, 0.0
        self.parts: list[torch.Tensor] = []  # of each micro-batch: its loss, and sums and counts of token losses by format
        self.totals: list[float] = []
        self.more: dict[str, float] = {}  # what else is known of this step
        path.write_text("".join(json.dumps(row) + "\n" for row in self.rows))
        bar.update(done)

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.started = self.last = time.perf_counter()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.totals = torch.stack(self.parts).sum(0).tolist()
        self.rate = kwargs["lr_scheduler"].get_last_lr()[0]
        self.parts.clear()
        if not math.isfinite(self.totals[0] + self.norm):
            names = ", ".join(name for name, _ in self.batches[state.global_step])
            raise Failure(
                f"the loss of step {state.global_step + 1} is {self.totals[0]}, with gradients of {self.norm}; what was saved "
                f"before it is kept; its problems: {names}"
            )

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        now, step = time.perf_counter(), state.global_step
        spent, self.last, self.seconds = now - self.last, now, self.before + now - self.started
        loss, *sums = self.totals
        by_format = {f"loss_{mode}": total / n if n else None for mode, total, n in zip(MODES, sums[:2], sums[2:], strict=True)}
        before = self.rows[-1] if self.rows else {"tokens": 0, "flops": 0, "flops_paper": 0}
        exact, paper = self.flops(self.batches[step - 1])
        self.rows.append({
            "step": step, "loss": loss, **by_format, "lr": self.rate, "grad_norm": self.norm,
            "tokens": self.tokens, "flops": before["flops"] + exact, "flops_paper": before["flops_paper"] + paper, **self.more,
            "seconds": round(self.seconds, 2), "tokens_per_second": round((self.tokens - before["tokens"]) / spent, 1),
            "mfu": round(exact / spent / self.peak, 4), "memory_gb": round(memory() / 2**30, 3),
        })  # fmt: skip
        self.more = {}
        with open(self.path, "a") as file:
            file.write(json.dumps(self.rows[-1]) + "\n")
        self.tracker.log(step, self.rows[-1])
        self.bar.set_postfix_str(f"loss {loss:.3f}, {self.tokens / self.seconds:.0f} tokens/s", refresh=False)
        self.bar.update()


def memory() -> int:
    """The most bytes that this process has held, of the accelerator where there is one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
