"""Synthetic evaluations: finished run directories whose answers a rule decides."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from conftest import settings

from ratiocine.cost import Shape
from ratiocine.records import ScoredCompletion
from ratiocine.runs import (
    Decoding,
    EvalFacts,
    Manifest,
    PairSource,
    StudentInfo,
    hash_path,
    open_run,
)
from ratiocine.scores import score_table
from ratiocine.stores import CompletionStore

BENCHMARKS = {"names": "general-mc", "spans": "general-oe", "angles": "math-mc", "sums": "math-oe"}
HYPOTHESES = {"sums": "gain", "angles": "gain", "names": "no_gain", "spans": "no_gain"}
SHAPES = {"small": Shape(512, 64, 128, 4, 2, 2, 16), "large": Shape(512, 128, 256, 8, 4, 4, 16)}
SIZES = {"small": 500_000, "large": 2_000_000}
CHANCE = {"names": 0.25, "spans": 0.0, "angles": 0.2, "sums": 0.0}
PRUNED = {"small": "large, 2 layers"}
PROGRAM = PairSource("oracle", is_model=False, n=700, license="apache-2.0")
DIRECT, TRACE = 20, 100  # tokens of an answer and of a trace
GREEDY = Decoding(temperature=0.0, top_p=1.0, samples=1)
GRADER = "0123456789abcdef"


@dataclass(frozen=True)
class Point:
    """A student, or, without a ratio, an untrained model."""

    model: str
    ratio: float | None = None
    scenario: str = "mixed"
    equalize: str = "examples"
    seed: int = 0


Rule = Callable[[Point, str, int], bool]


def chance(*words: object) -> float:
    """A number in [0, 1) that looks drawn, and is always the same for the same words."""
    return int(hashlib.sha256(repr(words).encode()).hexdigest()[:12], 16) / 16**12


def believable(point: Point, benchmark: str, number: int) -> bool:
    """Reasoning helps in mathematics, more so the large model, and costs a little in general
    questions; problems differ in how hard they are, and seeds a little."""
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
            + 0.03 * (point.equalize != "examples")
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
) -> ScoredCompletion:
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
    return ScoredCompletion(
        key=f"{benchmark}/{number}",
        id=str(number),
        benchmark=benchmark,
        category=BENCHMARKS[benchmark],
        prompt=f"What is {number} of {benchmark}?",
        reference="1",
        completion=body,
        verdict="right" if right else "wrong",
        extracted="1",
        reason="boxed",
        stop="stop",
        thought=thought,
        n_prompt=10,
        n_completion=tokens,
        n_think=TRACE * thought,
        n_answer=tokens - TRACE * thought,
        seconds=0.1,
        level=str(1 + number % 3),
    )


def write_evaluation(
    out: Path, rows: Sequence[ScoredCompletion], facts: EvalFacts, **identity: Any
) -> Path:
    """A finished evaluation with these completions; `identity` are its hashed settings."""
    config = settings(**{"benchmarks": ["demo"], "seed": 0, **identity}, out=str(out))
    run = open_run("eval", config, {})
    with run.writing("completions.jsonl") as path:
        CompletionStore(path).append(rows)
    run.write_json("scores.json", score_table(rows, facts.shape).to_json())
    run.finish(**facts.to_json())
    return out


def manifest(facts: EvalFacts, name: str) -> Manifest:
    """The manifest of an evaluation that is in memory alone."""
    known = {
        **{"verb": "eval", "hash": name, "identity": {}, "inputs": {}, "outputs": {}},
        **{"versions": {}, "seed": 0, "revision": None, "schema_version": 2},
    }
    return Manifest.from_json({**known, **facts.to_json()})


def study(
    root: Path,
    points: Iterable[Point],
    rule: Rule = believable,
    *,
    problems: int = 12,
    characters: int = 120,
    mended: Callable[[Point, ScoredCompletion], Mapping[str, Any]] = lambda point, row: {},
    inputs: Mapping[str, str] | None = None,
    **changes: Any,
) -> Path:
    """A folder with an evaluation of every point, over this many problems of each benchmark.

    `mended` changes fields of completions, `changes` those of the facts, `inputs` the hashes of the
    benchmarks and the model.
    """
    for point in points:
        name = "-".join(str(value) for value in asdict(point).values())
        rows = [
            answer(point, benchmark, number, rule(point, benchmark, number), characters)
            for benchmark in BENCHMARKS
            for number in range(problems)
        ]
        rows = [replace(row, **mended(point, row)) for row in rows]
        facts = replace(evaluation_facts(point), **changes)
        out = write_evaluation(root / f"eval-{name}", rows, facts, point=name)
        if inputs is not None:
            rewrite_manifest(out, inputs=dict(inputs))
    return root


def rewrite_manifest(out: Path, **changes: Any) -> None:
    """Change facts of a finished run, as if it had been written so."""
    file = out / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    (out / "DONE").write_text(hash_path(file) + "\n")


def evaluation_facts(point: Point) -> EvalFacts:
    return EvalFacts(
        model=point.model,
        max_new_tokens=256,
        decoding=GREEDY,
        engine="transformers",
        grader=GRADER,
        seconds=3.0 + point.seed,
        student=trained(point),
        hypotheses=HYPOTHESES,
        dtype="torch.float32",
        attention="sdpa",
        shape=SHAPES[point.model],
        size=SIZES[point.model],
        chance=CHANCE,
        pruned=PRUNED.get(point.model),
        license="apache-2.0",
    )


def trained(point: Point) -> StudentInfo | None:
    if point.ratio is None:
        return None
    words = (point.model, point.ratio, point.scenario, point.equalize)
    arm = hashlib.sha256(repr(words).encode()).hexdigest()[:16]
    cost = 6 if point.equalize == "flops" else 1 + 5 * point.ratio
    return StudentInfo(
        hash=f"{arm[:12]}{point.seed:04x}",
        arm=arm,
        base=point.model,
        ratio=point.ratio,
        scenario=point.scenario,
        seed=point.seed,
        equalize=point.equalize,
        lr_policy="per_format",
        data="oracle domains",
        lora=False,
        lr=1e-4,
        steps=100,
        tokens=int(1e5 * cost),
        train_flops=SIZES[point.model] * 1e6 * cost,
        seconds=60.0 + point.seed,
        final_loss=1.0,
        problems=600,
        sources=(PROGRAM,),
        license="apache-2.0",
        pruned=PRUNED.get(point.model),
        machine="2 CPU cores",
    )


def whole(seeds: int = 3) -> list[Point]:
    """Two models, each untrained and in eight arms: five ratios mixed, three of them sequential."""
    found = []
    for model in SHAPES:
        found.append(Point(model))
        for seed in range(seeds):
            found += [Point(model, ratio, seed=seed) for ratio in (0.0, 0.25, 0.5, 0.75, 1.0)]
            found += [Point(model, ratio, "sequential", seed=seed) for ratio in (0.25, 0.5, 0.75)]
    return found
