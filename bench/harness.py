"""What the benchmarks share: processes of their own, input pairs and the last line of output."""

from __future__ import annotations

import json
import multiprocessing
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def in_process(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """The result of `function` in a new process, whose caches and allocators start empty."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args, **kwargs).result()


def distill_pairs(out: Path, *overrides: str) -> None:
    """Run `python -m distill` into `out`."""
    command = [sys.executable, "-m", "distill", *overrides, f"out={out}"]
    subprocess.run(command, check=True, capture_output=True)


def result(
    what: str, ours: Sequence[float], peer: Sequence[float], ratios: Sequence[float], **more: Any
) -> dict[str, Any]:
    """Medians of repeated measurements, and the range of their ratios."""
    return {
        "what": what,
        "ours": significant(statistics.median(ours)),
        "peer": significant(statistics.median(peer)),
        "ratio": round(statistics.median(ratios), 3),
        "spread": [round(min(ratios), 3), round(max(ratios), 3)],
        **more,
    }


def significant(value: float, digits: int = 4) -> float:
    """`value` with this many significant digits."""
    return float(f"{value:.{digits}g}")


def print_result(found: dict[str, Any]) -> None:
    print(json.dumps(found), flush=True)
