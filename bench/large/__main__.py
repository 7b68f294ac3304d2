"""python -m bench.large report|evaluation|regrade: large, synthetic results in the project's files.

`report` writes a study and measures `python -m eval.report` of it; `evaluation` measures the memory
of an evaluation by a scripted engine while it writes its answers; `regrade` the rate of
`python -m eval.regrade` of one with a process on each core, and with one process, in turns.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from bench.harness import in_process, print_result, result, significant
from bench.large import synthetic
from eval.benchmarks import load
from eval.suite import evaluate
from ratiocine import cli
from ratiocine.engines import LoadedEngine, Request
from ratiocine.executors import num_cpus
from ratiocine.progress import tracked
from ratiocine.records import Completion

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


class _Watched:
    """A scripted engine that notes the resident set of its process before each batch."""

    name = "watched"

    def __init__(self, answers: synthetic.Answers) -> None:
        self.answers, self.sizes = answers, list[int]()

    def generate(self, requests: Iterable[Request]) -> Iterator[list[Completion]]:
        import psutil

        for batch in self.answers.generate(requests):
            self.sizes.append(psutil.Process().memory_info().rss)
            yield batch


def _evaluated(files: list[str], out: Path, samples: int, characters: int) -> list[int]:
    """Run an evaluation; runs in a process of its own."""
    config = synthetic.compose(files, out, samples)
    point = synthetic.Point("model-0", "mixed", 0.5)
    engine = _Watched(synthetic.Answers(point, load(config).problems, characters))
    evaluate(config, LoadedEngine(engine, None, shape=synthetic.SHAPE))
    return engine.sizes


def evaluation(root: Path, options: argparse.Namespace) -> None:
    files = synthetic.write_problems(root / "problems", options.problems)
    started = time.perf_counter()
    words = (options.samples, options.characters)
    sizes = in_process(_evaluated, files, root / "evaluation", *words)
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
            spent, peak = measured([*command, "--num-workers", str(workers)])
            rates.setdefault(workers, []).append(n / spent)
            print(f"{workers}: {n / spent:.0f} answers/s, {peak / GB:.2f} GB", flush=True)
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
