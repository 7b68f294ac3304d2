"""What the benchmarks share: processes of their own, runs of a verb, the last line of output."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, ParamSpec, TypeVar

from ratiocine import cli

P = ParamSpec("P")
R = TypeVar("R")


def in_process(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """The result of `function` in a new process, whose caches and allocators start empty."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args, **kwargs).result()


def run_verb(verb: str, *overrides: str) -> None:
    """Run `python -m verb`, offline and quietly. Raises SystemExit with its errors if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", verb, *overrides],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    if done.returncode:
        raise SystemExit(f"python -m {verb} failed:\n{done.stderr[-3000:]}")


def trl_options(module: str, description: str | None, steps: str) -> argparse.Namespace:
    """The options of a comparison with TRL, which downloads nothing; `steps` explains the option
    of this name."""
    parser = cli.argument_parser(module, description)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2, help=steps)
    parser.add_argument("--no-stock", action="store_true", help="skip TRL with its defaults")
    options = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    return options


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
