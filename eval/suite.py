"""A student × benchmarks → `traces.jsonl` and `scores.json`."""

from __future__ import annotations

import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from eval.benchmarks import load
from eval.config import Config, inputs
from ratiocine import cost, models
from ratiocine.engines.transformers import TransformersEngine
from ratiocine.evaluate import answered, key, scores
from ratiocine.progress import progress
from ratiocine.prompts import end_of_turn
from ratiocine.runs import Run, check_finished, open_run
from ratiocine.traces import TraceStore


def evaluate(config: Config) -> Run:
    """Answer and grade every problem of the benchmarks; what a killed run had answered is not asked again."""
    run = open_run("eval", config.model_dump(), inputs(config))
    if run.finished:
        print(f"{run.out} is finished")
        return run
    problems, budgets, dropped = load(config)
    store = TraceStore(run.out / "traces.partial.jsonl")
    done = {row["key"] for row in store.rows}
    missing = [problem for problem in problems if key(problem) not in done]
    models.prepare_process(config.threads)
    tokenizer = models.load_tokenizer(config.model)
    model = models.load_model(config.model, config.device, dtype=config.dtype)
    engine = TransformersEngine(
        model, tokenizer, end_of_turn(tokenizer), batch=config.engine.batch, tokens=config.engine.tokens,
        attention=config.engine.attention,
    )  # fmt: skip
    started = time.perf_counter()
    with progress(len(problems), "eval", "problems") as bar:
        bar.update(len(done))
        for rows in answered(engine, tokenizer, missing, budgets):
            store.append(rows)
            bar.update(len(rows))
    order = {key(problem): position for position, problem in enumerate(problems)}
    store.rows.sort(key=lambda row: order[row["key"]])
    shape = cost.Shape.of(model.config)
    result = scores(store.rows, shape)
    with run.writing("traces.jsonl") as path:
        TraceStore(path).append(store.rows)
    run.write_json("scores.json", result)
    store.path.unlink()
    run.finish(
        model=config.model.name, student=student(config), expected=expected(config),
        budget=config.budget or max(budgets.values()), dropped=dropped, shape=asdict(shape),
        seconds=round(time.perf_counter() - started, 1), dtype=str(model.dtype), attention=model.config._attn_implementation,
    )  # fmt: skip
    _print(result)
    return run


def student(config: Config) -> dict[str, Any] | None:
    """What the manifest of the run that trained this model says of it; None for a model that was not trained here."""
    if config.model.path is None or not (Path(config.model.path).parent / "DONE").exists():
        return None
    folder = Path(config.model.path).parent
    manifest = check_finished(folder)
    trained = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    keys = ("hash", "lr", "steps", "tokens", "train_flops", "seconds", "final_loss")
    return {
        "ratio": trained.get("ratio"), "base": trained["model"]["name"], "lora": trained.get("lora"),
        **{key: manifest.get(key) for key in keys},
    }  # fmt: skip


def expected(config: Config) -> dict[str, str]:
    """What was declared of each family before training: `gain` or `no_gain` from traces."""
    families = {name: f for data in config.sources() for name, f in data.families.items()}
    return {name: family.expect for name, family in families.items() if family.expect}


def _print(result: dict[str, Any]) -> None:
    width = min(96, shutil.get_terminal_size().columns)
    print(f"{'':18}{'n':>6}{'accuracy':>10}{'95 %':>16}{'thought':>9}{'tokens':>8}"[:width])
    for name, s in [*result["benchmarks"].items(), *result["categories"].items(), ("all", result["all"])]:
        low, high = s["ci95"]
        accuracy = "–" if s["accuracy"] is None else f"{s['accuracy']:.1%}"
        interval = f"{low:.1%} – {high:.1%}"
        print(f"{name:18}{s['n']:>6}{accuracy:>10}{interval:>16}{s['thought']:>9.0%}{s['completion_tokens']:>8.1f}"[:width])
