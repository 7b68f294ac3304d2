"""A student × benchmarks → `traces.jsonl` and `scores.json`."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from eval.benchmarks import load
from eval.config import Config, inputs
from ratiocine import cli, cost
from ratiocine.curves import DRAWN
from ratiocine.engines.start import start
from ratiocine.evaluate import answered, scores
from ratiocine.grading import grader
from ratiocine.progress import progress
from ratiocine.rendering import asked_to_think
from ratiocine.rewards import RewardConfig
from ratiocine.runs import Run, check_finished, open_run, run_hash
from ratiocine.traces import TraceStore

WARN = 0.05  # share of truncated completions from which a budget is called too small


def evaluate(config: Config) -> Run:
    """Answer and grade every problem of the benchmarks; what a killed run had answered is not asked again."""
    if config.thinking is None and config.model.path:
        config = config.model_copy(update={"thinking": asked_to_think(Path(config.model.path))})
    run = open_run("eval", config.model_dump(), inputs(config))
    if run.finished:
        print(f"{run.out} is finished")
        return run
    suite = load(config)
    store = TraceStore(run.out / "traces.partial.jsonl")
    done = {(row["key"], row["sample"]) for row in store.rows}
    requests = suite.requests(config, done)
    started_with = start(
        config.engine, config.model, needed={ability for request in requests for ability in request.needs()},
        dtype=config.dtype, device=config.device, threads=config.threads, askers=config.askers, on=config.on,
    )  # fmt: skip
    engine, tokenizer, facts = started_with.engine, started_with.tokenizer, started_with.facts
    started = time.perf_counter()
    with progress(len(suite.problems) * config.samples, "eval", "answers") as bar:
        bar.update(len(done))
        for rows in answered(engine, requests, suite.problems, tokenizer, expected=should_think(config)):
            store.append(rows)
            bar.update(len(rows))
    order = {name: position for position, name in enumerate(suite.problems)}
    store.rows.sort(key=lambda row: (order[row["key"]], row["sample"]))
    shape = cost.Shape(**facts["shape"]) if facts["shape"] else None
    result = scores(store.rows, shape)
    with run.writing("traces.jsonl") as path:
        TraceStore(path).append(store.rows)
    run.write_json("scores.json", result)
    store.path.unlink()
    run.finish(
        model=config.model.name, student=student(config.model.path), expected=expected(config),
        budget=max(suite.budgets.values()), dropped=suite.dropped, shown={name: len(m) // 2 for name, m in suite.shots.items()},
        decoding={"temperature": config.temperature, "top_p": config.top_p, "samples": config.samples},
        engine=config.engine.name, grader=grader(), seconds=round(time.perf_counter() - started, 1), **facts,
    )  # fmt: skip
    _print(result)
    _warn(result)
    return run


def student(path: str | None) -> dict[str, Any] | None:
    """What the manifest of the run that trained this model says of it; None for a model that was not trained here. One that
    rewards have trained says from which student it came, and how that went."""
    if path is None or not (Path(path).parent / "DONE").exists():
        return None
    folder = Path(path).parent
    manifest = check_finished(folder)
    trained = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    keys = ("hash", "lr", "steps", "tokens", "train_flops", "train_flops_exact", "seconds", "final_loss")
    facts = {
        "ratio": trained.get("ratio"), "scenario": (trained.get("scenario") or {}).get("name"), "seed": trained.get("seed"),
        "base": base(trained["model"]), "lora": trained.get("lora"), "match": trained.get("match"),
        "lr_policy": trained.get("lr_policy"), "data": manifest.get("data"),
        "way": run_hash(manifest["verb"], {**trained, "seed": None}, manifest["inputs"]),
        **{key: manifest.get(key) for key in keys},
    }  # fmt: skip
    if manifest["verb"] != "rl":
        return facts
    parent = student(trained["model"]["path"])
    return {
        **facts, "base": parent["base"] if parent else facts["base"], "parent": parent, "reward": trained["reward"]["name"],
        "objective": trained["objective"]["name"], "control": trained["shuffle_rewards"],
        "way": run_hash("rl", {**trained, "seed": None}, {}), "changed": _changed(trained), "group": manifest["group"],
        "held_out": _lines(folder / "held_out.jsonl", ("step", "n", "accuracy", "ci95")),
        "curves": _lines(folder / "metrics.jsonl", ("step", *DRAWN)), "alarms": manifest["alarms"],
    }  # fmt: skip


def base(model: Mapping[str, Any]) -> str:
    """What a model is called that training began with; one that is a folder, by the folder's name."""
    if not model.get("path") or model["name"] != "local":
        return str(model["name"])
    path = Path(model["path"])
    return path.parent.name if path.name == "model" else path.name


def _changed(trained: dict[str, Any]) -> list[str]:
    """Which of a run's reward and objective are not those that their names stand for here."""
    found = []
    for group in ("reward", "objective"):
        file = cli.CONF / group / f"{trained[group]['name']}.yaml"
        if not file.exists():
            continue
        named = yaml.safe_load(file.read_text(encoding="utf-8"))
        if group == "reward":  # whose file leaves out what is as ever
            named = json.loads(cli.check(RewardConfig, named).model_dump_json())
        if named != trained[group]:
            found.append(group)
    return found


def _lines(file: Path, names: Sequence[str]) -> list[dict[str, Any]]:
    """These fields of at most some 200 rows of a log."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    some = rows[:: 1 + len(rows) // 200]
    return [{name: row.get(name) for name in names} for row in (some if some[-1:] == rows[-1:] else [*some, rows[-1]])]


def should_think(config: Config) -> bool | None:
    """Whether the model is asked to think, or was taught nothing else; None where both are as they should be."""
    if config.thinking is not None:
        return config.thinking
    ratio = (student(config.model.path) or {}).get("ratio")
    return bool(ratio) if ratio in (0, 1) else None


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


def _warn(result: dict[str, Any]) -> None:
    """A budget that cuts many completions measures the budget."""
    for name, s in result["benchmarks"].items():
        if s["truncated"] >= WARN:
            print(f"warning: {name}: {s['truncated']:.0%} of the completions were cut by the budget, and count as no answer")
