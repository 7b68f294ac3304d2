"""python -m bench.memory: what a run of `train` needs on a CPU beside the model that it has loaded, measured and as
`ratiocine.memory` estimates it, each case in a process of its own.

Measured are the bytes of live tensors, by torch's own account of its allocator: from the loaded, idle model to the peak of
the steps that follow, which is what torch.cuda.max_memory_allocated tells of a GPU. The resident set of the process is given
beside it: it also holds what libraries allocate (oneDNN packs weights anew for a product) and what the allocator of the C
library keeps of freed memory, which no estimate from shapes can tell.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

STEPS = 3
MODELS = {
    "tiny": [("", 8, 400), ("", 1, 200), ("gradient_checkpointing=true", 8, 400)],
    "smollm2-135m": [("", 2, 512), ("", 8, 128), ("gradient_checkpointing=true", 4, 512)],
}  # of each model more words, micro_batch_size and max_length


def measured(words: Sequence[str], sampled: float = 0.02) -> dict[str, Any]:
    """Bytes that `python -m train words…` needs beside its loaded model, as estimated and as measured, by live tensors and by
    the resident set; in this process, where nothing may have been trained before."""
    import psutil
    import torch
    from torch.profiler import ProfilerActivity, profile

    from ratiocine import cli, memory
    from train import sft
    from train.config import Config
    from train.trainer import RatioTrainer

    found: dict[str, Any] = {}
    load, fit, fits, me = sft.load, RatioTrainer.train, memory.check, psutil.Process()
    account = profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True)
    most, watching = [0], threading.Event()

    def watch() -> None:
        while not watching.wait(sampled):
            most[0] = max(most[0], me.memory_info().rss)

    def checked(*args: Any, **kwargs: Any) -> Any:
        found["need"] = fits(*args, **kwargs)
        return found["need"]

    def loaded(*args: Any, **kwargs: Any) -> Any:
        model = load(*args, **kwargs)
        found["held"] = sum(getattr(weight, "ds_tensor", weight).nbytes for weight in model.parameters())
        found["rss"] = me.memory_info().rss
        threading.Thread(target=watch, daemon=True).start()
        account.start()
        return model

    def trained(self: Any, *args: Any, **kwargs: Any) -> Any:
        made = fit(self, *args, **kwargs)
        watching.set()
        account.stop()
        return made

    sft.load, RatioTrainer.train, memory.check = loaded, trained, checked  # type: ignore[method-assign]
    sft.train(cli.compose("train", Config, list(words)))
    need = found["need"]
    return {
        "estimate": need.total - found["held"], "measured": peak(account), "resident": most[0] - found["rss"],
        "held": found["held"], "weights": need.weights, "need": str(need),
        "parts": {k: v for k, v in vars(need).items() if isinstance(v, int)},
    }  # fmt: skip


def peak(account: Any) -> int:
    """The most bytes that were live at once of those allocated while the profiler looked."""
    live = most = 0
    for event in sorted(account.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            live += event.nbytes()
            most = max(most, live)
    return most
