"""python -m bench.memory: what a run of `train` needs on a CPU beside the model that it has loaded, measured and as
`ratiocine.memory` estimates it, each case in a process of its own.

Measured are the bytes of live tensors, by torch's own account of its allocator: from the loaded, idle model to the peak of
the steps that follow, which is what torch.cuda.max_memory_allocated tells of a GPU. The resident set of the process is given
beside it: it also holds what libraries allocate (weights packed anew for a product) and what the allocator of the C
library keeps of freed memory, which no estimate from shapes can tell.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

CASES = {
    "tiny": [
        "micro_batch_size=4",
        "micro_batch_size=8 lora=true",
        "micro_batch_size=1 max_length=200",
        "micro_batch_size=16",
        "micro_batch_size=4 precision=bfloat16",
        "micro_batch_size=4 precision=bfloat16 lora=true",
        "micro_batch_size=8 gradient_checkpointing=true",
        "micro_batch_size=4 gradient_checkpointing=true lora=true",
        "micro_batch_size=4 attention=sdpa",
        "micro_batch_size=4 attention=sdpa padding_free=true precision=bfloat16",
    ],
    "smollm2-135m": [
        "micro_batch_size=2",
        "micro_batch_size=4 lora=true",
        "micro_batch_size=4 precision=bfloat16",
        "micro_batch_size=4 precision=bfloat16 lora=true",
        "micro_batch_size=16 max_length=100 attention=sdpa",
        "micro_batch_size=1 gradient_checkpointing=true",
        "micro_batch_size=4 gradient_checkpointing=true lora=true precision=bfloat16",
    ],
}


def measured(words: Sequence[str], *, resident: bool = False) -> dict[str, Any]:
    """Bytes that `python -m train words…` needs beside its loaded model, as estimated and as measured in this process: of live
    tensors, or of the resident set, which the account of tensors would itself enlarge."""
    import psutil
    from torch.profiler import ProfilerActivity, profile

    from ratiocine import cli
    from ratiocine.memory import checks
    from train import sft
    from train.config import Config
    from train.ratio_trainer import RatioTrainer

    found: dict[str, Any] = {}
    load, fit, fits, me = sft.load, RatioTrainer.train, checks.check, psutil.Process()
    account = profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True)
    most, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.01):
            most[0] = max(most[0], me.memory_info().rss)

    def checked(*args: Any, **kwargs: Any) -> Any:
        found["need"] = fits(*args, **kwargs)
        return found["need"]

    def loaded(*args: Any, **kwargs: Any) -> Any:
        model = load(*args, **kwargs)
        found["held"] = sum(weight.nbytes for weight in model.parameters())
        gc.collect()  # what is let go later would count against what is made
        if resident:
            for (
                weight
            ) in model.parameters():  # what is mapped from a file is not there before it is read
                weight.detach().sum()
            found["before"] = me.memory_info().rss
            threading.Thread(target=watch, daemon=True).start()
        else:
            account.start()
        return model

    def trained(self: Any, *args: Any, **kwargs: Any) -> Any:
        made = fit(self, *args, **kwargs)
        ended.set()
        if not resident:
            account.stop()
        return made

    sft.load, RatioTrainer.train, checks.check = loaded, trained, checked  # type: ignore[method-assign]
    try:
        with contextlib.redirect_stdout(None):
            sft.train(cli.compose("train", Config, list(words)))
    finally:
        sft.load, RatioTrainer.train, checks.check = load, fit, fits  # type: ignore[method-assign]
    used = most[0] - found["before"] if resident else peak(account)
    return {
        "estimate": found["need"].total - found["held"],
        "measured": used,
        "need": str(found["need"]),
    }


def peak(account: Any) -> int:
    """The most bytes that were live at once of those allocated while the profiler looked."""
    live = most = 0
    for event in sorted(
        account.profiler.kineto_results.events(), key=lambda event: event.start_ns()
    ):
        if event.name() == "[memory]":
            live += event.nbytes()
            most = max(most, live)
    return most


def alone(words: Sequence[str], *, resident: bool = False) -> dict[str, Any]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(measured, words, resident=resident).result()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.memory", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--models", nargs="+", choices=list(CASES), default=list(CASES))
    options = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    ratios, residents = dict[str, float](), dict[str, float]()
    with tempfile.TemporaryDirectory() as folder:
        made = ["teacher=oracle", "data=demo", "limit=20", "model=tiny", f"out={folder}/pairs"]
        subprocess.run([sys.executable, "-m", "distill", *made], check=True, capture_output=True)
        for model, case in ((name, case) for name in options.models for case in CASES[name]):
            words = [
                f"model={model}",
                "ratio=0.5",
                f"pairs={folder}/pairs",
                "batch_size=16",
                "max_steps=2",
                "device=cpu",
                "threads=1",
                "lr=1e-5",
                *case.split(),
                *([] if "precision" in case else ["precision=float32"]),
            ]
            one = alone([*words, f"out={folder}/{len(ratios)}"])
            name, estimate = f"{model} {case}", one["estimate"]
            ratios[name] = round(estimate / one["measured"], 3)
            said = f"{name}: estimate {estimate / 1e6:.1f} MB, tensors {one['measured'] / 1e6:.1f} ({ratios[name] - 1:+.1%})"
            if model != "tiny":  # beside which libraries are too large
                held = alone([*words, f"out={folder}/{len(ratios)}-resident"], resident=True)[
                    "measured"
                ]
                residents[name] = round(estimate / held, 3)
                said += f", resident {held / 1e6:.1f} ({residents[name] - 1:+.1%})"
            print(said, flush=True)
    worst = max(ratios, key=lambda name: abs(ratios[name] - 1))
    print(
        json.dumps(
            {
                "what": "memory that a training run needs beside its loaded, idle model on a CPU: estimate over live tensors",
                "cases": len(ratios),
                "worst": [worst, ratios[worst]],
                "ratios": ratios,
                "over_resident_set": residents,
            }
        )
    )


if __name__ == "__main__":
    main()
