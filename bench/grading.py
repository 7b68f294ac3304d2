"""python -m bench.grading --data-dir DIR: the grader, TRL's accuracy_reward and plain math-verify.

Distinct (problem, completion) items, 60 % GSM8K and 40 % MATH, a third of them wrong, in chunks
that ours and the peer grade in turn. Ours runs in this process and one sympy worker, the peers in
this process. All caches start empty.
"""

from __future__ import annotations

import json
import logging
import random
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.harness import print_result, result
from ratiocine import cli
from ratiocine.completion_parts import split
from ratiocine.grading import grade
from ratiocine.records import Kind, Problem

Item = tuple[Problem, str]
Grader = Callable[[Sequence[Item]], list[bool]]
CHUNKS = 8
FILES: dict[Kind, tuple[str, str]] = {
    "number": ("gsm8k_test.jsonl", "gsm8k_train.jsonl"),
    "expression": ("math500_test.jsonl", "math_train_sample.jsonl"),
}


def sample_items(folder: Path, n: int, seed: int) -> list[Item]:
    """`n` distinct items: references as a model would state them, a third of them replaced by
    another row's or by a changed number."""
    rng = random.Random(seed)
    numbers = round(0.6 * n)
    counts: dict[Kind, int] = {"number": numbers, "expression": n - numbers}
    items: list[Item] = []
    for kind, count in counts.items():
        lines = [line for name in FILES[kind] for line in (folder / name).open(encoding="utf-8")]
        rows = [json.loads(line) for line in lines]
        for row in rng.sample(rows, min(count, len(rows))):
            answer = row["answer"]
            if rng.random() < 1 / 3:
                answer = rng.choice(rows)["answer"]
                if re.fullmatch(r"-?\d+", row["answer"]) and rng.random() < 0.5:
                    answer = str(int(row["answer"]) + rng.choice([-1, 1, 10]))
            problem = Problem(
                row["id"], row["question"], row["answer"], kind, "math-oe", row["benchmark"]
            )
            text = "We work it out step by step and find the result. The final answer is "
            items.append((problem, f"{text}$\\boxed{{{answer}}}$."))
    rng.shuffle(items)
    return items


def ours(items: Sequence[Item]) -> list[bool]:
    return [grade(problem, split(text)).verdict == "right" for problem, text in items]


def trl(items: Sequence[Item]) -> list[bool]:
    from trl.rewards import accuracy_reward

    completions = [[{"role": "assistant", "content": text}] for _, text in items]
    solutions = [f"${problem.reference}$" for problem, _ in items]
    return [reward == 1.0 for reward in accuracy_reward(completions, solutions)]


def math_verify(items: Sequence[Item]) -> list[bool]:
    from math_verify import parse, verify

    return [verify(parse(f"${problem.reference}$"), parse(text)) for problem, text in items]


def measure(what: str, items: Sequence[Item], peer: Grader) -> dict[str, Any]:
    """Items per second of both sides, in chunks of alternating order; prints differing verdicts."""
    size = -(-len(items) // CHUNKS)
    rates: dict[str, list[float]] = {"ours": [], "peer": []}
    differing = 0
    for start in range(0, len(items), size):
        chunk = items[start : start + size]
        graders = {"ours": ours, "peer": peer}
        verdicts: dict[str, list[bool]] = {}
        for side in sorted(graders, reverse=start // size % 2 == 0):
            started = time.perf_counter()
            verdicts[side] = graders[side](chunk)
            rates[side].append(len(chunk) / (time.perf_counter() - started))
        both = zip(chunk, verdicts["ours"], verdicts["peer"], strict=True)
        for (problem, text), mine, theirs in both:
            if mine != theirs:
                differing += 1
                answer = text.partition("$")[2]
                print(f"  {problem.reference!r}, answer {answer!r}: ours {mine}, peer {theirs}")
    ratios = [a / b for a, b in zip(rates["ours"], rates["peer"], strict=True)]
    return result(what, rates["ours"], rates["peer"], ratios, n=len(items), differing=differing)


def main() -> None:
    parser = cli.argument_parser("bench.grading", __doc__)
    parser.add_argument(
        "--data-dir", type=Path, required=True, help="folder with local copies of GSM8K and MATH"
    )
    parser.add_argument("-n", type=int, default=5000, help="items (default: 5000)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.disable()
    mix, second, third = (
        sample_items(options.data_dir, options.n, options.seed + offset) for offset in range(3)
    )
    numbers = [item for item in second if item[0].kind == "number"]
    expressions = [item for item in third if item[0].kind == "expression"]
    symbolic = [
        item for item in expressions if not re.fullmatch(r"-?[\d,.]+", item[0].reference or "")
    ]
    # imports and process starts are not timed
    ours(mix[:1])
    trl(mix[:1])
    ours([(Problem("0", "", "x^2", "expression", "math-oe", "warm-up"), r"\boxed{x x}")])
    results = [
        measure("items/s, mix, against TRL's accuracy_reward", mix, trl),
        measure("items/s, plain numbers, against TRL's accuracy_reward", numbers, trl),
        measure("items/s, symbolic answers, against math-verify", symbolic, math_verify),
    ]
    print_result({**results[0], "others": results[1:]})


if __name__ == "__main__":
    main()
