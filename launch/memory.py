"""python -m launch.memory: tables of the GPUs and the communication that training needs.

From shapes alone (`ratiocine.memory`): nothing is loaded, and nothing was measured on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import torch

from launch.cards import USABLE
from ratiocine import cli, memory, models
from ratiocine.cost import Shape
from ratiocine.errors import BadInput
from ratiocine.memory import (
    SINGLE_GPU,
    MemoryEstimate,
    MicroBatchShape,
    ParameterCounts,
    ShardingPlan,
    communication_volume,
    count_parameters,
)
from ratiocine.models import QWEN, ModelConfig
from ratiocine.training import Compute, Sharding, TrainingConfig

GPU_GB, GPU_COUNTS = (24, 48, 80, 141), (1, 2, 4, 8)
STAGES: tuple[Sharding, ...] = ("none", "zero1", "zero2", "zero3")
BANDWIDTHS = (25, 100, 400)  # GB/s that a GPU sends at
BATCH = 32


@dataclass(frozen=True)
class Settings:
    """Models of the tables, and the shape of their micro-batches."""

    models: Sequence[str]
    rows: int
    length: int


@cache
def shape_and_counts(name: str, rank: int) -> tuple[Shape, ParameterCounts]:
    """Dimensions and numbers of parameters of a model of conf/model or of a folder, with adapters
    of this rank."""
    known = name in cli.options("model")
    model = models.skeleton(
        cli.named("model", name, ModelConfig) if known else ModelConfig(name="local", path=name)
    )
    return Shape.of(model.config), count_parameters(model, rank)


def estimate(
    name: str, plan: ShardingPlan, settings: Settings, *, lora: bool = False, four_bit: bool = False
) -> MemoryEstimate:
    """Memory per GPU with gradient checkpointing, bfloat16 matmuls and flash attention."""
    config = TrainingConfig(
        model=ModelConfig(name=name),
        lora=lora,
        load_in_4bit=four_bit,
        gradient_checkpointing=True,
    )
    compute = Compute(
        torch.device("cuda"),
        torch.bfloat16,
        "flash_attention_2",
        padding_free=False,
        micro_batch_size=settings.rows,
    )
    batch = MicroBatchShape(settings.rows, settings.length, settings.rows * settings.length)
    shape, counts = shape_and_counts(name, config.lora_rank if lora else 0)
    return memory.estimate(shape, counts, config, compute, batch, plan)


def least_sharding(name: str, size: int, gpus: int, settings: Settings, *, lora: bool) -> str:
    """What fits on this many GPUs of `size` GiB: `fits` (unsharded), the least ZeRO stage, `4-bit`
    (LoRA), or `–`."""
    free = USABLE * size * 2**30
    for stage in STAGES if gpus > 1 else STAGES[:1]:
        if estimate(name, ShardingPlan(stage, gpus), settings, lora=lora).total <= free:
            return "fits" if stage == "none" else stage
    unsharded = ShardingPlan("none", gpus)
    if lora and estimate(name, unsharded, settings, lora=True, four_bit=True).total <= free:
        return "4-bit"
    return "–"


def sharding_table(settings: Settings) -> Iterator[str]:
    """The least sharding by model, GPU memory and number of GPUs."""

    def cells(name: str, lora: bool) -> list[str]:
        return [
            " / ".join(least_sharding(name, size, n, settings, lora=lora) for n in GPU_COUNTS)
            for size in GPU_GB
        ]

    return _table([f"{size} GB" for size in GPU_GB], settings, cells)


def memory_table(settings: Settings) -> Iterator[str]:
    """Markdown rows of GiB per GPU: one GPU, eight by sharding, and one in 4 bits with LoRA."""
    eight = GPU_COUNTS[-1]

    def cells(name: str, lora: bool) -> list[str]:
        plans = [SINGLE_GPU, *(ShardingPlan(stage, eight) for stage in STAGES)]
        found = [estimate(name, plan, settings, lora=lora).total for plan in plans]
        if lora:
            found.append(estimate(name, SINGLE_GPU, settings, lora=True, four_bit=True).total)
        return [f"{total / 2**30:.1f}" for total in found] + ([] if lora else ["–"])

    stages = [f"{eight} GPUs, {stage}" for stage in STAGES]
    return _table(["1 GPU", *stages, "1 GPU, 4-bit"], settings, cells)


def communication_table(settings: Settings) -> Iterator[str]:
    """GB that each of eight GPUs sends in a step of a global batch, and seconds at BANDWIDTHS."""
    eight = GPU_COUNTS[-1]
    micro_batches = -(-BATCH // (eight * settings.rows))

    def cells(name: str, lora: bool) -> list[str]:
        counts = shape_and_counts(name, 16 if lora else 0)[1]
        found = []
        for stage in STAGES:
            plan = ShardingPlan(stage, eight)
            gb = communication_volume(counts, plan, micro_batches).total / 1e9
            seconds = " / ".join(f"{gb / bandwidth:.2g}" for bandwidth in BANDWIDTHS)
            found.append(f"{gb:.3g} GB: {seconds}")
        return found

    return _table(list(STAGES), settings, cells)


def _table(
    headings: Sequence[str], settings: Settings, cells: Callable[[str, bool], list[str]]
) -> Iterator[str]:
    yield "| | " + " | ".join(headings) + " |"
    yield "|---" * (len(headings) + 1) + "|"
    for name in settings.models:
        for lora in (False, True):
            trained = "LoRA" if lora else "all weights"
            yield f"| {name}, {trained} | " + " | ".join(cells(name, lora)) + " |"


def main(words: Sequence[str] | None = None) -> None:
    parser = cli.argument_parser("launch.memory", __doc__)
    parser.add_argument(
        "models",
        nargs="*",
        default=list(QWEN),
        help=f"names of conf/model, folders or hub ids; default {', '.join(QWEN)}",
    )
    parser.add_argument("--rows", type=int, default=1, help="of a micro-batch (default 1)")
    parser.add_argument(
        "--length", type=int, default=4096, help="tokens of a row, all supervised (default 4096)"
    )
    options = parser.parse_args(words)
    for name in ("rows", "length"):
        if getattr(options, name) < 1:
            raise BadInput(f"--{name} {getattr(options, name)} is not at least 1")
    settings = Settings(options.models, options.rows, options.length)
    for table in (sharding_table, memory_table, communication_table):
        print(*table(settings), sep="\n", end="\n\n")


if __name__ == "__main__":
    cli.leave("memory", main)
