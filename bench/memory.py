"""python -m bench.memory: what a run of `train` needs on a CPU beside the model that it has loaded, measured and as
`ratiocine.memory` estimates it, each case in a process of its own.

Measured are the bytes of live tensors, by torch's own account of its allocator: from the loaded, idle model to the peak of
the steps that follow, which is what torch.cuda.max_memory_allocated tells of a GPU. The resident set of the process is given
beside it: it also holds what libraries allocate (oneDNN packs weights anew for a product) and what the allocator of the C
library keeps of freed memory, which no estimate from shapes can tell.
"""

from __future__ import annotations

import argparse
import contextlib
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
        "micro_batch_size=4", "micro_batch_size=8 lora=true", "micro_batch_size=1 max_length=200", "micro_batch_size=16",
        "micro_batch_size=4 precision=bfloat16", "micro_batch_size=4 precision=bfloat16 lora=true",
        "micro_batch_size=8 gradient_checkpointing=true", "micro_batch_size=4 gradient_checkpointing=true lora=true",
        "micro_batch_size=4 attention=sdpa", "micro_batch_size=4 attention=sdpa padding_free=true precision=bfloat16",
    ],
    "smollm2-135m": [
        "micro_batch_size=2", "micro_batch_size=4 lora=true", "micro_batch_size=4 precision=bfloat16",
        "micro_batch_size=4 precision=bfloat16 lora=true", "micro_batch_size=16 max_length=100 attention=sdpa",
        "micro_batch_size=1 gradient_checkpointing=true",
        "micro_batch_size=4 gradient_checkpointing=true lora=true precision=bfloat16",
    ],
}  # fmt: skip


def measured(words: Sequence[str]) -> dict[str, Any]:
    """Bytes that `python -m train words…` needs beside its loaded model, as estimated and as measured, by live tensors and by
    the resident set, in this process."""
    import psutil
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
        while not watching.wait(0.02):
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
    try:
        with contextlib.redirect_stdout(None):
            sft.train(cli.compose("train", Config, list(words)))
    finally:
        sft.load, RatioTrainer.train, memory.check = load, fit, fits  # type: ignore[method-assign]
    estimate = found["need"].total - found["held"]
    return {"estimate": estimate, "measured": peak(account), "resident": most[0] - found["rss"], "need": str(found["need"])}


def peak(account: Any) -> int:
    """The most bytes that were live at once of those allocated while the profiler looked."""
    live = most = 0
    for event in sorted(account.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            live += event.nbytes()
            most = max(most, live)
    return most


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=list(CASES), default=list(CASES))
    options = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"  # of the C library: what is freed is given back, and not in the resident set
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        made = ["teacher=oracle", "data=demo", "limit=20", "model=tiny", f"out={folder}/pairs"]
        subprocess.run([sys.executable, "-m", "distill", *made], check=True, capture_output=True)
        for model in options.models:
            for number, case in enumerate(CASES[model]):
                words = [
                    f"model={model}", "ratio=0.5", f"pairs={folder}/pairs", "batch_size=16", "max_steps=2", "device=cpu",
                    "threads=1", "lr=1e-5", f"out={folder}/{model}-{number}", *case.split(),
                    *([] if "precision" in case else ["precision=float32"]),
                ]  # fmt: skip
                with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as alone:
                    one = found[f"{model} {case}"] = alone.submit(measured, words).result()
                mb = {name: one[name] / 1e6 for name in ("estimate", "measured", "resident")}
                print(
                    f"{model} {case}: estimate {mb['estimate']:.1f} MB, measured {mb['measured']:.1f} "
                    f"({mb['estimate'] / mb['measured'] - 1:+.1%}), resident {mb['resident']:.1f}", flush=True,
                )  # fmt: skip
    ratios = {case: one["estimate"] / one["measured"] for case, one in found.items()}
    worst = max(ratios, key=lambda case: abs(ratios[case] - 1))
    print(json.dumps({
        "what": "estimated memory of a training run over the increase of live tensors over the loaded, idle model, on a CPU",
        "cases": len(ratios), "worst": [worst, round(ratios[worst], 3)],
        "ratios": {case: round(ratio, 3) for case, ratio in ratios.items()},
        "resident": {case: round(one["estimate"] / one["resident"], 2) for case, one in found.items() if "smollm2" in case},
    }))  # fmt: skip


if __name__ == "__main__":
    main()
