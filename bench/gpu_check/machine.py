"""python -m bench.gpu_check.machine OUT: this machine as a JSON file, in a process of its own."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from launch.cards import CARDS, card

PACKAGES = (
    *("torch", "transformers", "accelerate", "peft", "trl", "deepspeed", "bitsandbytes"),
    *("flash-attn", "liger-kernel", "vllm", "triton", "numpy"),
)


@dataclass(frozen=True)
class Machine:
    """What a result was measured on."""

    gpu: str | None
    """Name of the first CUDA device; None without one."""
    gpus: int
    memory_gb: float | None
    """Of the GPU, in GiB."""
    driver: str | None
    cuda: str | None
    """The version that torch was built with."""
    capability: str | None
    processor: str
    cores: int
    system: str
    python: str
    versions: dict[str, str]
    matmul_flops: float
    """FLOPs per second of a measured matmul, bfloat16 on a GPU, else float32."""
    peak_flops: float
    """By the card's name, else `matmul_flops`."""
    peak_source: str

    @property
    def label(self) -> str:
        """For a file name."""
        name = (self.gpu or "cpu").lower().removeprefix("nvidia ")
        return "-".join("".join(c if c.isalnum() else " " for c in name).split())


def peak_flops(gpu: str) -> float | None:
    """The data sheet's FLOPs per second of a card; None for one that the table lacks."""
    try:
        return CARDS[card(gpu)].flops
    except ValueError:
        return None


def probe() -> Machine:
    """Reads the device, which initialises CUDA in this process."""
    import os

    import torch

    from ratiocine import devices
    from ratiocine.runs import versions

    device = devices.resolve_device("auto")
    on_gpu = device.type == "cuda"
    gpu = torch.cuda.get_device_name(0) if on_gpu else None
    rate = devices.matmul_rate(device, torch.bfloat16 if on_gpu else torch.float32)
    listed = peak_flops(gpu) if gpu else None
    return Machine(
        gpu=gpu,
        gpus=torch.cuda.device_count() if on_gpu else 0,
        memory_gb=round(torch.cuda.mem_get_info(0)[1] / 2**30, 1) if on_gpu else None,
        driver=_driver(),
        cuda=torch.version.cuda,
        capability=".".join(map(str, torch.cuda.get_device_capability(0))) if on_gpu else None,
        processor=_processor(),
        cores=os.cpu_count() or 1,
        system=platform.platform(),
        python=platform.python_version(),
        versions=versions(PACKAGES),
        matmul_flops=rate,
        peak_flops=listed or rate,
        peak_source="data sheet" if listed else "measured matmul",
    )


def _driver() -> str | None:
    if not (tool := shutil.which("nvidia-smi")):
        return None
    words = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(done.stdout.split()), None)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(asdict(probe())), encoding="utf-8")
