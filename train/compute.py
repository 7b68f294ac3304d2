"""On what a run computes and how: settled once, before any weights are read, and kept by a run that goes on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ratiocine import devices, models
from train.config import Config

PRECISION = "precision"


@dataclass(frozen=True)
class Compute:
    """`dtype` is that of matrix products; weights are float32. With `padding_free` a micro-batch is one row of documents."""

    device: torch.device
    dtype: torch.dtype
    attention: str
    padding_free: bool

    @property
    def facts(self) -> dict[str, Any]:
        return {
            "device": str(self.device), "precision": devices.name(self.dtype), "attention": self.attention,
            "padding_free": self.padding_free,
        }  # fmt: skip


def compute(config: Config, folder: Path | None = None) -> Compute:
    """As the configuration says, and for `auto` as suits this machine; a run whose checkpoints are in `folder` multiplies in
    the type that it began with. Raises BadInput where something asked for is not here."""
    device = devices.resolve_device(config.device)
    began = folder / PRECISION if folder is not None else None
    if began is not None and began.exists():
        dtype = getattr(torch, began.read_text())
    else:
        # An adapter's first steps are smaller than half a unit in the last place of the bfloat16 number that they are added to,
        # and are rounded away: SmolLM2-135M after 12 steps at 1e-4 had a held-out loss of 1.55, in float32 1.44. All weights
        # learn the same in both (0.565 and 0.563), so on a CPU, where bfloat16 saves little, adapters alone do without.
        alone = config.lora and device.type == "cpu" and config.precision == "auto"
        dtype = torch.float32 if alone else devices.computes_in(config.precision, device)
    attention = devices.attends_by(config.attention, device, dtype)
    if config.load_in_4bit:
        models.check_four_bit(config.model)
    # Only flash attention skips what documents may not see of each other; the others compute it and mask it.
    padding_free = attention == "flash_attention_2" if config.padding_free == "auto" else config.padding_free
    return Compute(device, dtype, attention, padding_free)


def keep(folder: Path, chosen: Compute) -> None:
    """For a run that goes on from here, be it on another machine."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PRECISION).write_text(devices.name(chosen.dtype))
