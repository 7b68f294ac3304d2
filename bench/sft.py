"""python -m bench.sft: supervised fine-tuning on a CPU, ours and TRL's SFTTrainer in turns, each in a process
of its own.

The same pairs (GSM-Symbolic at ratio 0.5, prompt and completion as one model is shown them), the same global batches, full
fine-tuning of SmolLM2-135M in float32 weights. `stock` is TRL as it comes; `best` has no gradient checkpointing, groups by
length, and computes in float32 or bfloat16, whichever this machine multiplies faster. The number is real tokens a second:
padding counts for nothing.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

BATCH, MICRO = 32, 4


def planned(folder: Path) -> tuple[Any, Any, list[Any]]:
    """The configuration, the pairs and the global batches of a run over the pairs in a folder."""
    from ratiocine import cli
    from train.config import Config
    from train.planning import planned as plan

    config = cli.compose(
        "train",
        Config,
        ["ratio=0.5", f"pairs={folder / 'pairs'}", f"batch_size={BATCH}", "device=cpu"],
    )
    found = plan(config)
    return config, found.pool, found.batches


def measured(who: str, folder: Path, first: int, last: int) -> float:
    """Seconds for these global batches; runs in a process of its own."""
    config, pool, batches = planned(folder)
    if who == "ours":
        return ours(config, pool, batches[first:last], folder)
    return theirs(config, pool, batches[first:last], folder, best=who == "best")


def ours(config: Any, pool: Any, batches: list[Any], folder: Path) -> float:
    """By our trainer with nothing else around it."""
    from ratiocine import devices, models
    from ratiocine.rendering import Rendering
    from ratiocine.runs import Nothing, Run
    from ratiocine.training import compute
    from train.batches import MicroBatches, Rows
    from train.ratio_trainer import RatioTrainer
    from train.sft import arguments as settings
    from train.step_log import StepLog

    class Bar:
        def update(self, *n: int) -> None: ...
        def set_postfix_str(self, *text: str, **more: Any) -> None: ...

    devices.prepare_process(None)
    sampler = MicroBatches(batches, pool, BATCH, MICRO, "token")
    log = StepLog(
        folder / "metrics.jsonl",
        folder / "metrics.jsonl",
        Bar(),
        batches,
        lambda batch: (0, 0),
        peak=1.0,
        tracker=Nothing(),
    )
    run = Run("train", folder, "", {}, {})
    chosen = compute(config, padding_free=config.padding_free)
    arguments = settings(run, config, len(batches), sampler.per_batch, chosen).set_save("no")
    trainer = RatioTrainer(
        model=models.load_model(config.model, "cpu", attention=chosen.attention),
        args=arguments,
        train_dataset=Rows(pool, Rendering(models.load_tokenizer(config.model))),
        callbacks=[log],
        sampler=sampler,
        log=log,  # type: ignore[arg-type]
        rate=lambda step: 1e-5,
        dtype=chosen.dtype,
    )
    started = time.perf_counter()
    trainer.train()
    return time.perf_counter() - started


def theirs(config: Any, pool: Any, batches: list[Any], folder: Path, *, best: bool) -> float:
    import torch
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from ratiocine import devices, models

    rows = [
        {
            "prompt": [{"role": "user", "content": (pair := pool.pair(name)).prompt}],
            "completion": [{"role": "assistant", "content": pair.side(mode)}],
        }
        for batch in batches
        for name, mode in batch
    ]
    more: dict[str, Any] = {}
    if best:
        half = devices.compute_dtype("auto", torch.device("cpu")) == torch.bfloat16
        more = {
            "gradient_checkpointing": False,
            "train_sampling_strategy": "group_by_length",
            "bf16": half,
        }
    arguments = SFTConfig(
        output_dir=str(folder),
        per_device_train_batch_size=MICRO,
        gradient_accumulation_steps=BATCH // MICRO,
        max_steps=len(batches),
        report_to=[],
        use_cpu=True,
        save_strategy="no",
        disable_tqdm=True,
        learning_rate=1e-5,
        **more,
    )
    model, tokenizer = models.load_model(config.model, "cpu"), models.load_tokenizer(config.model)
    trainer = SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    started = time.perf_counter()
    trainer.train()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.sft", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2, help="global batches of 32 in each repeat")
    parser.add_argument("--no-stock", action="store_true", help="leave TRL as it comes out")
    options = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch

    from ratiocine import cost, devices, models

    rates: dict[str, list[float]] = {}
    shares = []
    with tempfile.TemporaryDirectory() as name:
        folder, n = Path(name), options.repeats * options.steps * BATCH
        words = ["teacher=reference", "data=gsm_symbolic", f"limit={n}", f"out={folder / 'pairs'}"]
        subprocess.run([sys.executable, "-m", "distill", *words], check=True, capture_output=True)
        config, pool, batches = planned(folder)
        shape, spawn = models.shape(config.model), multiprocessing.get_context("spawn")
        for repeat in range(options.repeats):
            first, last = repeat * options.steps, (repeat + 1) * options.steps
            part = [example for batch in batches[first:last] for example in batch]
            tokens = sum(pool.length(*example) for example in part)
            flops = sum(
                cost.exact_training(shape, pool.length(*e), pool.supervised(*e)) for e in part
            )
            for who in ("best", "ours") if options.no_stock else ("best", "ours", "stock"):
                with ProcessPoolExecutor(1, mp_context=spawn) as alone:
                    seconds = alone.submit(measured, who, folder, first, last).result()
                rates.setdefault(who, []).append(tokens / seconds)
            cpu = torch.device("cpu")
            shares.append(
                flops
                * rates["ours"][-1]
                / tokens
                / devices.matmul_rate(cpu, devices.compute_dtype("auto", cpu))
            )
            said = ", ".join(f"{who} {values[-1]:.0f}" for who, values in rates.items())
            print(
                f"part {repeat + 1} of {options.repeats}: {tokens} tokens; tokens/s: {said}",
                flush=True,
            )
    ratios = {
        who: sorted(a / b for a, b in zip(rates["ours"], rates[who], strict=True))
        for who in rates
        if who != "ours"
    }
    print(
        json.dumps(
            {
                "what": "real tokens/s of full fine-tuning, SmolLM2-135M, against TRL without checkpointing, grouped by length",
                "ours": round(statistics.median(rates["ours"]), 1),
                "peer": round(statistics.median(rates["best"]), 1),
                "ratio": round(statistics.median(ratios["best"]), 3),
                "spread": [round(ratios["best"][i], 3) for i in (0, -1)],
                "times_stock": [round(value, 2) for value in ratios.get("stock", [])],
                "share_of_matmul": round(statistics.median(shares), 3),
            }
        )
    )


if __name__ == "__main__":
    main()
