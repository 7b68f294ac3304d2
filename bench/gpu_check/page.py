"""The result as one JSON file and one self-contained page."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bench.gpu_check.rows import Row, Value

if TYPE_CHECKING:
    from bench.gpu_check.machine import Machine
    from bench.gpu_check.workbench import Workbench

TEMPLATE = "gpu_check.html.j2"


def write_result(
    out: Path,
    machine: Machine,
    bench: Workbench,
    rows: Sequence[Row],
    tiny: bool,
    started: float,
) -> tuple[Path, Path]:
    """Write the rows so far; returns both files."""
    from eval.report import write
    from ratiocine.runs import revision

    now = datetime.now(UTC)
    result = {
        "schema_version": 1,
        "date": now.strftime("%Y-%m-%d %H:%M UTC"),
        "revision": revision(),
        "tiny": tiny,
        "size": asdict(bench.size),
        "processes": "forks" if bench.forked else "interpreters",
        "seconds": round(time.monotonic() - started, 1),
        "machine": asdict(machine),
        "rows": [asdict(row) for row in rows],
    }
    stem = f"gpu-check-{machine.label}{'-tiny' if tiny else ''}-{now:%Y-%m-%d}"
    files = out / f"{stem}.json", out / f"{stem}.html"
    write(files[0], json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    write(files[1], page(result))
    return files


def page(result: dict[str, object]) -> str:
    """Every value is escaped: reasons and logs are output of programs."""
    from eval.report import render

    return render(TEMPLATE, Path(__file__).parent, result=result, shown=shown)


def shown(value: Value) -> str:
    """A measured value for readers."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return "–" if value is None else str(value)
