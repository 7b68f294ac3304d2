"""python -m bench.ranks: two ranks of one thread each, and one process of two threads, in turns.

The same run of `train` (SmolLM2-135M, GSM-Symbolic, ratio 0.5, global batches of 32), each as a
user starts it. The result is examples per second without the first two steps, in which memory is
first allocated. `--sharding` also measures sharded training on two ranks.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from pathlib import Path

from bench.harness import print_result, result, run_verb, significant
from ratiocine import cli

BATCH_SIZE, WARMUP_STEPS = 32, 2
ONE_PROCESS, TWO_RANKS = "one process of two threads", "two ranks of one thread"
SHARDING = {
    "zero1": "deepspeed=zero1",
    "zero2": "deepspeed=zero2",
    "zero3": "deepspeed=zero3",
    "fsdp": "fsdp=true",
}


def examples_per_second(pairs: Path, out: Path, steps: int, *overrides: str) -> float:
    settings = (
        "ratio=0.5",
        f"batch_size={BATCH_SIZE}",
        f"max_steps={steps}",
        "device=cpu",
        f"pairs={pairs}",
        f"out={out}",
    )
    run_verb("train", *settings, *overrides)
    lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    seconds = [json.loads(line)["seconds"] for line in lines]
    return BATCH_SIZE * (steps - WARMUP_STEPS) / (seconds[-1] - seconds[WARMUP_STEPS - 1])


def main() -> None:
    parser = cli.argument_parser("bench.ranks", __doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--steps", type=int, default=5, help="global batches per run, two of them not counted"
    )
    parser.add_argument(
        "--sharding", nargs="*", choices=sorted(SHARDING), default=[], help="also measure these"
    )
    options = parser.parse_args()
    two_ranks = ["threads=1", "executor.nproc_per_node=2"]
    settings = {ONE_PROCESS: ["threads=2"], TWO_RANKS: two_ranks}
    settings |= {name: [*two_ranks, SHARDING[name]] for name in options.sharding}
    rates: dict[str, list[float]] = {name: [] for name in settings}
    with tempfile.TemporaryDirectory() as folder:
        pairs, n = Path(folder) / "pairs", options.steps * BATCH_SIZE
        data = ("teacher=reference", "data=gsm_symbolic", f"limit={n}")
        run_verb("distill", *data, f"out={pairs}")
        for repeat in range(options.repeats):
            for number, (name, overrides) in enumerate(settings.items()):
                out = Path(folder) / f"{repeat}-{number}"
                rates[name].append(examples_per_second(pairs, out, options.steps, *overrides))
                print(
                    f"repeat {repeat + 1} of {options.repeats}, {name}: "
                    f"{rates[name][-1]:.2f} examples/s",
                    flush=True,
                )
    print_result(
        result(
            f"examples/s of train, SmolLM2-135M, all weights: {TWO_RANKS}, against {ONE_PROCESS}",
            rates[TWO_RANKS],
            rates[ONE_PROCESS],
            [two / one for two, one in zip(rates[TWO_RANKS], rates[ONE_PROCESS], strict=True)],
            sharded={
                name: significant(statistics.median(rates[name])) for name in options.sharding
            },
        )
    )


if __name__ == "__main__":
    main()
