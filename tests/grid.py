"""A made-up study: finished evaluations, one a model, arm of training and seed, whose answers a rule decides."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ratiocine.cost import Shape
from ratiocine.evaluate import scores
from ratiocine.runs import open_run
from ratiocine.stores import CompletionStore

BENCHMARKS = {"names": "general-mc", "spans": "general-oe", "angles": "math-mc", "sums": "math-oe"}
EXPECTED = {"sums": "gain", "angles": "gain", "names": "no_gain", "spans": "no_gain"}
SHAPES = {"small": Shape(512, 64, 128, 4, 2, 2, 16), "large": Shape(512, 128, 256, 8, 4, 4, 16)}
SIZES = {"small": 500_000, "large": 2_000_000}
DIRECT, TRACE = 20, 100  # tokens of an answer and of a trace


@dataclass(frozen=True)
class Point:
    """What was trained and evaluated; without a ratio nothing was trained."""

    model: str
    ratio: float | None = None
    scenario: str = "mixed"
    match: str = "examples"
    seed: int = 0


Rule = Callable[[Point, str, int], bool]


def chance(*words: object) -> float:
    """A number in [0, 1) that looks drawn, and is always the same for the same words."""
    return int(hashlib.sha256(repr(words).encode()).hexdigest()[:12], 16) / 16**12


def believable(point: Point, benchmark: str, number: int) -> bool:
    """Reasoning helps in mathematics, more so the large model, and costs a little in general questions; problems differ in how
    hard they are, and seeds a little."""
    gain = {"sums": 0.4, "angles": 0.2, "spans": 0.02, "names": -0.12}[benchmark] * {
        "small": 0.7,
        "large": 1.1,
    }[point.model]
    base = {"sums": 0.25, "angles": 0.4, "spans": 0.5, "names": 0.6}[benchmark] + 0.12 * (
        point.model == "large"
    )
    if point.ratio is None:
        level = base - 0.2
    else:
        level = (
            base
            + gain * point.ratio**0.7
            - 0.05 * (point.scenario == "sequential")
            + 0.03 * (point.match != "examples")
        )
        level += 0.04 * (chance("seed", *asdict(point).values()) - 0.5)
    ease = chance("problem", benchmark, number) - 0.5
    return chance("answer", *asdict(point).values(), benchmark, number) < level + 0.6 * ease


def noise(point: Point, benchmark: str, number: int) -> bool:
    """Nothing matters."""
    return chance(*asdict(point).values(), benchmark, number) < 0.5


def thinks(point: Point, benchmark: str, number: int) -> bool:
    """As often as the ratio says, and from 0.75 on always."""
    return chance("mode", point.seed, benchmark, number) < (
        0 if point.ratio is None else min(1, point.ratio / 0.75)
    )


def answer(
    point: Point, benchmark: str, number: int, right: bool, characters: int
) -> dict[str, Any]:
    thought = thinks(point, benchmark, number)
    tokens = (
        DIRECT
        + TRACE * thought
        + (0 if right else 15 + 60 * thought)
        + int(10 * chance("length", benchmark, number))
    )
    text = (
        f"Problem {number} of {benchmark}: "
        + "one step follows from another, and then the next; " * 40
    )
    body = (
        f"<think>\n{text[:characters]}\n</think>\n\n\\boxed{{1}}"
        if thought
        else f"{text[: characters // 3]} \\boxed{{1}}"
    )
    return {
        "key": f"{benchmark}/{number}",
        "id": str(number),
        "benchmark": benchmark,
        "category": BENCHMARKS[benchmark],
        "prompt": f"What is {number} of {benchmark}?",
        "reference": "1",
        "completion": body,
        "verdict": "right" if right else "wrong",
        "extracted": "1",
        "reason": "boxed",
        "stop": "stop",
        "thought": thought,
        "opened": False,
        "detail": {},
        "n_prompt": 10,
        "n_completion": tokens,
        "n_think": TRACE * thought,
        "n_answer": tokens - TRACE * thought,
        "seconds": 0.1,
        "sample": 0,
        "level": str(1 + number % 3),
        "expected": None,
        "efficiency": None,
        "token_ids": None,
        "logprobs": None,
    }


def study(
    root: Path,
    points: Iterable[Point],
    rule: Rule = believable,
    *,
    problems: int = 12,
    characters: int = 120,
    mended: Callable[[Point, dict[str, Any]], Mapping[str, Any]] = lambda point, row: {},
    **facts: Any,
) -> Path:
    """A folder with an evaluation of every point over so many problems of each benchmark; `mended` may change rows, and `facts`
    the manifests."""
    for point in points:
        name = "-".join(str(value) for value in asdict(point).values())
        rows = []
        for benchmark in BENCHMARKS:
            for number in range(problems):
                made = answer(point, benchmark, number, rule(point, benchmark, number), characters)
                rows.append({**made, **mended(point, made)})
        run = open_run(
            "eval",
            {"benchmarks": ["demo"], "point": name, "seed": 0, "out": str(root / f"eval-{name}")},
            {},
        )
        with run.writing("completions.jsonl") as path:
            CompletionStore(path).append(rows)
        run.write_json("scores.json", scores(rows, SHAPES[point.model]))
        run.finish(
            **{
                "model": point.model,
                "student": trained(point),
                "expected": EXPECTED,
                "budget": 256,
                "dtype": "torch.float32",
                "attention": "sdpa",
                "engine": "transformers",
                "grader": "0123456789abcdef",
                "decoding": {"temperature": 0.0, "top_p": 1.0, "samples": 1},
                "size": SIZES[point.model],
                "shape": asdict(SHAPES[point.model]),
                "seconds": 3.0 + point.seed,
                **facts,
            }
        )
    return root


def trained(point: Point) -> dict[str, Any] | None:
    if point.ratio is None:
        return None
    arm = hashlib.sha256(
        repr((point.model, point.ratio, point.scenario, point.match)).encode()
    ).hexdigest()[:16]
    dear = 6 if point.match == "flops" else 1 + 5 * point.ratio
    return {
        "ratio": point.ratio,
        "scenario": point.scenario,
        "seed": point.seed,
        "equalize": point.match,
        "lr_policy": "per_format",
        "data": "oracle domains",
        "arm": arm,
        "hash": f"{arm[:12]}{point.seed:04x}",
        "base": point.model,
        "lora": False,
        "steps": 100,
        "tokens": int(1e5 * dear),
        "lr": 1e-4,
        "train_flops": SIZES[point.model] * 1e6 * dear,
        "seconds": 60.0 + point.seed,
        "final_loss": 1.0,
    }


def whole(seeds: int = 3) -> list[Point]:
    """Two models, each untrained and by eight arms: five ratios mixed, three of them sequential."""
    found = []
    for model in SHAPES:
        found.append(Point(model))
        for seed in range(seeds):
            found += [Point(model, ratio, seed=seed) for ratio in (0.0, 0.25, 0.5, 0.75, 1.0)]
            found += [Point(model, ratio, "sequential", seed=seed) for ratio in (0.25, 0.5, 0.75)]
    return found
