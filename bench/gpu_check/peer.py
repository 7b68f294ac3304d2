"""python -m bench.gpu_check.peer OUT [--liger] OVERRIDE…: TRL's SFTTrainer, as `train`.

Settings are those of `train` where both have them: float32 weights, autocast dtype, attention,
padding-free batches, order and global batches. Writes the seconds and tokens of every step.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from bench.sft import conversations
from ratiocine import cli


def measure(overrides: list[str], out: Path, *, liger: bool) -> dict[str, Any]:
    import torch
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from ratiocine import models
    from ratiocine.training import peak_memory, resolve_compute
    from train.config import Config
    from train.planning import plan_training

    config = cli.compose("train", Config, overrides)
    plan = plan_training(config)
    compute = resolve_compute(config, padding_free=config.padding_free)
    on_gpu = compute.device.type == "cuda"
    ends: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            if on_gpu:
                torch.cuda.synchronize()
            ends.append(time.perf_counter())

    arguments = SFTConfig(
        output_dir=str(out.with_suffix("")),
        per_device_train_batch_size=compute.micro_batch_size,
        gradient_accumulation_steps=config.batch_size // compute.micro_batch_size,
        max_steps=len(plan.batches),
        max_length=None if compute.padding_free else config.max_length,
        padding_free=compute.padding_free,
        train_sampling_strategy="sequential",
        bf16=compute.dtype == torch.bfloat16,
        gradient_checkpointing=config.gradient_checkpointing,
        optim="adamw_torch_fused",
        learning_rate=config.lr or 1e-5,
        use_liger_kernel=liger,
        use_cpu=not on_gpu,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )
    trainer = SFTTrainer(
        model=models.load_model(config.model, config.device, attention=compute.attention),
        args=arguments,
        train_dataset=Dataset.from_list(conversations(plan)),
        processing_class=models.load_tokenizer(config.model),
        callbacks=[Clock()],
    )
    started = time.perf_counter()
    trainer.train()
    return {
        "seconds": [b - a for a, b in zip([started, *ends], ends, strict=False)],
        "tokens": [sum(plan.dataset.length(*one) for one in batch) for batch in plan.batches],
        "peak_gb": peak_memory() / 2**30,
    }


def main() -> None:
    parser = cli.argument_parser("bench.gpu_check.peer")
    parser.add_argument("out", type=Path)
    parser.add_argument("--liger", action="store_true")
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_intermixed_args()
    found = measure(options.overrides, options.out, liger=options.liger)
    options.out.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
