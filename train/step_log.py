"""One row per step: in `metrics.jsonl`, in the tracker and in the progress bar."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ratiocine.errors import Failure
from ratiocine.executors import distributed
from ratiocine.progress import count_earlier
from ratiocine.records import MODES
from ratiocine.runs import Tracker
from ratiocine.training import peak_memory, truncate_log
from train.scenario import Example

if TYPE_CHECKING:
    from tqdm import tqdm

Row = dict[str, Any]


class StepLog(TrainerCallback):
    """Logs each step. A resumed run keeps the first `done` rows of the log of the interrupted one
    in the folder `previous`.

    `flops` gives the FLOPs of a global batch, exact and by the published formula; `peak` is the
    FLOPs per second of the device, for the model FLOPs utilization (MFU)."""

    def __init__(
        self,
        path: Path,
        previous: Path,
        bar: tqdm[NoReturn],
        batches: Sequence[Sequence[Example]],
        flops: Callable[[Sequence[Example]], tuple[int, int]],
        *,
        peak: float,
        tracker: Tracker,
        done: int = 0,
    ) -> None:
        self.path, self.bar, self.batches = path, bar, batches
        self.flops, self.peak, self.tracker = flops, peak, tracker
        self.rows: list[Row] = truncate_log(path, previous, done)
        self.tokens: int = self.rows[-1]["tokens"] if done else 0
        self.seconds_before: float = self.rows[-1]["seconds"] if done else 0.0
        self.seconds, self.norm = self.seconds_before, 0.0
        # Of this rank's micro-batches in this step: loss, then sums and counts of token losses by
        # format.
        self.micro_batches: list[torch.Tensor] = []
        self.micro_batch_tokens = 0
        self.totals: list[float] = []
        self.validation: dict[str, float] = {}  # metrics of this step, added by `ValidationLoss`
        count_earlier(bar, done)

    def add_micro_batch(self, sums: torch.Tensor, tokens: int) -> None:
        self.micro_batches.append(sums)
        self.micro_batch_tokens += tokens

    def discard_micro_batches(self) -> None:
        """Forget those of the trial step (`training.session`)."""
        self.micro_batches.clear()
        self.micro_batch_tokens = 0

    def on_train_begin(self, *args: object, **kwargs: object) -> None:
        self.started = self.last = time.perf_counter()

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        tokens_here = torch.tensor([self.micro_batch_tokens], device=self.micro_batches[0].device)
        sums = torch.cat([torch.stack(self.micro_batches).sum(0), tokens_here]).double()
        if distributed.world_size() > 1:
            torch.distributed.all_reduce(sums)
        *self.totals, tokens = sums.tolist()
        self.tokens += int(tokens)
        self.rate = kwargs["lr_scheduler"].get_last_lr()[0]
        self.discard_micro_batches()
        if not math.isfinite(self.totals[0] + self.norm):
            names = ", ".join(name for name, _ in self.batches[state.global_step])
            raise Failure(
                f"the loss of step {state.global_step + 1} is {self.totals[0]}, with a gradient "
                f"norm of {self.norm}; earlier checkpoints are kept; its problems: {names}"
            )

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        now, step = time.perf_counter(), state.global_step
        elapsed, self.last = now - self.last, now
        self.seconds = self.seconds_before + now - self.started
        row = self._row(step, elapsed)
        self.rows.append(row)
        self.validation = {}
        with open(self.path, "a") as file:
            file.write(json.dumps(row) + "\n")
        self.tracker.log(step, row)
        self.bar.set_postfix_str(
            f"loss {row['loss']:.3f}, {self.tokens / self.seconds:.0f} tokens/s", refresh=False
        )
        self.bar.update()

    def _row(self, step: int, elapsed: float) -> Row:
        loss, *sums = self.totals
        by_format = {
            f"loss_{mode}": total / n if n else None
            for mode, total, n in zip(MODES, sums[:2], sums[2:], strict=True)
        }
        before = self.rows[-1] if self.rows else {"tokens": 0, "flops": 0, "flops_paper": 0}
        exact, paper = self.flops(self.batches[step - 1])
        return {
            "step": step,
            "loss": loss,
            **by_format,
            "lr": self.rate,
            "grad_norm": self.norm,
            "tokens": self.tokens,
            "flops": before["flops"] + exact,
            "flops_paper": before["flops_paper"] + paper,
            **self.validation,
            "seconds": round(self.seconds, 2),
            "tokens_per_second": round((self.tokens - before["tokens"]) / elapsed, 1),
            "mfu": round(exact / elapsed / self.peak, 4),
            "memory_gb": round(peak_memory() / 2**30, 3),
        }
