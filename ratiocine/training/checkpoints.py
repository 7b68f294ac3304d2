"""Checkpoints of a run: committed atomically, rotated, and written when the process is asked to
end."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ratiocine.executors import distributed

REPEATED = 2  # seconds within which further signals count as the first
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)  # Slurm sends the last before preemption


def newest(folder: Path) -> Path | None:
    """The newest complete checkpoint in a folder; its name is its step."""
    return max(checkpoints(folder), key=lambda f: int(f.name), default=None)


def checkpoints(folder: Path) -> list[Path]:
    return [f for f in folder.glob("*") if f.name.isdigit()]


class Checkpoints(TrainerCallback):
    """Moves each checkpoint to its final name, the number of its step, once it is complete: what a
    kill leaves half-written has no such name.

    The newest `limit` are kept, and the one of step `best()`. A run can be resumed from every
    `every`-th optimizer step."""

    def __init__(
        self,
        folder: Path,
        limit: int,
        best: Callable[[], int | None] = lambda: None,
        every: int = 1,
    ) -> None:
        self.folder, self.limit, self.best, self.every = folder, limit, best, every
        self.stopping = self.finished = False

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        state.save_steps = args.save_steps  # a resumed state has those of the earlier run

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        self.finished = state.global_step >= state.max_steps
        if distributed.world_size() > 1:  # ranks see a signal at different steps
            self.stopping = any(distributed.all_gather(self.stopping))
        if self.stopping and not self.finished and state.global_step % self.every == 0:
            control.should_save = control.should_training_stop = True
        if self.finished:
            control.should_save = False  # the student itself is saved next

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        with distributed.phase("saving a checkpoint"):
            distributed.barrier()
            if distributed.is_first():
                self._commit(args, state)
            distributed.barrier()

    def _commit(self, args: TrainingArguments, state: TrainerState) -> None:
        written = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        for file in written.rglob("*"):
            if file.is_file():
                with open(file, "rb") as handle:
                    os.fsync(handle.fileno())
        final = self.folder / str(state.global_step)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(written, final)
        for old in sorted(checkpoints(self.folder), key=lambda f: int(f.name))[: -self.limit]:
            if int(old.name) != self.best():
                shutil.rmtree(old)

    @contextmanager
    def on_signal(self) -> Iterator[None]:
        """Within this context the first of `SIGNALS` saves a checkpoint at the next step that
        `every` allows and raises KeyboardInterrupt. One that comes more than `REPEATED` seconds
        later raises at once; earlier ones are a scheduler's repeats."""
        previous = {number: signal.getsignal(number) for number in SIGNALS}
        first = 0.0

        def restore() -> None:
            for number, handler in previous.items():
                signal.signal(number, handler)

        def handle(number: int, frame: FrameType | None) -> None:
            nonlocal first
            if self.stopping and time.monotonic() - first > REPEATED:
                restore()
                raise KeyboardInterrupt
            first = first or time.monotonic()
            if not self.stopping and distributed.is_first():
                # not `print`, which may be in the middle of a write
                os.write(2, b"\nending after this step, with a checkpoint; again to end at once\n")
            self.stopping = True

        for number in previous:
            signal.signal(number, handle)
        try:
            yield
        finally:
            restore()
        if self.stopping and not self.finished:
            raise KeyboardInterrupt
