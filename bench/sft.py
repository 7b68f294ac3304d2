"""python -m bench.sft: supervised fine-tuning on a CPU, `train` and TRL's SFTTrainer in turns.

Both train all weights of SmolLM2-135M (float32) on the same pairs (GSM-Symbolic, ratio 0.5) in the
same global batches, each in a process of its own. `stock` is TRL with its defaults; `best` is TRL
without gradient checkpointing, grouped by length, in float32 or bfloat16, whichever multiplies
faster here. The result is tokens per second, padding excluded. Imports and loading are not timed.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.harness import in_process, print_result, result, run_verb, trl_options
from ratiocine import cli

if TYPE_CHECKING:
    from train.config import Config
    from train.planning import TrainingPlan

BATCH_SIZE, MICRO_BATCH_SIZE = 32, 4
LEARNING_RATE = 1e-5


@dataclass(frozen=True)
class Measured:
    tokens: int
    """Without padding."""
    seconds: float
    flops: int

    @property
    def rate(self) -> float:
        return self.tokens / self.seconds


def overrides(pairs: Path) -> list[str]:
    return [
        "ratio=0.5",
        f"pairs={pairs}",
        f"batch_size={BATCH_SIZE}",
        f"micro_batch_size={MICRO_BATCH_SIZE}",
        f"lr={LEARNING_RATE}",
        "warmup=0",
        "decay=0",
        "device=cpu",
    ]


def ours(pairs: Path, out: Path) -> Measured:
    """By the verb, logging included."""
    run_verb("train", *overrides(pairs), f"out={out}")
    last = json.loads((out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    return Measured(last["tokens"], last["seconds"], last["flops"])


def load_plan(pairs: Path) -> tuple[Config, TrainingPlan]:
    from train.config import Config
    from train.planning import plan_training

    config = cli.compose("train", Config, overrides(pairs))
    return config, plan_training(config)


def conversations(plan: TrainingPlan) -> list[dict[str, Any]]:
    """The examples in order, as prompts and completions for TRL."""
    rows = []
    for batch in plan.batches:
        for name, mode in batch:
            pair = plan.dataset.pair(name)
            prompt = [{"role": "user", "content": pair.prompt}]
            completion = [{"role": "assistant", "content": pair.side(mode)}]
            rows.append({"prompt": prompt, "completion": completion})
    return rows


def trl(pairs: Path, out: Path, *, best: bool) -> float:
    """Seconds of TRL's training; runs in a process of its own."""
    import torch
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from ratiocine import devices, models

    config, plan = load_plan(pairs)
    tuned: dict[str, Any] = {}
    if best:
        native = devices.compute_dtype("auto", torch.device("cpu")) == torch.bfloat16
        tuned = {
            "gradient_checkpointing": False,
            "train_sampling_strategy": "group_by_length",
            "bf16": native,
        }
    arguments = SFTConfig(
        output_dir=str(out),
        per_device_train_batch_size=MICRO_BATCH_SIZE,
        gradient_accumulation_steps=BATCH_SIZE // MICRO_BATCH_SIZE,
        max_steps=len(plan.batches),
        report_to=[],
        use_cpu=True,
        save_strategy="no",
        disable_tqdm=True,
        learning_rate=LEARNING_RATE,
        **tuned,
    )
    model = models.load_model(config.model, "cpu")
    trainer = SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(conversations(plan)),
        processing_class=models.load_tokenizer(config.model),
    )
    # `train` makes a trial step before its clock starts
    ids = torch.arange(256).reshape(1, -1)
    model(input_ids=ids, labels=ids).loss.backward()
    model.zero_grad()
    started = time.perf_counter()
    trainer.train()
    return time.perf_counter() - started


def matmul_share(measured: Sequence[Measured]) -> float:
    """Share of this machine's matmul throughput that our training reached."""
    import torch

    from ratiocine import devices

    device = torch.device("cpu")
    peak = devices.matmul_rate(device, devices.compute_dtype("auto", device))
    return sum(one.flops for one in measured) / sum(one.seconds for one in measured) / peak


def main() -> None:
    options = trl_options("bench.sft", __doc__, "global batches per repeat")
    measured: list[Measured] = []
    rates: dict[str, list[float]] = {"best": [], "ours": [], "stock": []}
    if options.no_stock:
        del rates["stock"]
    with tempfile.TemporaryDirectory() as name:
        for repeat in range(options.repeats):
            folder = Path(name) / str(repeat)
            pairs = folder / "pairs"
            n = options.steps * BATCH_SIZE
            data = ("teacher=reference", "data=gsm_symbolic", f"limit={n}", f"seed={repeat}")
            run_verb("distill", *data, f"out={pairs}")
            measured.append(ours(pairs, folder / "ours"))
            rates["ours"].append(measured[-1].rate)
            for side in rates.keys() - {"ours"}:
                seconds = in_process(trl, pairs, folder / side, best=side == "best")
                rates[side].append(measured[-1].tokens / seconds)
            values = ", ".join(f"{side} {of[-1]:.0f}" for side, of in rates.items())
            print(f"repeat {repeat + 1} of {options.repeats}, tokens/s: {values}", flush=True)
    ratios = {
        side: [a / b for a, b in zip(rates["ours"], of, strict=True)] for side, of in rates.items()
    }
    print_result(
        result(
            "tokens/s of full fine-tuning, SmolLM2-135M, against TRL without checkpointing",
            rates["ours"],
            rates["best"],
            ratios["best"],
            times_stock=[round(ratio, 2) for ratio in sorted(ratios.get("stock", []))],
            share_of_matmul=round(matmul_share(measured), 3),
        )
    )


if __name__ == "__main__":
    main()
