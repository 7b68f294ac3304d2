"""What a run computes on: its device, the type in which it multiplies there, and how fast that is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ratiocine.errors import BadInput

if TYPE_CHECKING:
    import torch

Device = Literal["auto", "cpu", "cuda", "mps"]
Dtype = Literal["auto", "float32", "bfloat16"]


def resolve_device(device: Device) -> torch.device:
    """The device asked for; `auto` is CUDA, then MPS, then the CPU. Raises BadInput where it is not there."""
    import torch

    there: dict[Device, bool] = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        device = next(name for name, found in there.items() if found)
    if not there[device]:
        raise BadInput(f"device={device} is not on this machine; there is: {', '.join(n for n, ok in there.items() if ok)}")
    return torch.device(device)


def computes_in(precision: Dtype, device: torch.device) -> torch.dtype:
    """The type in which matrices are multiplied while weights are float32. `auto` is bfloat16 where this device is faster in
    it, by a measurement of some 100 ms: few CPUs have units for it, and others emulate it."""
    import torch

    if precision != "auto":
        return getattr(torch, precision)
    if device.type != "cpu":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    half = matmul_rate(device, torch.bfloat16, 256)
    return torch.bfloat16 if half > 1.5 * matmul_rate(device, torch.float32, 256) else torch.float32


def matmul_rate(device: torch.device, dtype: torch.dtype, size: int | None = None) -> float:
    """FLOPs a second of this device in products of square matrices: the fastest of those made in some 50 ms, so that other work
    on the machine does not count."""
    import time

    import torch

    size = size or (8192 if device.type == "cuda" else 512)
    a, b = (torch.ones(size, size, dtype=dtype, device=device) for _ in range(2))

    def seconds() -> float:
        started = time.perf_counter()
        float((a @ b)[0, 0])  # waits for a device that works by itself
        return time.perf_counter() - started

    end = time.perf_counter() + 0.05
    made = [seconds(), seconds()]
    while time.perf_counter() < end:
        made.append(seconds())
    return 2 * size**3 / min(made)


def prepare_process(threads: int | None) -> None:
    """Settings of this process that change speed and noise and nothing else. Freed activations go back to the heap, not to the
    kernel: page faults otherwise cost a fifth of a training step on a CPU (glibc only)."""
    import ctypes

    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    if threads:
        torch.set_num_threads(threads)
    try:
        libc = ctypes.CDLL("libc.so.6")
        for option, value in ((-4, 0), (-1, -1), (-2, 1 << 28)):  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD
            libc.mallopt(option, value)
    except (OSError, AttributeError):
        pass
