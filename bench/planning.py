"""python -m bench.planning: what it takes to plan a run over millions of pairs, before anything is trained.

A set of pairs is written as `distill` writes it, with stored token counts. Planning reads its columns, fixes every global batch
and writes `mixture.json`; it is measured in a process of its own, that imports what training imports: seconds, and the largest
memory. A second time the set's texts are in the cache, as they are at every later ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ratiocine.config import Hashed, StrictConfig, Unhashed
from ratiocine.records import Pair

ALLOWED = 60.0  # seconds


def pairs(n: int) -> Iterator[Pair]:
    rng = random.Random(0)
    for i in range(n):
        a, b = rng.randrange(10**6), rng.randrange(10**6)
        category = ("general-mc", "general-oe", "math-mc", "math-oe")[i % 4]
        answer = f"The sum is \\boxed{{{a + b}}}."
        trace = f"<think>\n{a} plus {b} is {a + b}, as the digits say, one column after the other.\n</think>\n\n{answer}"
        yield Pair(
            f"sums/{i}",
            f"What is {a} plus {b}?",
            trace,
            answer,
            str(a + b),
            category,
            "sums",
            20,
            12,
            40 + i % 300,
        )


class Made(StrictConfig):
    """Configuration of the set that is planned from."""

    out: Unhashed[str]
    seed: Hashed[int] = 0


def written(folder: Path, n: int) -> Path:
    """A finished set, its counts those of the tiny model's tokenizer by what its manifest says."""
    from ratiocine import models
    from ratiocine.data import token_counts
    from ratiocine.models import ModelConfig
    from ratiocine.runs import open_run
    from ratiocine.stores import write_pairs

    run = open_run("distill", Made(out=str(folder / "pairs")), {})
    with run.writing("pairs.parquet") as path:
        write_pairs(path, pairs(n))
    run.finish(
        data="sums",
        tokenizer=token_counts.tokenizer_hash(
            models.load_tokenizer(ModelConfig(name="tiny", kind="tiny"))
        ),
    )
    return run.out


def plan(folder: str) -> None:
    """Plan once and say what it took."""
    import train.sft  # noqa: F401  (all that training would import)
    from ratiocine import cli
    from train.config import Config
    from train.planning import describe, planned

    started = time.perf_counter()
    config = cli.compose(
        "train", Config, ["ratio=0.5", "model=tiny", f"pairs={folder}", "val_size=1000"]
    )
    found = planned(config)
    with open(f"{folder}/../mixture.json", "w") as file:
        file.write(json.dumps(describe(config, found), indent=2, ensure_ascii=False))
    seconds = time.perf_counter() - started
    n = sum(map(len, found.batches))
    print(
        json.dumps(
            {
                "n": n,
                "seconds": seconds,
                "gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.planning", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--n", type=int, default=2_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder:
        return plan(options.folder)
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = written(Path(name), options.n)
        print(f"wrote {options.n} pairs", flush=True)
        for repeat in range(options.repeats):
            words = [sys.executable, "-m", "bench.planning", "--folder", str(folder)]
            done = subprocess.run(
                words,
                check=True,
                capture_output=True,
                text=True,
                env={**os.environ, "XDG_CACHE_HOME": name},
            )
            found.append(json.loads(done.stdout.splitlines()[-1]))
            print(f"time {repeat + 1} of {options.repeats}: {found[-1]}", flush=True)
    seconds = [one["seconds"] for one in found]
    print(
        json.dumps(
            {
                "what": f"planning a mixture over {options.n} pairs, seconds; peer is what is allowed",
                "ours": round(statistics.median(seconds), 1),
                "peer": ALLOWED,
                "ratio": round(ALLOWED / statistics.median(seconds), 2),
                "spread": [round(ALLOWED / max(seconds), 2), round(ALLOWED / min(seconds), 2)],
                "first": round(seconds[0], 1),
                "peak_gb": round(max(one["gb"] for one in found), 2),
            }
        )
    )


if __name__ == "__main__":
    main()
