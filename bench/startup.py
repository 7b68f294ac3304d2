"""python -m bench.startup: start-up time of the verbs, in new interpreters and in forks.

Each verb runs on the model `tiny` in a new interpreter (cold) and, where a study runs it as a
stage, as a fork of a process that has imported torch and the like (preloaded). Measured are wall
time and CPU time from its start until it is ready to generate (`eval`), has made its first
optimizer step (`train`, `rl`), or ends; of `--help` and of an input error until the end.
Repeats of all cases are interleaved. `--baseline REV` runs the same with another revision in turns.
The peer is that revision, or the time allowed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from typing import IO

from bench.harness import print_result, result, run_verb, significant
from ratiocine import cli

ROOT = Path(__file__).resolve().parents[1]
TICKS = os.sysconf("SC_CLK_TCK")
TIME_LIMIT = 300  # seconds
READY = {  # the line on stderr, which is a progress bar's first or last
    "eval": re.compile(rb"eval: +0%"),
    "train": re.compile(rb"train .*: 100%"),
    "rl": re.compile(rb"rl .*: 100%"),
}
ALLOWED_SECONDS = {"eval": 5.0, "distill": 5.0, "train": 7.0, "rl": 9.0}
REFUSED_SECONDS = 0.5  # of --help and input errors
# Runs each command it reads as a study runs a stage, and answers with its exit code. Its children
# have its stderr.
FORKS = """
import json, os, sys
from ratiocine.executors import Command, preload, run_process
answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
preload()
print("preloaded", file=answers)
for line in sys.stdin:
    verb, *args = json.loads(line)
    print(run_process(Command(verb, tuple(args))), file=answers)
"""


@dataclass(frozen=True)
class Case:
    """A command that is measured."""

    name: str
    words: tuple[str, ...]
    """Module and arguments; OUT is replaced by a new folder."""
    allowed: float
    """Seconds."""
    preloaded: bool = False
    code: int = 0
    """The expected exit code."""

    @property
    def ready(self) -> re.Pattern[bytes] | None:
        return READY.get(self.words[0]) if self.code == 0 and "--help" not in self.words else None


@dataclass(frozen=True)
class Measured:
    """Seconds of wall and CPU time until a command is ready, or ends; and of the whole command."""

    wall: float
    cpu: float
    total: float


class Lines:
    """The lines that processes write to a pipe, with the time of their arrival."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self.queue: Queue[tuple[float, bytes]] = Queue()
        threading.Thread(target=self._read, args=(pipe,), daemon=True).start()

    def _read(self, pipe: IO[bytes]) -> None:
        for line in pipe:
            self.queue.put((time.perf_counter(), line))

    def pop(self) -> Iterator[tuple[float, bytes]]:
        """The lines so far."""
        with contextlib.suppress(Empty):
            while True:
                yield self.queue.get_nowait()


class Forks:
    """A process of one checkout that has imported what all verbs need."""

    def __init__(self, tree: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", FORKS],
            cwd=tree,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        )
        assert self.process.stderr
        self.lines = Lines(self.process.stderr)
        self.answers = Lines(self.process.stdout)  # type: ignore[arg-type]
        self.answers.queue.get(timeout=TIME_LIMIT)

    def child(self) -> int:
        """The running fork."""
        pid = self.process.pid
        while not (text := Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
            time.sleep(0.001)
        return int(text[0])

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def environment() -> dict[str, str]:
    """Of all commands: offline, and with byte code from the second run on."""
    values = {**os.environ, "HF_HUB_OFFLINE": "1"}
    values.pop("PYTHONDONTWRITEBYTECODE", None)
    return values


def cpu_seconds(pid: int) -> float | None:
    """CPU time of a process, without its children; None once it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / TICKS if fields[0] != "Z" else None


def measure(case: Case, tree: Path, forks: Forks, out: Path) -> Measured:
    """Run a case once. Raises SystemExit if it ends otherwise than expected."""
    words = [word.replace("OUT", str(out)) for word in case.words]
    started = time.perf_counter()
    if case.preloaded:
        assert forks.process.stdin
        list(forks.lines.pop())
        forks.process.stdin.write(json.dumps(words).encode() + b"\n")
        forks.process.stdin.flush()
        found = _watch(case, started, forks.child(), forks.lines, forks.answers)
    else:
        process = subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=tree,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment(),
        )
        assert process.stderr
        found = _watch(case, started, process.pid, Lines(process.stderr), process)
    shutil.rmtree(out, ignore_errors=True)
    return found


def _watch(
    case: Case,
    started: float,
    pid: int,
    lines: Lines,
    end: subprocess.Popen[bytes] | Lines,
) -> Measured:
    """Follow a process to its end."""
    ready: tuple[float, float] | None = None
    cpu, said = 0.0, list[bytes]()
    while True:
        cpu = cpu_seconds(pid) or cpu
        for at, line in lines.pop():
            said.append(line)
            if ready is None and case.ready and case.ready.search(line):
                ready = (at - started, cpu)
        if isinstance(end, Lines):
            answer = next((line for _, line in end.pop()), None)
            code = None if answer is None else int(answer)
        else:
            code = end.poll()
        if code is not None:
            break
        if time.perf_counter() - started > TIME_LIMIT:
            raise SystemExit(f"{case.name}: still running after {TIME_LIMIT} s")
        time.sleep(0.002)
    total = time.perf_counter() - started
    if code != case.code or (case.ready and ready is None):
        raise SystemExit(f"{case.name}: exit code {code}\n{b''.join(said).decode()[-3000:]}")
    wall, used = ready or (total, cpu)
    return Measured(wall, used, total)


def cases(inputs: Path) -> list[Case]:
    """All commands, with the pairs and the student in `inputs`."""
    pairs, student = f"pairs={inputs / 'pairs'}", f"model={inputs / 'student' / 'model'}"
    work = {
        "eval": ("model=tiny", "benchmarks=demo", "limit=2", "max_new_tokens=16"),
        "train": ("ratio=0.5", "model=tiny", pairs, "batch_size=8", "max_steps=1"),
        "rl": (
            *(student, "data=demo", "limit=8", "val_size=0", "reward=accuracy"),
            *(
                "max_new_tokens=16",
                "max_steps=1",
                "batch_size=8",
                "num_generations=4",
                "micro_batch_size=4",
            ),
        ),
        "distill": ("model=tiny", "data=demo", "limit=1"),  # by the oracle, which loads no model
    }
    found = []
    for verb, words in work.items():
        full = (verb, *words, "device=cpu", "out=OUT")
        found += [
            Case(f"{verb}, cold", full, ALLOWED_SECONDS[verb]),
            Case(f"{verb}, preloaded", full, ALLOWED_SECONDS[verb], preloaded=True),
        ]
    found.append(Case("launch dry_run=true", ("launch", "study=demo", "dry_run=true"), 5.0))
    for module in (*work, "launch", "eval.compare", "eval.report"):
        wrong = "nonsense=1" if "." not in module else "nowhere"
        found += [
            Case(f"{module} --help", (module, "--help"), REFUSED_SECONDS),
            Case(f"{module} {wrong}", (module, wrong), REFUSED_SECONDS, code=2),
        ]
    return found


def make_inputs(folder: Path) -> None:
    """Pairs, and a student that answers in a few tokens."""
    run_verb("distill", "limit=5", "model=tiny", f"out={folder / 'pairs'}")
    words = ("ratio=0", "model=tiny", f"pairs={folder / 'pairs'}", "batch_size=8", "epochs=30")
    run_verb("train", *words, "lr=3e-3", "precision=float32", f"out={folder / 'student'}")


@contextlib.contextmanager
def checkouts(baseline: str | None, folder: Path) -> Iterator[dict[str, Path]]:
    """This checkout as `ours`, and a working tree of the baseline as `peer`."""
    if baseline is None:
        yield {"ours": ROOT}
        return
    tree = folder / "baseline"
    add = ["git", "worktree", "add", "--quiet", "--detach", str(tree), baseline]
    subprocess.run(add, cwd=ROOT, check=True)
    try:
        yield {"ours": ROOT, "peer": tree}
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=ROOT, check=True)


def row(case: Case, found: Mapping[str, Sequence[Measured]]) -> dict[str, object]:
    """The result of one case."""
    ours, peer = found["ours"], found.get("peer", [])
    theirs = [one.wall for one in peer] or [case.allowed] * len(ours)
    more = {
        f"{side}_{key}": significant(statistics.median(getattr(one, key) for one in of))
        for side, of in found.items()
        for key in ("cpu", "total")
    }
    walls = [one.wall for one in ours]
    ratios = [b / a for a, b in zip(walls, theirs, strict=True)]
    return result(f"seconds: {case.name}", walls, theirs, ratios, allowed=case.allowed, **more)


def main() -> None:
    parser = cli.argument_parser("bench.startup", __doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--baseline", metavar="REV", help="another revision of this project")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chosen = [case for case in cases(folder) if options.only in case.name]
        make_inputs(folder)
        with checkouts(options.baseline, folder) as trees:
            forks = {side: Forks(tree) for side, tree in trees.items()}
            measured: list[dict[str, list[Measured]]] = [
                {side: [] for side in trees} for _ in chosen
            ]
            for repeat in range(options.repeats + 1):  # the first compiles to byte code
                for case, of in zip(chosen, measured, strict=True):
                    for side, tree in trees.items():
                        one = measure(case, tree, forks[side], folder / "out")
                        of[side] += [one] if repeat else []
                print(f"repeat {repeat} of {options.repeats}", flush=True)
            for server in forks.values():
                server.close()
    for case, of in zip(chosen, measured, strict=True):
        print_result(row(case, of))


if __name__ == "__main__":
    main()
