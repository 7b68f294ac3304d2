"""TODO."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from ratiocine.executors import distributed

PATIENCE = 2  # seconds


def newest(folder: Path) -> Path | None:
    """The newest whole checkpoint in a folder."""
    return max(checkpoints(folder), key=lambda f: int(f.name), default=None)


def checkpoints(folder: Path) -> list[Path]:
    return [f for f in folder.glob("*") if f.name.isdigit()]


class Checkpoints(TrainerCallback):
    """A checkpoint counts once it has its name, the number of its step: what a kill leaves half-written has none. The newest
    `keep` are kept, and the one that `best` names. A run can go on from every `every`-th step."""

    def __init__(
        self, folder: Path, keep: int, best: Callable[[], int | None] = lambda: None, every: int = 1
    ) -> None:
        self.folder, self.keep, self.best, self.every, self.stopping, self.ended = (
            folder,
            keep,
            best,
            every,
            False,
            False,
        )

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.ended = state.global_step >= state.max_steps
        if distributed.world_size() > 1:  # a signal comes to one of them a step earlier
            self.stopping = any(distributed.all_gather(self.stopping))
        if self.stopping and not self.ended and state.global_step % self.every == 0:
            control.should_save = control.should_training_stop = True
        if self.ended:
            control.should_save = False  # the student itself is written next

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        with distributed.phase("saving a checkpoint"):
            distributed.barrier()
            if distributed.is_first():
                self._settle(args, state)
            distributed.barrier()

    def _settle(self, args: Any, state: Any) -> None:
        made = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        for file in made.rglob("*"):
            if file.is_file():
                with open(file, "rb") as handle:
                    os.fsync(handle.fileno())
        final = self.folder / str(state.global_step)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(made, final)
        for old in sorted(checkpoints(self.folder), key=lambda f: int(f.name))[: -self.keep]:
            if int(old.name) != self.best():
                shutil.rmtree(old)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        state.save_steps = args.save_steps  # a checkpoint remembers those of its own time

    @contextmanager
    def on_signal(self) -> Iterator[None]:
        """While this lasts, the first SIGTERM, SIGINT or SIGUSR2 (Slurm's, before it takes the processors away) makes a
        checkpoint after the step and ends as interrupted; a later one ends at once. A job that is ended has more than one at
        about the same time."""
        before = {
            number: signal.getsignal(number)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
        }
        first = 0.0

        def restore() -> None:
            for number, handler in before.items():
                signal.signal(number, handler)

        def asked(number: int, frame: Any) -> None:
            nonlocal first
            if self.stopping and time.monotonic() - first > PATIENCE:
                restore()
                raise KeyboardInterrupt
            first = first or time.monotonic()
            if not self.stopping and distributed.is_first():
                os.write(
                    2, b"\nending after this step, with a checkpoint; again to end at once\n"
                )  # within a write, perhaps
            self.stopping = True

        for number in before:
            signal.signal(number, asked)
        try:
            yield
        finally:
            restore()
        if self.stopping and not self.ended:
            raise KeyboardInterrupt
