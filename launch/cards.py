"""Accelerators: peak rates of dense matmuls and memory, from their vendors' data sheets."""

from __future__ import annotations

import re
from dataclasses import dataclass

USABLE = 0.92  # share of a GPU's memory for tensors, beside the CUDA context and fragmentation


@dataclass(frozen=True)
class Card:
    """A card, in the variant with the most memory."""

    flops: float
    """FLOPs per second of dense matmuls in bfloat16, in float32 where there is no bfloat16."""
    gb: float
    """Memory (GiB)."""
    bfloat16: bool = True

    @property
    def usable(self) -> float:
        """Bytes for tensors."""
        return USABLE * self.gb * 2**30


CARDS = {
    "b200": Card(2250e12, 180),
    "h200": Card(989e12, 141),
    "h100": Card(989e12, 80),  # SXM
    "h100-pcie": Card(756e12, 80),
    "h100-nvl": Card(836e12, 94),
    "h200-nvl": Card(836e12, 141),
    "gh200": Card(989e12, 144),
    "a100": Card(312e12, 80),
    "a40": Card(150e12, 48),
    "a10": Card(125e12, 24),
    "a10g": Card(70e12, 24),
    "a6000": Card(155e12, 48),
    "rtx-6000-ada": Card(364e12, 48),
    "l40s": Card(362e12, 48),
    "l40": Card(181e12, 48),
    "l4": Card(121e12, 24),
    "v100": Card(15.7e12, 32, bfloat16=False),
    "t4": Card(8.1e12, 16, bfloat16=False),
    "rtx-4090": Card(165e12, 24),
    "rtx-3090": Card(71e12, 24),
    "mi250x": Card(383e12, 128),
    "mi300x": Card(1307e12, 192),
}


def card(name: str) -> str:
    """The key in CARDS of a name such as `H100`, `RTX 4090` or, as its driver has it, `NVIDIA H100
    80GB HBM3`. Raises ValueError for an unknown one."""
    words = re.sub(
        r"nvidia|geforce|amd|instinct|tesla|sxm\d*|\d+ ?gb|hbm\w*|generation", " ", name.lower()
    )
    found = "-".join(re.findall(r"[a-z0-9]+", words))
    plain = re.sub(r"^rtx-|-pcie$", "", found)
    for candidate in (found, f"rtx-{found}", re.sub(r"^rtx-?", "rtx-", found), plain):
        if candidate in CARDS:
            return candidate
    raise ValueError(
        f"unknown card; known: {', '.join(CARDS)}; any other: flops_per_second={{train: …}}"
    )
