"""A student × benchmarks → `completions.jsonl` and `scores.json`."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eval.benchmarks import load
from eval.config import Config, inputs
from ratiocine import cost, engines
from ratiocine.evaluate import answered, scores
from ratiocine.grading import GRADER_VERSION
from ratiocine.progress import progress
from ratiocine.rendering import asked_to_think
from ratiocine.runs import Run, ancestors, compared, open_run, student, tracking
from ratiocine.stores import CompletionStore

WARN = 0.05  # share of truncated completions from which a budget is called too small


def evaluate(config: Config) -> Run:
    """Answer and grade every problem of the benchmarks; what a killed run had answered is not asked again."""
    if config.thinking is None and config.model.path:
        config = config.model_copy(update={"thinking": asked_to_think(Path(config.model.path))})
    run = open_run("eval", config, inputs(config))
    if run.finished:
        print(f"{run.out} is finished")
        return run
    suite, known = load(config), student(config.model.path)
    store = CompletionStore(run.out / "completions.partial.jsonl")
    done = {(row["key"], row["sample"]) for row in store.rows}
    requests = suite.requests(config, done)
    started_with = engines.load(
        config.engine,
        config.model,
        needed={ability for request in requests for ability in request.needs()},
        dtype=config.dtype,
        device=config.device,
        threads=config.threads,
        num_workers=config.num_workers,
        on=config.executor,
    )
    engine, tokenizer, facts = started_with.engine, started_with.tokenizer, started_with.facts
    started = time.perf_counter()
    with progress(len(suite.problems) * config.samples, "eval", "answers") as bar:
        bar.update(len(done))
        for rows in answered(
            engine, requests, suite.problems, tokenizer, expected=should_think(config, known)
        ):
            store.append(rows)
            bar.update(len(rows))
    order = {name: position for position, name in enumerate(suite.problems)}
    store.rows.sort(key=lambda row: (order[row["key"]], row["sample"]))
    shape = cost.Shape(**facts["shape"]) if facts["shape"] else None
    result = scores(store.rows, shape)
    with run.writing("completions.jsonl") as path:
        CompletionStore(path).append(store.rows)
    run.write_json("scores.json", result)
    seconds = round(time.perf_counter() - started, 1)
    _track(
        config, run, known, result
    )  # while answers are kept: where it fails, the same command asks for none again
    run.finish(
        model=config.model.name,
        student=known,
        hypotheses=hypotheses(config),
        max_new_tokens=max(suite.budgets.values()),
        dropped=suite.dropped,
        num_fewshot={name: len(m) // 2 for name, m in suite.shots.items()},
        decoding={
            "temperature": config.temperature,
            "top_p": config.top_p,
            "samples": config.samples,
        },
        engine=config.engine.name,
        grader=GRADER_VERSION,
        seconds=seconds,
        **facts,
    )
    store.path.unlink()
    _print(result)
    _warn(result)
    return run


def measured(result: Mapping[str, Any], known: Mapping[str, Any] | None) -> dict[str, float | None]:
    """`scores.json` as a tracker is told of it: for every benchmark, every category and all problems accuracy with the ends of
    its 95 % interval, mean completion tokens, shares that were cut and that thought, and mean FLOPs of a completion; and the
    FLOPs of training (the published formula), those before rewards included. Of two with one name, the category counts."""
    row: dict[str, float | None] = {}
    for name, found in {
        **result["benchmarks"],
        **result["categories"],
        "all": result["all"],
    }.items():
        low, high = found["ci95"]
        row |= {
            f"accuracy/{name}": found["accuracy"],
            f"accuracy_low/{name}": low,
            f"accuracy_high/{name}": high,
            f"tokens/{name}": found["completion_tokens"],
            f"truncated/{name}": found["truncated"],
            f"thought/{name}": found["thought"],
            f"flops/{name}": found["flops"],
        }
    spent = [one["train_flops"] for one in ancestors(known)]
    return {**row, "train_flops": None if not spent or None in spent else sum(spent)}


def _track(
    config: Config, run: Run, known: Mapping[str, Any] | None, result: Mapping[str, Any]
) -> None:
    """One row, at the last optimizer step of the student; 0 for one that was not trained here."""
    by = compared("eval", config.model, known)
    taught = (
        "untrained"
        if known is None
        else " ".join(
            f"{key}={value}"
            for key in ("reward", "scenario", "ratio", "seed")
            if (value := getattr(by, key)) is not None
        )
    )
    facts = {**config.model_dump(), "sampling_seed": config.seed, "inputs": dict(run.inputs)}
    about = tracking.About(
        run.hash, f"eval {by.model_name} {taught}", f"eval {by.model_name}", by, facts
    )
    tracker = tracking.tracker(config, run.out, about)
    tracker.log(sum(one["steps"] for one in ancestors(known)), measured(result, known))
    tracker.finish()


def should_think(config: Config, known: Mapping[str, Any] | None) -> bool | None:
    """Whether the model is asked to think, or was taught nothing else; None where both are as they should be."""
    if config.thinking is not None:
        return config.thinking
    ratio = (known or {}).get("ratio")
    return bool(ratio) if ratio in (0, 1) else None


def hypotheses(config: Config) -> dict[str, str]:
    """What was declared of each family before training: `gain` or `no_gain` from traces."""
    families = {name: f for data in config.sources() for name, f in data.families.items()}
    return {name: family.hypothesis for name, family in families.items() if family.hypothesis}


def _print(result: dict[str, Any]) -> None:
    width = min(96, shutil.get_terminal_size().columns)
    print(f"{'':18}{'n':>6}{'accuracy':>10}{'95 %':>16}{'thought':>9}{'tokens':>8}"[:width])
    for name, s in [
        *result["benchmarks"].items(),
        *result["categories"].items(),
        ("all", result["all"]),
    ]:
        low, high = s["ci95"]
        accuracy = "–" if s["accuracy"] is None else f"{s['accuracy']:.1%}"
        interval = f"{low:.1%} – {high:.1%}"
        print(
            f"{name:18}{s['n']:>6}{accuracy:>10}{interval:>16}{s['thought']:>9.0%}{s['completion_tokens']:>8.1f}"[
                :width
            ]
        )


def _warn(result: dict[str, Any]) -> None:
    """A budget that cuts many completions measures the budget."""
    for name, s in result["benchmarks"].items():
        if s["truncated"] >= WARN:
            print(
                f"warning: {name}: {s['truncated']:.0%} of the completions were cut by the budget, and count as no answer"
            )
