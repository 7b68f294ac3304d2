"""python -m bench.ranks: what a second rank is worth on two processors: two ranks of one thread each and one process of two
threads, in turns, each as a user starts it.

The same run of `train` (SmolLM2-135M, GSM-Symbolic at ratio 0.5, global batches of 32); the number is examples a second,
without the first two steps, in which memory is fetched from the system. With `--sharding` the model is cut over the ranks too.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

BATCH, FIRST = 32, 2
ONE, TWO = "one process of two threads", "two ranks of one thread"
WORDS = {
    "zero1": ("deepspeed=zero1",),
    "zero2": ("deepspeed=zero2",),
    "zero3": ("deepspeed=zero3",),
    "fsdp": ("fsdp=true",),
}


def measured(out: Path, steps: int, *words: str) -> float:
    """Examples a second of a run of its own."""
    common = (
        "ratio=0.5",
        f"batch_size={BATCH}",
        f"max_steps={steps}",
        "device=cpu",
        f"pairs={out.parent / 'pairs'}",
    )
    subprocess.run(
        [sys.executable, "-m", "train", *common, *words, f"out={out}"],
        check=True,
        capture_output=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return BATCH * (steps - FIRST) / (rows[-1]["seconds"] - rows[FIRST - 1]["seconds"])


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.ranks", description=(__doc__ or "").partition(": ")[2].splitlines()[0]
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--steps",
        type=int,
        default=5,
        help="global batches of each run, of which the first two do not count",
    )
    parser.add_argument(
        "--sharding",
        nargs="*",
        choices=sorted(WORDS),
        default=[],
        help="ways to cut the model, measured as well",
    )
    options = parser.parse_args()
    ways = {ONE: ("threads=2",), TWO: ("threads=1", "executor.nproc_per_node=2")}
    ways |= {f"{TWO}, {name}": (*ways[TWO], *WORDS[name]) for name in options.sharding}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = [
            "teacher=reference",
            "data=gsm_symbolic",
            f"limit={options.steps * BATCH}",
            f"out={folder / 'pairs'}",
        ]
        subprocess.run([sys.executable, "-m", "distill", *words], check=True, capture_output=True)
        for repeat in range(options.repeats):
            for number, (way, words_of) in enumerate(ways.items()):
                rates[way].append(measured(folder / f"{repeat}-{number}", options.steps, *words_of))
                print(
                    f"{repeat + 1} of {options.repeats}: {way}: {rates[way][-1]:.2f} examples/s",
                    flush=True,
                )
    ratios = sorted(two / one for two, one in zip(rates[TWO], rates[ONE], strict=True))
    print(
        json.dumps(
            {
                "what": f"examples/s of train, SmolLM2-135M, all weights: {TWO}, against {ONE}",
                "ours": round(statistics.median(rates[TWO]), 3),
                "peer": round(statistics.median(rates[ONE]), 3),
                "ratio": round(statistics.median(ratios), 3),
                "spread": [round(ratios[i], 3) for i in (0, -1)],
                "sharded": {
                    name: round(statistics.median(rates[f"{TWO}, {name}"]), 3)
                    for name in options.sharding
                },
            }
        )
    )


if __name__ == "__main__":
    main()
