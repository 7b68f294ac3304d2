"""python -m bench.gpu_check: everything of the project that needs a GPU, in at most 8 minutes.

Models have the shapes of Qwen2.5 and random weights, problems are embedded: nothing is downloaded.
Every check runs the verbs in processes of its own, with a time limit, and one that fails or hangs
does not stop the others. `--tiny` runs the same checks with a tiny shape, on a CPU too.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from bench.gpu_check import generation_checks, training_checks
from bench.gpu_check.machine import Machine
from bench.gpu_check.page import write_result
from bench.gpu_check.rows import Check, Failed, OutOfTime, Row, Skipped, Status
from bench.gpu_check.workbench import FULL, TINY, Workbench
from bench.harness import print_result
from ratiocine import cli
from ratiocine.errors import BadInput, Failure

# The checks that matter most come first: time may run out.
CHECKS = (
    *training_checks.CHECKS,
    *generation_checks.CHECKS,
    *training_checks.PEER_CHECKS,
    *training_checks.OPTIONAL_CHECKS,
    *generation_checks.OPTIONAL_CHECKS,
    *training_checks.LAST_CHECKS,
)
BUDGET_SECONDS = 480
TINY_FACTOR = 3  # of the time limits and the budget, for few and shared cores
PROBE_SECONDS = 120
LEAST_SECONDS = 5  # no check starts with less


def perform(check: Check, bench: Workbench, end: float) -> Row:
    """The row of a check that has to end at `end`, the end of the whole run."""
    started = time.monotonic()
    deadline = min(started + check.seconds, end)
    found = bench.begin(deadline)
    status: Status = "pass"
    reason = log = ""
    try:
        if started > end - LEAST_SECONDS and not check.only_reads:
            status, reason = "not run", "time"
        elif missing := [name for name in check.packages if not importlib.util.find_spec(name)]:
            status, reason = "skipped", f"not installed: {', '.join(missing)}"
        else:
            check.run(bench)
    except Skipped as skip:
        status, reason = "skipped", str(skip)
    except OutOfTime as out:
        cut_short = deadline == end
        status = "not run" if cut_short else "fail"
        reason = "time" if cut_short else f"{out} of {check.seconds:g} s"
        log = out.log
    except Failed as failure:
        status, reason, log = "fail", str(failure), failure.log
    except Exception as error:  # a wrong assumption about an output must not end the others
        status, reason = "fail", f"{type(error).__name__}: {error}"
    return Row(
        check.name,
        check.about,
        status,
        reason,
        round(time.monotonic() - started, 1),
        found.measured,
        check.expected,
        tuple(found.commands),
        log,
    )


def probe(bench: Workbench) -> Machine:
    """The machine. Turns forks off where only a new interpreter can use its GPU."""
    out = bench.folder / "machine.json"
    for forked in (bench.forked, False):
        bench.forked = forked
        process = bench.start("bench.gpu_check.machine", str(out))
        try:
            process.check(time.monotonic() + PROBE_SECONDS)
        except Failed:
            if not forked:
                raise Failure(f"this machine cannot be used:\n{process.tail()}") from None
            continue
        machine = Machine(**json.loads(out.read_text(encoding="utf-8")))
        if machine.gpu or not shutil.which("nvidia-smi"):
            break
    return machine


def selected(options: argparse.Namespace) -> list[Check]:
    """The checks to run, with the time limits that were given. Raises BadInput."""
    known = {check.name: check for check in CHECKS}
    factor = TINY_FACTOR if options.tiny else 1
    limits = {}
    for word in options.limit:
        name, _, seconds = word.partition("=")
        if name not in known or not seconds.replace(".", "", 1).isdigit():
            raise BadInput(f"--limit {word} is not NAME=SECONDS; names: {', '.join(known)}")
        limits[name] = float(seconds)
    if unknown := [name for name in options.only if name not in known]:
        raise BadInput(f"--only {unknown[0]} is no check; known: {', '.join(known)}")
    return [
        Check(**{**vars(check), "seconds": limits.get(name, factor * check.seconds)})
        for name, check in known.items()
        if not options.only or name in options.only
    ]


def run(options: argparse.Namespace, checks: Sequence[Check], folder: Path) -> int:
    started = time.monotonic()
    bench = Workbench(folder, TINY if options.tiny else FULL, forked=sys.platform == "linux")
    bench.machine = machine = probe(bench)
    if not (machine.gpu or options.tiny):
        raise BadInput("no CUDA device on this machine; --tiny runs the checks on a CPU")
    print(f"{machine.gpu or 'no GPU'}, {machine.peak_flops / 1e12:.3g} TFLOP/s", flush=True)
    rows: list[Row] = []
    for number, check in enumerate(checks, 1):
        row = perform(check, bench, started + options.budget)
        rows.append(row)
        reason = f" ({row.reason})" if row.reason else ""
        print(
            f"[{number}/{len(checks)}] {row.name}: {row.status}{reason}, {row.seconds:.0f} s",
            flush=True,
        )
        print(row.log, end="\n" if row.log else "", file=sys.stderr, flush=True)
        written = write_result(options.out, machine, bench, rows, options.tiny, started)
    print(f"{written[0]}, {written[1].name}", flush=True)
    counts = {status: sum(row.status == status for row in rows) for status in get_args(Status)}
    print_result(
        {
            "what": "checks of everything that needs a GPU",
            "gpu": machine.gpu,
            "tiny": options.tiny,
            **counts,
            "seconds": round(time.monotonic() - started, 1),
            "failed": [row.name for row in rows if row.status == "fail"],
        }
    )
    return int(counts["fail"] > 0)


def main() -> int:
    parser = cli.argument_parser("bench.gpu_check", __doc__)
    parser.add_argument("--tiny", action="store_true", help="a tiny shape, on a CPU too")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help=", ".join(c.name for c in CHECKS)
    )
    parser.add_argument("--out", type=Path, help="default bench/results, runs/gpu-check if tiny")
    parser.add_argument("--work", type=Path, help="folder of the runs; default a temporary one")
    parser.add_argument(
        "--budget",
        type=float,
        help=f"seconds in total; later checks are not run (default {BUDGET_SECONDS}, "
        f"{TINY_FACTOR * BUDGET_SECONDS} if tiny)",
    )
    parser.add_argument(
        "--limit",
        nargs="+",
        default=[],
        metavar="NAME=SECONDS",
        help="time limits of checks, on a slow machine",
    )
    options = parser.parse_args()
    options.out = options.out or Path("runs/gpu-check" if options.tiny else "bench/results")
    if options.budget is None:
        options.budget = (TINY_FACTOR if options.tiny else 1) * BUDGET_SECONDS
    checks = selected(options)
    os.environ["HF_HUB_OFFLINE"] = "1"
    if options.work:
        options.work.mkdir(parents=True, exist_ok=True)
    # Not a TemporaryDirectory, which every fork would remove at its exit.
    folder = Path(tempfile.mkdtemp(dir=options.work, prefix="gpu-check-"))
    try:
        return run(options, checks, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    cli.leave("gpu_check", main)
