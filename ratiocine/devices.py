"""What a run computes on: its device, the type in which it multiplies there, and how fast that is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ratiocine.errors import BadInput

if TYPE_CHECKING:
    import torch

Device = Literal["auto", "cpu", "cuda", "mps"]
Dtype = Literal["auto", "float32", "bfloat16"]
Attention = Literal["auto", "eager", "sdpa", "flash_attention_2"]


def resolve_device(device: Device) -> torch.device:
    """The device asked for; `auto` is CUDA, then MPS, then the CPU. Raises BadInput where it is not there."""
    import torch

    there: dict[Device, bool] = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if device == "auto":
        device = next(name for name, found in there.items() if found)
    if not there[device]:
        raise BadInput(
            f"device={device} is not on this machine; there is: {', '.join(n for n, ok in there.items() if ok)}"
        )
    return torch.device(device)


def gpus() -> int:
    """How many CUDA devices this machine has."""
    import torch

    return torch.cuda.device_count()


def computes_in(precision: Dtype, device: torch.device) -> torch.dtype:
    """The type in which matrices are multiplied while weights are float32. `auto` is bfloat16 on CUDA and on a CPU with units
    for it (AMX, AVX512-BF16), told by what it is and not by a clock, so that the same run on the same machine has the same
    result; other CPUs emulate it at a fraction of the speed."""
    import torch

    if precision != "auto":
        return getattr(torch, precision)
    if device.type == "cpu":
        has = torch.cpu.get_capabilities()
        units = any(has.get(name) for name in ("amx_bf16", "avx512_bf16"))
    else:
        units = device.type == "cuda"
    return torch.bfloat16 if units else torch.float32


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
        for option, value in (
            (-4, 0),
            (-1, -1),
            (-2, 1 << 28),
        ):  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD
            libc.mallopt(option, value)
    except (OSError, AttributeError):
        pass


def attends_by(attention: Attention, device: torch.device, dtype: torch.dtype) -> str:
    """The implementation of attention that training takes. `auto` is flash attention on CUDA where it is installed and products
    are in bfloat16, else sdpa; on a CPU eager, which was measured faster than sdpa at the lengths of answers, forward and
    backward. Raises BadInput where flash attention is asked for and cannot be had."""
    import torch
    from transformers.utils import is_flash_attn_2_available

    flash = device.type == "cuda" and is_flash_attn_2_available()
    if attention == "flash_attention_2":
        if not flash:
            raise BadInput(
                "attention=flash_attention_2 needs a CUDA device and `pip install flash-attn`; sdpa and eager are here"
            )
        if dtype == torch.float32:
            raise BadInput(
                "attention=flash_attention_2 cannot compute in float32; give precision=bfloat16, or attention=sdpa"
            )
    if attention != "auto":
        return attention
    if device.type == "cpu":
        return "eager"
    return "flash_attention_2" if flash and dtype != torch.float32 else "sdpa"


def name(dtype: torch.dtype) -> str:
    """What configurations call a type."""
    return str(dtype).removeprefix("torch.")
