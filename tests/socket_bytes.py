"""`torchrun tests/socket_bytes.py FILE train words…`: train, and write per step what this rank
wrote to its sockets (Linux counts what a process writes), and of it the bytes of reduce-scatters,
which gloo sends twice, as an all-reduce."""

import json
import os
import runpy
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
import torch
from transformers import TrainerCallback

from ratiocine.training import DeepSpeedConfig
from train.ratio_trainer import RatioTrainer

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


def count_calls(name: str) -> None:
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
        count_calls(name)
settings, train = DeepSpeedConfig.settings, RatioTrainer.train


def train_and_count(self: RatioTrainer, *args: object, **kwargs: object) -> object:
    self.add_callback(Count())
    return train(self, *args, **kwargs)


def with_reuse_distance(self: DeepSpeedConfig) -> dict | None:
    found = settings.fget(self)
    if found and (distance := os.environ.get("REUSE_DISTANCE")):
        found["zero_optimization"] |= {
            "stage3_max_reuse_distance": int(distance),
            "stage3_prefetch_bucket_size": 0,
        }
    return found


RatioTrainer.train, DeepSpeedConfig.settings = train_and_count, property(with_reuse_distance)
file, sys.argv = sys.argv[1], sys.argv[2:]
try:
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
finally:
    if os.environ["RANK"] == "0":
        Path(file).write_text(json.dumps(steps))
