"""What a run computes on and in which dtype: `auto` is resolved once, before weights are read, and
restored on resume."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ratiocine import devices, models
from ratiocine.errors import BadInput
from ratiocine.executors import distributed
from ratiocine.runs import write_whole
from ratiocine.training.config import TrainingConfig

if TYPE_CHECKING:
    import torch

FILE = "compute.json"


@dataclass(frozen=True)
class Compute:
    """Resolved settings; weights are float32 whatever the dtype."""

    device: torch.device
    dtype: torch.dtype
    """Of matmuls."""
    attention: str
    """Implementation of attention, as transformers names it."""
    padding_free: bool
    """Whether a micro-batch is one row of concatenated documents."""
    micro_batch_size: int
    """Rows of a forward pass; of `train` their mean."""

    @property
    def facts(self) -> dict[str, str | bool | int]:
        """For the manifest."""
        return {
            "device": str(self.device),
            "precision": devices.dtype_name(self.dtype),
            "attention": self.attention,
            "padding_free": self.padding_free,
            "micro_batch_size": self.micro_batch_size,
        }


@dataclass(frozen=True)
class _Saved:
    """What checkpoints depend on, stored beside them."""

    precision: str
    sharding: str
    ranks: int
    micro_batch_size: int | None = None
    """None in folders of earlier releases."""


def resolve_compute(
    config: TrainingConfig,
    folder: Path | None = None,
    *,
    padding_free: bool | Literal["auto"] = False,
    largest_micro_batch: Callable[[Compute], int | None] = lambda compute: None,
) -> Compute:
    """The configured settings, `auto` resolved for this machine; a run with checkpoints in `folder`
    keeps their dtype and micro-batches. `largest_micro_batch` returns what fits a GPU, given the
    other settings, and None without one. Raises BadInput where a configured device, kernel or
    package is missing, or the checkpoints do not fit the sharding."""
    import torch

    device = devices.resolve_device(config.device)
    if device.type == "cuda" and distributed.is_launched():  # before the first allocation
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    if device.type == "cpu":  # DeepSpeed, where installed, would probe for other accelerators
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    saved = _read(folder)
    if saved is not None:
        _check_resumable(config, saved)
        dtype = getattr(torch, saved.precision)
    else:
        dtype = _dtype(config, device)
    attention = devices.attention_implementation(config.attention, device, dtype)
    if config.load_in_4bit:
        models.check_four_bit(config.model)
    # Only flash attention skips tokens of other documents; the other kernels compute them and mask.
    packed = attention == "flash_attention_2" if padding_free == "auto" else padding_free
    compute = Compute(device, dtype, attention, packed, config.micro_batch_size_on_cpu)
    size = _micro_batch_size(config, compute, saved, largest_micro_batch)
    return replace(compute, micro_batch_size=size)


def _micro_batch_size(
    config: TrainingConfig,
    compute: Compute,
    saved: _Saved | None,
    largest: Callable[[Compute], int | None],
) -> int:
    if config.micro_batch_size != "auto":
        return config.micro_batch_size
    if saved is not None and saved.ranks == distributed.world_size():
        return saved.micro_batch_size or compute.micro_batch_size
    return largest(compute) or compute.micro_batch_size


def _dtype(config: TrainingConfig, device: torch.device) -> torch.dtype:
    import torch

    # The first updates of an adapter are below half a unit in the last place of the bfloat16 sum
    # they enter, and are rounded away: after 12 steps of SmolLM2-135M at 1e-4 the validation loss
    # was 1.55, in float32 1.44. Full training is unaffected (0.565 and 0.563), so on a CPU, where
    # bfloat16 saves little, adapters alone use float32.
    if config.lora and device.type == "cpu" and config.precision == "auto":
        return torch.float32
    return devices.compute_dtype(config.precision, device)


def save_compute(folder: Path, config: TrainingConfig, compute: Compute) -> None:
    """Write `compute.json` for a resumed run: dtype, sharding, number of ranks and rows of a
    micro-batch."""
    if distributed.is_first():
        folder.mkdir(parents=True, exist_ok=True)
        saved = _Saved(
            devices.dtype_name(compute.dtype),
            config.sharding,
            distributed.world_size(),
            compute.micro_batch_size,
        )
        write_whole(folder / FILE, json.dumps(asdict(saved)))


def _read(folder: Path | None) -> _Saved | None:
    if folder is None or not (folder / FILE).exists():
        return None
    return _Saved(**json.loads((folder / FILE).read_text()))


def _check_resumable(config: TrainingConfig, saved: _Saved) -> None:
    """Raise BadInput for a checkpoint that cannot be read with this sharding: unsharded ones and
    FSDP's load on any number of ranks, DeepSpeed's on as many as wrote them."""
    same = saved.ranks == distributed.world_size() or saved.sharding in ("none", "fsdp")
    if config.sharding != saved.sharding or not same:
        raise BadInput(
            f"the interrupted run in out has checkpoints of {saved.ranks} ranks with sharding "
            f"{saved.sharding}, not readable by {distributed.world_size()} with {config.sharding}; "
            "resume it as it began, or choose another out"
        )
