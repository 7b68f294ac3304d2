"""python -m bench.planning: planning a training run over millions of pairs.

Pairs are written as `distill` writes them, with token counts. Planning reads their columns, fixes
every global batch and writes `mixture.json`. Each repeat runs in a process of its own that imports
what training imports; the first fills the text cache, as the first of several ratios does. Peer is
the time allowed.
"""

from __future__ import annotations

import json
import os
import random
import resource
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.harness import in_process, print_result, result, run_verb
from ratiocine import cli
from ratiocine.records import CATEGORIES, Pair
from ratiocine.runs import open_run, read_manifest
from ratiocine.stores import write_pairs

ALLOWED_SECONDS = 60.0


@dataclass(frozen=True)
class Measured:
    pairs: int
    seconds: float
    peak_gb: float
    """Peak resident set."""


def synthetic_pairs(n: int) -> Iterator[Pair]:
    rng = random.Random(0)
    for number in range(n):
        a, b = rng.randrange(10**6), rng.randrange(10**6)
        answer = f"The sum is \\boxed{{{a + b}}}."
        steps = f"{a} plus {b} is {a + b}, as the digits say, one column after the other."
        yield Pair(
            id=f"sums/{number}",
            prompt=f"What is {a} plus {b}?",
            reasoning=f"<think>\n{steps}\n</think>\n\n{answer}",
            ift=answer,
            reference=str(a + b),
            category=CATEGORIES[number % len(CATEGORIES)],
            source="sums",
            n_tokens_prompt=20,
            n_tokens_reasoning=40 + number % 300,
            n_tokens_ift=12,
        )


def write_folder(folder: Path, n: int) -> Path:
    """A finished folder of `n` pairs, with the facts of a small one from `distill`."""
    from distill.config import Config

    overrides = ["teacher=oracle", "data=demo", "limit=2", "model=tiny"]
    run_verb("distill", *overrides, f"out={folder / 'small'}")
    config = cli.compose("distill", Config, [*overrides, f"out={folder / 'pairs'}"])
    run = open_run("distill", config, {})
    with run.writing("pairs.parquet") as path:
        write_pairs(path, synthetic_pairs(n))
    run.finish(**read_manifest(folder / "small").facts)
    return run.out


def plan(pairs: Path) -> Measured:
    """Plan once; runs in a process of its own."""
    import train.sft  # noqa: F401  (what training imports)
    from train.config import Config
    from train.mixture_facts import describe
    from train.planning import plan_training

    started = time.perf_counter()
    overrides = ["ratio=0.5", "model=tiny", f"pairs={pairs}", "val_size=1000"]
    config = cli.compose("train", Config, overrides)
    planned = plan_training(config)
    text = json.dumps(asdict(describe(config, planned)), indent=2, ensure_ascii=False)
    (pairs.parent / "mixture.json").write_text(text, encoding="utf-8")
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return Measured(sum(map(len, planned.batches)), seconds, peak)


def main() -> None:
    parser = cli.argument_parser("bench.planning", __doc__)
    parser.add_argument("-n", type=int, default=2_000_000, help="pairs (default: 2000000)")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    measured: list[Measured] = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        pairs = write_folder(Path(folder), options.n)
        print(f"wrote {options.n} pairs", flush=True)
        for repeat in range(options.repeats):
            measured.append(in_process(plan, pairs))
            print(f"repeat {repeat + 1} of {options.repeats}: {measured[-1]}", flush=True)
    seconds = [one.seconds for one in measured]
    print_result(
        result(
            f"seconds to plan a mixture over {options.n} pairs; peer is the time allowed",
            seconds,
            [ALLOWED_SECONDS],
            [ALLOWED_SECONDS / spent for spent in seconds],
            first=round(seconds[0], 1),
            peak_gb=round(max(one.peak_gb for one in measured), 2),
        )
    )


if __name__ == "__main__":
    main()
