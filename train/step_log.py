"""What happens after every step: a row in the log, in the tracker and in the progress bar."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from ratiocine.errors import Failure
from ratiocine.executors import distributed
from ratiocine.records import MODES
from ratiocine.runs import Tracker
from ratiocine.training import peak_memory
from train.scenario import Example


class StepLog(TrainerCallback):
    """One row a step in `metrics.jsonl` (appended live), in the tracker and in the progress bar. Of a run that goes on, the
    first `done` rows are those that were there, in `before`. `flops` says what a global batch costs, exact and by the published
    formula; `peak` is what the device could do in a second."""

    def __init__(
        self,
        path: Path,
        before: Path,
        bar: Any,
        batches: Sequence[Sequence[Example]],
        flops: Callable[[Sequence[Example]], tuple[int, int]],
        *,
        peak: float,
        tracker: Tracker,
        done: int = 0,
    ) -> None:
        self.path, self.bar, self.batches, self.flops, self.peak, self.tracker = (
            path,
            bar,
            batches,
            flops,
            peak,
            tracker,
        )
        self.rows: list[dict[str, Any]] = (
            [json.loads(line) for line in before.read_text().splitlines()[:done]] if done else []
        )
        self.tokens: int = self.rows[-1]["tokens"] if done else 0
        self.seen = 0  # tokens of this step, of this rank
        self.before: float = self.rows[-1]["seconds"] if done else 0.0
        self.seconds, self.norm = self.before, 0.0
        self.parts: list[
            torch.Tensor
        ] = []  # of each micro-batch: its loss, and sums and counts of token losses by format
        self.totals: list[float] = []
        self.more: dict[str, float] = {}  # what else is known of this step
        partial = path.with_name(f".{path.name}.partial")  # other ranks read it meanwhile
        partial.write_text("".join(json.dumps(row) + "\n" for row in self.rows))
        partial.replace(path)
        bar.update(done)

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.started = self.last = time.perf_counter()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        sums = torch.cat(
            [torch.stack(self.parts).sum(0), torch.tensor([self.seen], device=self.parts[0].device)]
        ).double()
        if distributed.world_size() > 1:
            torch.distributed.all_reduce(sums)
        *self.totals, tokens = sums.tolist()
        self.tokens, self.seen = self.tokens + int(tokens), 0
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
        by_format = {
            f"loss_{mode}": total / n if n else None
            for mode, total, n in zip(MODES, sums[:2], sums[2:], strict=True)
        }
        before = self.rows[-1] if self.rows else {"tokens": 0, "flops": 0, "flops_paper": 0}
        exact, paper = self.flops(self.batches[step - 1])
        self.rows.append(
            {
                "step": step,
                "loss": loss,
                **by_format,
                "lr": self.rate,
                "grad_norm": self.norm,
                "tokens": self.tokens,
                "flops": before["flops"] + exact,
                "flops_paper": before["flops_paper"] + paper,
                **self.more,
                "seconds": round(self.seconds, 2),
                "tokens_per_second": round((self.tokens - before["tokens"]) / spent, 1),
                "mfu": round(exact / spent / self.peak, 4),
                "memory_gb": round(peak_memory() / 2**30, 3),
            }
        )
        self.more = {}
        with open(self.path, "a") as file:
            file.write(json.dumps(self.rows[-1]) + "\n")
        self.tracker.log(step, self.rows[-1])
        self.bar.set_postfix_str(
            f"loss {loss:.3f}, {self.tokens / self.seconds:.0f} tokens/s", refresh=False
        )
        self.bar.update()
