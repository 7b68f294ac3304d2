"""python -m bench.grading [--root DIR]: grading beside TRL's accuracy_reward and plain math-verify.

Distinct (problem, answer) pairs, 60 % GSM8K and 40 % MATH, a third of them wrong, in chunks that ours and the peers judge in
turn. Ours judges in this process and one worker that it waits for; the peers in this process. All caches start cold.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import re
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ratiocine.grading import grade, worker
from ratiocine.prompts import split
from ratiocine.records import Problem

Pair = tuple[Problem, str]
CHUNKS = 8


def pairs(root: Path, n: int, seed: int) -> list[Pair]:
    """`n` distinct pairs: references as a model would give them, a third replaced by another row's or a changed answer."""
    draw = random.Random(seed)

    def rows(*names: str) -> list[dict[str, Any]]:
        return [json.loads(line) for name in names for line in (root / name).open(encoding="utf-8")]

    def made(rows: list[dict[str, Any]], kind: str, n: int) -> list[Pair]:
        found: list[Pair] = []
        for row in draw.sample(rows, min(n, len(rows))):
            answer = row["answer"]
            if draw.random() < 1 / 3:
                answer = draw.choice(rows)["answer"]
                if re.fullmatch(r"-?\d+", row["answer"]) and draw.random() < 0.5:
                    answer = str(int(row["answer"]) + draw.choice([-1, 1, 10]))
            text = f"We work it out step by step and find the result. The final answer is $\\boxed{{{answer}}}$."
            found.append(
                (
                    Problem(
                        row["id"], row["question"], row["answer"], kind, "math-oe", row["benchmark"]
                    ),
                    text,
                )
            )  # type: ignore[arg-type]
        return found

    mixed = made(rows("gsm8k_test.jsonl", "gsm8k_train.jsonl"), "number", round(0.6 * n))
    mixed += made(
        rows("math500_test.jsonl", "math_train_sample.jsonl"), "expression", n - len(mixed)
    )
    draw.shuffle(mixed)
    return mixed


def ours(chunk: Sequence[Pair]) -> list[bool]:
    return [grade(problem, split(text)).verdict == "right" for problem, text in chunk]


def trl(chunk: Sequence[Pair]) -> list[bool]:
    from trl.rewards import accuracy_reward

    completions = [[{"role": "assistant", "content": text}] for _, text in chunk]
    return [
        r == 1.0
        for r in accuracy_reward(completions, [f"${problem.reference}$" for problem, _ in chunk])
    ]


def math_verify(chunk: Sequence[Pair]) -> list[bool]:
    from math_verify import parse, verify

    return [verify(parse(f"${problem.reference}$"), parse(text)) for problem, text in chunk]


def measure(
    name: str, all_pairs: Sequence[Pair], peer: Callable[[Sequence[Pair]], list[bool]]
) -> dict[str, Any]:
    size = -(-len(all_pairs) // CHUNKS)
    ratios, rates, differing = [], {"ours": list[float](), "peer": list[float]()}, []
    for start in range(0, len(all_pairs), size):
        chunk = all_pairs[start : start + size]
        order = [("ours", ours), ("peer", peer)]
        found: dict[str, list[bool]] = {}
        for who, judge in order if (start // size) % 2 else reversed(order):
            started = time.perf_counter()
            found[who] = judge(chunk)
            rates[who].append(len(chunk) / (time.perf_counter() - started))
        ratios.append(rates["ours"][-1] / rates["peer"][-1])
        both = zip(chunk, found["ours"], found["peer"], strict=True)
        differing += [
            (p.reference, text.partition("$")[2], a, b) for (p, text), a, b in both if a != b
        ]
    for reference, text, a, b in differing:
        print(f"  {name}: reference {reference!r}, answer {text!r}: ours {a}, peer {b}")
    return {
        "what": name,
        "n": len(all_pairs),
        "ours": round(statistics.median(rates["ours"])),
        "peer": round(statistics.median(rates["peer"])),
        "ratio": round(statistics.median(ratios), 2),
        "spread": [round(min(ratios), 2), round(max(ratios), 2)],
        "differing": len(differing),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.grading", description=__doc__.splitlines()[0]
    )  # type: ignore[union-attr]
    parser.add_argument(
        "--root",
        type=Path,
        default=Path("../shared/benchmarks"),
        help="local copies of gsm8k and MATH",
    )
    parser.add_argument("-n", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.disable()
    sample = pairs(options.root, options.n, options.seed)
    plain = [p for p in pairs(options.root, options.n, options.seed + 1) if p[0].kind == "number"]
    maths = [
        p for p in pairs(options.root, options.n, options.seed + 2) if p[0].kind == "expression"
    ]
    symbolic = [p for p in maths if not re.fullmatch(r"-?[\d,.]+", p[0].reference or "")]
    ours(sample[:1])
    trl(sample[:1])
    worker.equivalent("x^2", "x x")  # imports and processes are not timed
    results = [
        measure("mix against TRL's accuracy_reward", sample, trl),
        measure("plain numbers against TRL's accuracy_reward", plain, trl),
        measure("symbolic answers against math-verify", symbolic, math_verify),
    ]
    for result in results:
        print(json.dumps(result))
    print(json.dumps({**results[0], "others": results[1:]}))


if __name__ == "__main__":
    main()
