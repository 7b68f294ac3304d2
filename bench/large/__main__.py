"""python -m bench.large report|evaluation|regrade: large, synthetic results.

`report` writes a study and measures `python -m eval.report` of it; `evaluation` the memory of an
evaluation by a scripted engine while it writes its answers; `regrade` the rates of `eval.regrade`
with one process and with one for each core, in turns. Peer is what is allowed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from bench.harness import print_result, result
from bench.large import synthetic
from ratiocine import cli
from ratiocine.progress import tracked

REPORT_SECONDS = 300.0
GB = 2**30


def main() -> None:
    parser = cli.argument_parser("bench.large", __doc__)
    parser.add_argument("what", choices=("report", "evaluation", "regrade"))
    parser.add_argument("--evaluations", type=int, default=10)
    parser.add_argument("--problems", type=int, default=2000, help="of an evaluation")
    parser.add_argument("--samples", type=int, default=4, help="answers to a problem")
    parser.add_argument("--characters", type=int, default=600, help="of a trace, the mean")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument(
        "--folder", type=Path, help="keep the results here, and take them from here"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = options.folder or Path(temporary)
        {"report": report}[options.what](root, options)


def write_study(root: Path, options: argparse.Namespace) -> int:
    """The evaluations of a study; returns the bytes of their answers."""
    files = synthetic.write_problems(root / "problems", options.problems)
    points = synthetic.points(options.evaluations)
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        jobs = [
            pool.submit(
                synthetic.write_evaluation,
                *(files, root / "study" / point.name, point),
                *(options.samples, options.characters),
            )
            for point in points
        ]
        for job in tracked(jobs, len(jobs), "write", "evaluations"):
            job.result()
    return sum(file.stat().st_size for file in root.rglob("completions.jsonl"))


def report(root: Path, options: argparse.Namespace) -> None:
    n_bytes = write_study(root, options)
    page, seconds, peaks = root / "report.html", [], []
    for _ in range(options.repeats):
        spent, peak = measured(["eval.report", str(root / "study"), "--out", str(page)])
        seconds.append(spent)
        peaks.append(peak)
        print(f"{spent:.1f} s, {peak / GB:.2f} GB", flush=True)
    answers = options.evaluations * options.problems * options.samples
    print_result(
        result(
            f"seconds of a report of {options.evaluations} evaluations, {answers} answers; peer is "
            "the time allowed for 16,000,000",
            seconds,
            [REPORT_SECONDS],
            [REPORT_SECONDS / one for one in seconds],
            peak_gb=round(max(peaks) / GB, 2),
            page_mb=round(page.stat().st_size / 1e6, 2),
            answers_gb=round(n_bytes / 1e9, 2),
        )
    )


def measured(words: Sequence[str]) -> tuple[float, int]:
    """Seconds of a command, and the peak of its processes' resident sets together, in bytes."""
    import psutil

    started, peak = time.perf_counter(), 0
    with subprocess.Popen([sys.executable, "-m", *words], stdout=subprocess.DEVNULL) as process:
        root = psutil.Process(process.pid)
        while process.poll() is None:
            peak = max(peak, resident(root))
            time.sleep(0.1)
        seconds = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"python -m {' '.join(words)} failed")
    return seconds, peak


def resident(root: object) -> int:
    """The resident sets of a process and its children, in bytes."""
    import psutil

    assert isinstance(root, psutil.Process)
    total = 0
    try:
        for one in (root, *root.children(recursive=True)):
            total += one.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return total


if __name__ == "__main__":
    main()
