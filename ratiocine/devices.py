"""Device, compute dtype, attention implementation and matmul rate of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ratiocine import startup
from ratiocine.errors import BadInput

if TYPE_CHECKING:
    import torch

Device = Literal["auto", "cpu", "cuda", "mps"]
Dtype = Literal["auto", "float32", "bfloat16"]
Attention = Literal["auto", "eager", "sdpa", "flash_attention_2"]


def resolve_device(device: Device) -> torch.device:
    """The torch device; `auto` is the first available of CUDA, MPS and CPU. Raises BadInput if
    the device is unavailable."""
    import torch

    available: dict[Device, bool] = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if device == "auto":
        device = next(name for name, usable in available.items() if usable)
    if not available[device]:
        usable_names = ", ".join(name for name, usable in available.items() if usable)
        raise BadInput(
            f"device={device} is not available on this machine; available: {usable_names}"
        )
    return torch.device(device)


def gpu_count() -> int:
    """CUDA devices of this machine."""
    import torch

    return torch.cuda.device_count()


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies in bfloat16 by itself: GPUs since Ampere (not V100 or T4), CPUs
    with AMX or AVX512-BF16. Others emulate it at a fraction of the speed of float32."""
    import torch

    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return any(capabilities.get(name) for name in ("amx_bf16", "avx512_bf16"))
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def compute_dtype(precision: Dtype, device: torch.device) -> torch.dtype:
    """The autocast dtype of matmuls with float32 weights.

    `auto` is bfloat16 where the device has it. The choice depends on the hardware's capabilities,
    not on a timing, so that a run on one machine always has one result.
    """
    import torch

    if precision != "auto":
        return getattr(torch, precision)
    return torch.bfloat16 if has_bfloat16(device) else torch.float32


def matmul_rate(device: torch.device, dtype: torch.dtype, size: int | None = None) -> float:
    """FLOPs per second of square matmuls, the fastest in 50 ms, so that other load does not
    count."""
    import time

    import torch

    size = size or (8192 if device.type == "cuda" else 512)
    a, b = (torch.ones(size, size, dtype=dtype, device=device) for _ in range(2))

    def seconds() -> float:
        started = time.perf_counter()
        float((a @ b)[0, 0])  # synchronises with the device
        return time.perf_counter() - started

    end = time.perf_counter() + 0.05
    times = [seconds(), seconds()]
    while time.perf_counter() < end:
        times.append(seconds())
    return 2 * size**3 / min(times)


def prepare_process(threads: int | None, *, inference: bool = False) -> None:
    """Imports, and process settings that affect speed and log noise, never results. `inference`:
    this process trains and compiles no model."""
    import ctypes

    import torch

    startup.import_transformers(inference=inference)
    from transformers.utils import logging

    logging.disable_progress_bar()
    if threads:
        torch.set_num_threads(threads)
    # Return freed activations to the heap, not to the kernel: page faults otherwise cost a fifth
    # of a training step on a CPU (glibc only). M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD:
    try:
        libc = ctypes.CDLL("libc.so.6")
        for option, value in ((-4, 0), (-1, -1), (-2, 1 << 28)):
            libc.mallopt(option, value)
    except (OSError, AttributeError):
        pass


def attention_implementation(attention: Attention, device: torch.device, dtype: torch.dtype) -> str:
    """The attention implementation of training.

    `auto` is flash attention on CUDA if it is installed and matmuls are in bfloat16, else sdpa; on
    a CPU eager, which is faster than sdpa at these lengths, forward and backward. Raises BadInput
    if flash attention is asked for and unavailable.
    """
    import torch
    from transformers.utils import is_flash_attn_2_available

    flash = device.type == "cuda" and is_flash_attn_2_available()
    if attention == "flash_attention_2":
        if not flash:
            raise BadInput(
                "attention=flash_attention_2 needs a CUDA device and `pip install flash-attn`; "
                "available: sdpa, eager"
            )
        if dtype == torch.float32:
            raise BadInput(
                "attention=flash_attention_2 cannot compute in float32; give precision=bfloat16 "
                "or attention=sdpa"
            )
    if attention != "auto":
        return attention
    if device.type == "cpu":
        return "eager"
    return "flash_attention_2" if flash and dtype != torch.float32 else "sdpa"


def dtype_name(dtype: torch.dtype) -> str:
    """A dtype as configurations write it, such as `bfloat16`."""
    return str(dtype).removeprefix("torch.")
