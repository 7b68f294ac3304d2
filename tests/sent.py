"""`torchrun tests/sent.py FILE train words…`: train, and write what this rank wrote to its sockets in each step (Linux counts what
a process writes), and of it what was sent to reduce in parts, which gloo does as it reduces for all: with twice the bytes."""

import json
import os
import runpy
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
import torch
from transformers import TrainerCallback

from ratiocine.training import config
from train import sft

steps: list[dict[str, int]] = []
scattered = 0


def written() -> int:
    return next(
        int(line.split()[1])
        for line in Path("/proc/self/io").read_text().splitlines()
        if line.startswith("wchar")
    )


class Count(TrainerCallback):
    def on_step_end(self, *args: object, **kwargs: object) -> None:
        steps.append({"written": written(), "scattered": scattered})


def counting(name: str) -> None:
    reduce = getattr(torch.distributed, name)

    def counted(
        output: torch.Tensor, input: torch.Tensor, *args: object, **kwargs: object
    ) -> object:
        global scattered
        scattered += input.nbytes
        return reduce(output, input, *args, **kwargs)

    setattr(torch.distributed, name, counted)


for name in ("reduce_scatter_tensor", "_reduce_scatter_base", "reduce_scatter_single"):
    if hasattr(torch.distributed, name):
        counting(name)
settings, trainer = config.DeepSpeedConfig.settings, sft._trainer


def with_callback(*args: object, **kwargs: object) -> object:
    made = trainer(*args, **kwargs)
    made[0].add_callback(Count())
    return made


def short(self: config.DeepSpeedConfig) -> dict | None:
    found = settings.fget(self)
    if found and (reach := os.environ.get("REACH")):
        found["zero_optimization"] |= {
            "stage3_max_reuse_distance": int(reach),
            "stage3_prefetch_bucket_size": 0,
        }
    return found


sft._trainer, config.DeepSpeedConfig.settings = with_callback, property(short)
file, sys.argv = sys.argv[1], sys.argv[2:]
try:
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
finally:
    if os.environ["RANK"] == "0":
        Path(file).write_text(json.dumps(steps))
