"""Peak rates of accelerators: dense bfloat16 matmuls (float16 where there is no bfloat16), from
their vendors' data sheets."""

from __future__ import annotations

import re

PEAK_FLOPS = {
    "b200": 2250e12,
    "h200": 989e12,
    "h100": 989e12,  # SXM
    "h100-pcie": 756e12,
    "h100-nvl": 836e12,
    "h200-nvl": 836e12,
    "gh200": 989e12,
    "a100": 312e12,
    "a40": 150e12,
    "a10": 125e12,
    "a10g": 70e12,
    "a6000": 155e12,
    "rtx-6000-ada": 364e12,
    "l40s": 362e12,
    "l40": 181e12,
    "l4": 121e12,
    "v100": 125e12,  # float16
    "t4": 65e12,  # float16
    "rtx-4090": 165e12,
    "rtx-3090": 71e12,
    "mi250x": 383e12,
    "mi300x": 1307e12,
}


def card(name: str) -> str:
    """The card of a name such as `H100`, `RTX 4090` or, as its driver has it, `NVIDIA H100 80GB
    HBM3`. Raises ValueError for an unknown one."""
    words = re.sub(
        r"nvidia|geforce|amd|instinct|tesla|sxm\d*|\d+ ?gb|hbm\w*|generation", " ", name.lower()
    )
    found = "-".join(re.findall(r"[a-z0-9]+", words))
    plain = re.sub(r"^rtx-|-pcie$", "", found)
    for candidate in (found, f"rtx-{found}", re.sub(r"^rtx-?", "rtx-", found), plain):
        if candidate in PEAK_FLOPS:
            return candidate
    raise ValueError(
        f"unknown card; known: {', '.join(PEAK_FLOPS)}; any other: flops_per_second={{train: …}}"
    )
