"""Synthetic results in the project's own files: problems, answers, and finished evaluations."""

from __future__ import annotations

import json
import os
import random
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from eval.benchmarks import load
from eval.config import Config, benchmark_inputs
from ratiocine import cli
from ratiocine.column_builder import read_columns
from ratiocine.completion_parts import CLOSE, OPEN
from ratiocine.cost import Shape
from ratiocine.engines import Request
from ratiocine.grading import GRADER_VERSION
from ratiocine.hashing import batched, digest
from ratiocine.prompts import user_text
from ratiocine.records import Completion, Problem, ScoredCompletion
from ratiocine.runs import Decoding, EvalFacts, StudentInfo, open_run
from ratiocine.scores import FILE, score_table
from ratiocine.stores import COMPLETIONS, write_completions

BENCHMARKS = {"facts": "general-mc", "names": "general-oe", "angles": "math-mc", "sums": "math-oe"}
CHOICES = ("a quarter", "one half", "the whole", "nothing")
SHAPE = Shape(49_152, 576, 1536, 30, 9, 3, 64)
WORDS = "so the next step follows from the one before it, and both sides stay equal; " * 400
RATIOS = (0.0, 0.25, 0.5, 0.75, 1.0)
MIXED = [("mixed", ratio) for ratio in RATIOS]
ARMS = (*MIXED, *(("sequential", ratio) for ratio in RATIOS[1:4]))
PER_MODEL = 50  # evaluations of one starting model and its students


@dataclass(frozen=True)
class Point:
    """A student, or, without a ratio, an untrained model."""

    model: str
    scenario: str | None = None
    ratio: float | None = None
    seed: int = 0

    @property
    def name(self) -> str:
        return f"{self.model}-{self.scenario}-{self.ratio}-{self.seed}"


def points(n: int) -> list[Point]:
    """`n` evaluations: starting models, then their students, seed after seed."""
    models = [f"model-{number}" for number in range(-(-n // PER_MODEL))]
    found = [Point(model) for model in models]
    seed = 0
    while len(found) < n:
        found += [Point(model, *arm, seed=seed) for model in models for arm in ARMS]
        seed += 1
    return found[:n]


def write_problems(folder: Path, n: int) -> list[str]:
    """`n` problems in four benchmark files; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, files = random.Random(0), []
    for at, (name, category) in enumerate(BENCHMARKS.items()):
        file = folder / f"{name}.jsonl"
        rows = (_problem(rng, category, number) for number in range(at, n, len(BENCHMARKS)))
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        files.append(str(file))
    return files


def _problem(rng: random.Random, category: str, number: int) -> dict[str, object]:
    a, b = rng.randrange(10, 1000), rng.randrange(10, 1000)
    question = (
        f"Case {number}: a shop sells {a} pens on Monday and {b} on Tuesday. "
        "What do the two days add up to?"
    )
    row = {"id": str(number), "question": question, "category": category}
    if category.endswith("-mc"):
        return {**row, "choices": CHOICES, "answer": "ABCD"[(a + b) % 4], "kind": "choice"}
    kind = "number" if category == "math-oe" else "string"
    return {**row, "answer": str(a + b), "kind": kind}


def compose(files: Iterable[str], out: Path, samples: int) -> Config:
    """The configuration of an evaluation on these benchmark files."""
    return cli.compose(
        "eval",
        Config,
        [
            *("model=tiny", f"benchmarks=[{','.join(files)}]", f"samples={samples}"),
            *("temperature=0.7", "max_new_tokens=1024", f"out={out}"),
        ],
    )


class Answers:
    """Completions of a point: right more often with reasoning in mathematics, and for easy
    problems; `characters` is the mean length of a trace."""

    name = "scripted"

    def __init__(self, point: Point, problems: dict[str, Problem], characters: int) -> None:
        self.rng, self.problems = random.Random(point.name), problems
        ratio, self.characters = point.ratio or 0.0, characters
        self.thinks = 0.3 if point.ratio is None else min(1.0, ratio / 0.75)
        untrained = 0.15 * (point.ratio is None)
        self.level = {
            category: 0.45 - untrained + 0.02 * point.seed + gain * ratio
            for category, gain in zip(BENCHMARKS.values(), (-0.1, 0.0, 0.2, 0.4), strict=True)
        }

    def generate(self, requests: Iterable[Request]) -> Iterator[list[Completion]]:
        for batch in batched(requests, 64):
            found = []
            for one in batch:
                problem = self.problems[one.id]
                found += [self.completion(one.id, problem, sample) for sample in one.samples]
            yield found

    def completion(self, key: str, problem: Problem, sample: int) -> Completion:
        rng = self.rng
        ease = (zlib.crc32(problem.id.encode()) % 1000) / 1000 - 0.5
        right = rng.random() < self.level[problem.category] + 0.6 * ease
        answer = str(problem.reference)
        if not right and problem.choices:
            answer = rng.choice([letter for letter in "ABCD" if letter != problem.reference])
        elif not right:
            answer = str(int(answer) + rng.choice((-10, -1, 1, 2, 10, 100)))
        length = int(rng.expovariate(1 / self.characters) * (1 if right else 1.4)) + 20
        text = f"The answer is \\boxed{{{answer}}}."
        if rng.random() < self.thinks:
            text = f"{OPEN}\n{WORDS[: min(length, len(WORDS))]}\n{CLOSE}\n\n{text}"
        tokens = min(1024, len(text) // 4)
        stop = "length" if tokens == 1024 else "stop"
        return Completion(key, text, stop, 60, tokens, 0.02, sample=sample)


def rows(
    point: Point, problems: dict[str, Problem], samples: int, characters: int
) -> Iterator[ScoredCompletion]:
    """Scored completions without the grader, which takes most of the time of writing them;
    `eval.regrade` gives the same verdicts."""
    answers = Answers(point, problems, characters)
    for key, problem in problems.items():
        prompt = user_text(problem)
        for sample in range(samples):
            completion = answers.completion(key, problem, sample)
            yield _scored(problem, prompt, completion)


def _scored(problem: Problem, prompt: str, completion: Completion) -> ScoredCompletion:
    boxed = completion.text.rpartition("{")[2].partition("}")[0]
    thought = completion.text.startswith(OPEN)
    n_think = completion.n_completion - 8 if thought else 0
    solvable = thought and problem.kind in ("number", "choice")
    return ScoredCompletion(
        key=completion.id,
        id=problem.id,
        benchmark=problem.source,
        category=problem.category,
        prompt=prompt,
        reference=problem.reference,
        completion=completion.text,
        verdict="right" if boxed == problem.reference else "wrong",
        extracted=boxed,
        reason="boxed",
        stop=completion.stop,
        thought=thought,
        n_prompt=completion.n_prompt,
        n_completion=completion.n_completion,
        n_think=n_think,
        n_answer=completion.n_completion - n_think,
        seconds=completion.seconds,
        sample=completion.sample,
        level=str(1 + int(problem.id) % 5),
        efficiency=(1.0, 1.0) if solvable else None,
    )


@cache
def _loaded(benchmarks: tuple[str, ...]) -> dict[str, Problem]:
    return load(compose(benchmarks, Path("unused"), 1)).problems


def source(point: Point, seeds: int | None, n_models: int) -> Point:
    """Where a point's answers are from: with `seeds`, those of later seeds are another model's."""
    if seeds is None or point.ratio is None or point.seed < seeds:
        return point
    shift = point.seed // seeds
    number = (int(point.model.rpartition("-")[2]) + shift) % n_models
    return replace(point, model=f"model-{number}", seed=point.seed % seeds)


def write_evaluation(
    files: list[str],
    out: Path,
    point: Point,
    samples: int,
    characters: int,
    same: Path | None = None,
) -> None:
    """A finished evaluation; with the answers of another one, where it is the `same`."""
    config = compose(files, out, samples)
    run = open_run("eval", config, {**benchmark_inputs(config), "model": digest(point.name)})
    if run.finished:
        return
    with run.writing(COMPLETIONS) as path:
        if same is None:
            problems = _loaded(tuple(files))
            write_completions(path, rows(point, problems, samples, characters))
        else:
            os.link(same / COMPLETIONS, path)
    if same is None:
        run.write_json(FILE, score_table(read_columns(run.out / COMPLETIONS), SHAPE).to_json())
    else:
        run.write_json(FILE, json.loads((same / FILE).read_text(encoding="utf-8")))
    run.finish(**_facts(point, samples).to_json())


def _facts(point: Point, samples: int) -> EvalFacts:
    student = None
    if point.ratio is not None:
        arm = digest(point.model, point.scenario, point.ratio)[:16]
        cost = 1 + 5 * point.ratio
        student = StudentInfo(
            hash=f"{arm[:12]}{point.seed:04x}",
            arm=arm,
            base=point.model,
            ratio=point.ratio,
            scenario=point.scenario,
            seed=point.seed,
            equalize="examples",
            lr_policy="per_format",
            data="synthetic",
            lora=False,
            lr=1e-4,
            steps=100,
            tokens=int(1e6 * cost),
            train_flops=1e15 * cost,
            train_flops_exact=1e15 * cost,
            seconds=60.0,
            problems=10_000,
        )
    return EvalFacts(
        model=point.model,
        max_new_tokens=1024,
        decoding=Decoding(0.7, 1.0, samples),
        seconds=100.0,
        engine="transformers",
        grader=GRADER_VERSION,
        student=student,
        dtype="torch.float32",
        attention="sdpa",
        shape=SHAPE,
        size=135_000_000,
        chance={name: 0.25 * category.endswith("-mc") for name, category in BENCHMARKS.items()},
    )
