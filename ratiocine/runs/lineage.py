"""A student that was trained here, as the run directory beside it tells of it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from math import isclose
from pathlib import Path
from typing import Any

import yaml

from ratiocine import cli
from ratiocine.models import ModelConfig
from ratiocine.plotting import DRAWN
from ratiocine.rewards import RewardConfig
from ratiocine.runs.directory import check_finished, read_config, run_hash
from ratiocine.runs.tracking import Compared

AXES = (
    "model",
    "scenario",
    "equalize",
    "lr_policy",
    "data",
    "reward",
    "ratio",
)  # what a study varies, the ratio last
FACTS = (
    "objective",
    "control",
    "changed",
    "lora",
    "lr",
    "steps",
    "settings",
)  # what else may tell two students apart
# Settings that are axes or facts, or no part of how a student was taught.
ELSEWHERE = {*AXES, *FACTS, "shuffle_rewards", "max_steps", "seed"}


def student(path: str | None) -> dict[str, Any] | None:
    """What the manifest of the run that trained this model says of it; None for a model that was not trained here. One that
    rewards have trained says from which student it came, and how that went."""
    if path is None or not (Path(path).parent / "DONE").exists():
        return None
    folder = Path(path).parent
    manifest, trained = check_finished(folder), read_config(folder)
    hashed: dict[str, Any] = manifest["identity"]
    keys = (
        "hash",
        "lr",
        "steps",
        "tokens",
        "train_flops",
        "train_flops_exact",
        "seconds",
        "final_loss",
        "size",
        "share",
    )
    facts = {
        "ratio": trained.get("ratio"),
        "scenario": (trained.get("scenario") or {}).get("name"),
        "seed": trained.get("seed"),
        "base": _base(trained["model"]["name"], trained["model"].get("path")),
        "lora": trained.get("lora"),
        "equalize": trained.get("equalize"),
        "lr_policy": trained.get("lr_policy"),
        "data": manifest.get("data"),
        "arm": run_hash(manifest["verb"], {**hashed, "seed": None}, manifest["inputs"]),
        "settings": run_hash(
            manifest["verb"],
            {key: value for key, value in hashed.items() if key not in ELSEWHERE},
            {},
        ),
        **{key: manifest.get(key) for key in keys},
    }
    if manifest["verb"] != "rl":
        return facts
    parent = student(trained["model"]["path"])
    began = parent["arm"] if parent else manifest["inputs"]["model"]
    return {
        **facts,
        "parent": parent,
        "reward": trained["reward"]["name"],
        "objective": trained["objective"]["name"],
        "control": trained["shuffle_rewards"],
        "arm": run_hash("rl", {**hashed, "seed": None}, {"model": began}),
        "changed": _changed(trained),
        "group": manifest["group"],
        "val_accuracy": _lines(
            _first(folder, "val_accuracy.jsonl", "val_accuracy.jsonl"),
            ("step", "n", "accuracy", "ci95"),
        ),
        "curves": _lines(folder / "metrics.jsonl", ("step", *DRAWN)),
        "alarms": manifest["alarms"],
    }


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
    return [
        {name: row.get(name) for name in names}
        for row in (some if some[-1:] == rows[-1:] else [*some, rows[-1]])
    ]


def _first(folder: Path, *names: str) -> Path:
    """The first of these files that is there: its name today, or that of an earlier release."""
    return next((folder / name for name in names if (folder / name).exists()), folder / names[0])


def ancestors(student: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    """A student, then the one that its rewards began with, and so on."""
    while student is not None:
        yield student
        student = student.get("parent")


def axes(known: Mapping[str, Any]) -> dict[str, Any]:
    """A student's value on every axis of a study; None where it has none."""
    *_, first = ancestors(known)
    found = {axis: inherited(known, axis) for axis in AXES}
    return {**found, "model": first.get("base"), "scenario": found["scenario"] or "mixed"}


def differing(one: Mapping[str, Any], other: Mapping[str, Any], *apart: str) -> list[str]:
    """The axes and facts in which two students differ, the axes named aside and what follows from these. What is not known of
    one of them tells nothing."""
    told, others = axes(one), axes(other)
    moved = [axis for axis in AXES if told[axis] != others[axis]]
    found = [axis for axis in moved if axis not in apart]
    lines = list(ancestors(one)), list(ancestors(other))
    if len(lines[0]) != len(lines[1]):
        return [*found, "parent"]
    for a, b in zip(*lines, strict=True):
        found += [
            fact
            for fact in FACTS
            if fact not in _following(a, moved) and not _same(a.get(fact), b.get(fact))
        ]
    return list(dict.fromkeys(found))


def _following(known: Mapping[str, Any], moved: Collection[str]) -> set[str]:
    """The facts that follow from axes that differ: rates by format from what is taught when, steps from which costs are held
    equal; in stages, whose last batches are smaller, from the ratio too."""
    found = set()
    staged = (known.get("scenario") or "mixed") != "mixed" or (
        known.get("equalize") or "examples"
    ) != "examples"
    if "lr_policy" in moved or (
        known.get("lr_policy") == "per_format" and {"ratio", "scenario"} & set(moved)
    ):
        found.add("lr")
    if {"equalize", "scenario"} & set(moved) or (staged and "ratio" in moved):
        found.add("steps")
    return found


def _same(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return True
    return (
        isclose(one, other)
        if isinstance(one, float) and isinstance(other, float)
        else bool(one == other)
    )


def compared(verb: str, model: ModelConfig, known: Mapping[str, Any] | None) -> Compared:
    """What a run over this model is grouped by, `known` being what `student` says of the model."""
    if known is None:
        return Compared(verb, _base(model.name, model.path))
    size, scenario, reward = (inherited(known, key) for key in ("size", "scenario", "reward"))
    ratio = inherited(
        known, "ratio", "share"
    )  # a scenario that says every ratio itself has a share
    return Compared(verb, known["base"], size, scenario, ratio, known["seed"], reward)


def inherited(known: Mapping[str, Any], *keys: str) -> Any:
    """The first of these facts that a student, or one that its rewards began with, has."""
    return next(
        (value for one in ancestors(known) for key in keys if (value := one.get(key)) is not None),
        None,
    )


def _base(name: str, path: str | None) -> str:
    """What the model is called that a line of students began with; a folder by its name."""
    if name != "local" or path is None:
        return name
    known = student(path)
    return known["base"] if known else Path(path).name
