"""python -m bench.large report|evaluation|regrade: large, synthetic results in the project's files.

`report` writes a study and measures `python -m eval.report` of it; `evaluation` measures the memory
of an evaluation by a scripted engine while it writes its answers; `regrade` the rate of
`python -m eval.regrade` of one with a process on each core, and with one process, in turns.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from bench.harness import in_process, print_result, result, significant
from bench.large import synthetic
from bench.large.watched import memory_of_evaluation
from ratiocine import cli
from ratiocine.executors import num_cpus
from ratiocine.progress import tracked

REPORT_SECONDS = 300.0  # allowed for 200 evaluations of 80,000 answers
GB, MB = 2**30, 2**20


def main() -> None:
    parser = cli.argument_parser("bench.large", __doc__)
    parser.add_argument("what", choices=("report", "evaluation", "regrade"))
    parser.add_argument("--evaluations", type=int, default=10, help="of the report")
    parser.add_argument("--problems", type=int, default=2000, help="of an evaluation")
    parser.add_argument("--samples", type=int, default=4, help="answers to a problem")
    parser.add_argument("--characters", type=int, default=600, help="of a trace, the mean")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where results are kept and taken from")
    parser.add_argument(
        "--seeds",
        type=int,
        help="seeds with answers of their own; those of later ones are another model's",
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = options.folder or Path(temporary)
        {"report": report, "evaluation": evaluation, "regrade": regrade}[options.what](
            root, options
        )


def write_study(root: Path, options: argparse.Namespace) -> int:
    """The evaluations of a study; returns the bytes of their answers."""
    files = synthetic.write_problems(root / "problems", options.problems)
    points = synthetic.points(options.evaluations)
    n_models = len({point.model for point in points})
    origin = {point: synthetic.source(point, options.seeds, n_models) for point in points}
    folder = root / "study"
    with ProcessPoolExecutor(num_cpus(), mp_context=get_context("spawn")) as pool:
        for copies in (False, True):
            jobs = [
                pool.submit(
                    synthetic.write_evaluation,
                    *(files, folder / point.name, point, options.samples, options.characters),
                    folder / origin[point].name if copies else None,
                )
                for point in points
                if copies == (origin[point] != point)
            ]
            for job in tracked(jobs, len(jobs), "link" if copies else "write", "evaluations"):
                job.result()
    return sum(file.stat().st_size for file in root.rglob("completions.jsonl"))


def report(root: Path, options: argparse.Namespace) -> None:
    n_bytes = write_study(root, options)
    page, found = root / "report.html", list[Measured]()
    for _ in range(options.repeats):
        found.append(measured(["eval.report", str(root / "study"), "--out", str(page)]))
        print(found[-1], flush=True)
    seconds = [one.seconds for one in found]
    answers = options.evaluations * options.problems * options.samples
    print_result(
        result(
            f"seconds of a report of {options.evaluations} evaluations, {answers} answers; peer is "
            "the time allowed for 16,000,000",
            seconds,
            [REPORT_SECONDS],
            [REPORT_SECONDS / one for one in seconds],
            cpu_seconds=significant(statistics.median(one.cpu_seconds for one in found)),
            peak_gb=round(max(one.peak for one in found) / GB, 2),
            page_mb=round(page.stat().st_size / 1e6, 2),
            answers_gb=round(n_bytes / 1e9, 2),
        )
    )


def evaluation(root: Path, options: argparse.Namespace) -> None:
    files = synthetic.write_problems(root / "problems", options.problems)
    started = time.perf_counter()
    words = (options.samples, options.characters)
    sizes = in_process(memory_of_evaluation, files, root / "evaluation", *words)
    seconds = time.perf_counter() - started
    # The first batches load what grading needs.
    begin = sizes[len(sizes) // 20]
    n = options.problems * options.samples
    print_result(
        result(
            f"MB at the end of writing {n} answers; peer is after a twentieth of them",
            [sizes[-1] / MB],
            [begin / MB],
            [sizes[-1] / begin],
            largest=significant(max(sizes) / MB),
            seconds=significant(seconds),
        )
    )


def regrade(root: Path, options: argparse.Namespace) -> None:
    files = synthetic.write_problems(root / "problems", options.problems)
    scores, again = root / "study" / "one", root / "again"
    point = synthetic.Point("model-0", "mixed", 0.5)
    words = (options.samples, options.characters)
    in_process(synthetic.write_evaluation, files, scores, point, *words)
    n, rates = options.problems * options.samples, dict[int, list[float]]()
    for repeat in range(options.repeats):
        for workers in (1, num_cpus())[:: -1 if repeat % 2 else 1]:
            shutil.rmtree(again, ignore_errors=True)
            command = ["eval.regrade", str(scores), "--out", str(again)]
            found = measured([*command, "--num-workers", str(workers)])
            rates.setdefault(workers, []).append(n / found.seconds)
            print(f"{workers}: {found}", flush=True)
    one, many = rates[1], rates[num_cpus()]
    ratios = [b / a / num_cpus() for a, b in zip(one, many, strict=True)]
    print_result(
        result(
            f"answers/s of regrading {n} answers with {num_cpus()} processes; peer is one process; "
            "the ratio is that to as many times the rate of one",
            many,
            one,
            ratios,
        )
    )


class Measured(NamedTuple):
    """What a command took."""

    seconds: float
    cpu_seconds: float
    """Of all its processes."""
    peak: int
    """Of their resident sets together, in bytes; pages that they share count in each."""


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measured(words: Sequence[str]) -> Measured:
    """Run a command in a process of its own."""
    import psutil

    before, started, peak = _cpu_seconds(), time.perf_counter(), 0
    with subprocess.Popen([sys.executable, "-m", *words], stdout=subprocess.DEVNULL) as process:
        root = psutil.Process(process.pid)
        while process.poll() is None:
            peak = max(peak, resident(root))
            time.sleep(0.1)
        seconds = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"python -m {' '.join(words)} failed")
    return Measured(seconds, _cpu_seconds() - before, peak)


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
