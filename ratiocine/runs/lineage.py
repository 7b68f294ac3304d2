"""The lineage of a student: how it was trained, from which model, and how two students differ."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from math import isclose
from pathlib import Path
from typing import Any

import yaml

from ratiocine import cli
from ratiocine.config import DEFAULT_PACKAGE
from ratiocine.plotting import CURVE_METRICS
from ratiocine.records import JsonObject
from ratiocine.rewards import RewardConfig
from ratiocine.runs.finished import check_finished, read_config
from ratiocine.runs.hashes import arm_hash, settings_hash
from ratiocine.runs.manifests import Manifest
from ratiocine.runs.student_info import StudentInfo
from ratiocine.runs.tracking import GroupKeys

# What a study varies, the ratio last.
AXES = ("model", "scenario", "equalize", "lr_policy", "data", "reward", "ratio")
# Further training settings in which two students may differ.
FACTS = ("objective", "control", "changed", "lora", "lr", "steps", "settings")
REWARDED = ("control", "changed")  # settings of students of `rl` alone
POINTS = 200  # rows of a log that an evaluation repeats, about


@dataclass(frozen=True)
class Axes:
    """A student's value on every axis of a study; None where it has none."""

    model: str | None
    scenario: str
    equalize: str | None
    lr_policy: str | None
    data: str | None
    reward: str | None
    ratio: float | None


def student(path: str | None) -> StudentInfo | None:
    """The student in a model folder, from the run directory around it; None for any other model.

    Raises BadInput where that run is damaged (`check_finished`).
    """
    if path is None or not (Path(path).parent / "DONE").exists():
        return None
    folder = Path(path).parent
    manifest, trained = check_finished(folder), read_config(folder)
    facts, hashed, model = manifest.training, manifest.identity, trained["model"]
    name, path = model["name"], model.get("path")
    before = student(path) if cli.has_own_path(name, path) else None
    found = StudentInfo(
        hash=manifest.hash,
        arm=arm_hash(manifest.verb, hashed, manifest.inputs),
        settings=settings_hash(manifest.verb, hashed),
        base=before.base if before else base_name(name, path),
        base_path=before.base_path if before else path,
        base_hash=before.base_hash if before else manifest.inputs.get("model"),
        size=facts.size,
        ratio=trained.get("ratio"),
        share=facts.share,
        scenario=(trained.get("scenario") or {}).get("name"),
        seed=trained.get("seed"),
        equalize=trained.get("equalize"),
        lr_policy=trained.get("lr_policy"),
        data=facts.data,
        lora=trained.get("lora"),
        lr=facts.lr,
        steps=facts.steps,
        tokens=facts.tokens,
        train_flops=facts.train_flops,
        train_flops_exact=facts.train_flops_exact,
        seconds=facts.seconds,
        final_loss=facts.final_loss,
        problems=facts.problems,
        sources=tuple(facts.sources),
        license=facts.license,
        pruned=pruned(model),
        machine=manifest.machine,
        revision=manifest.revision,
    )
    return found if manifest.verb == "train" else _rewarded(found, folder, manifest, trained)


def pruned(model: JsonObject) -> str | None:
    """What a pruned model (settings of conf/model) was made from; None for any other."""
    if not model.get("layers"):
        return None
    path, packaged = model.get("path"), model.get("kind") == "packaged"
    named = model.get("package") or (DEFAULT_PACKAGE if packaged else model["name"])
    whole = Path(path).name if path else named
    return f"{whole}, {model['layers']} layers"


def _rewarded(
    found: StudentInfo, folder: Path, manifest: Manifest, trained: JsonObject
) -> StudentInfo:
    """The same of a student of `rl`, with its parent, its reward and its training curves."""
    parent = student(trained["model"]["path"])
    start = parent.arm if parent else manifest.inputs["model"]
    val_accuracy = next(
        file
        for name in ("val_accuracy.jsonl", "held_out.jsonl")  # the latter before schema 2
        if (file := folder / name).exists()
    )
    return replace(
        found,
        # The arm of the parent, not its weights: seeds of one arm have parents of different seeds.
        arm=arm_hash("rl", manifest.identity, {"model": str(start)}),
        parent=parent,
        reward=trained["reward"]["name"],
        objective=trained["objective"]["name"],
        control=trained["shuffle_rewards"],
        changed=_changed(trained),
        group=tuple(manifest.training.group),
        val_accuracy=_rows(val_accuracy, ("step", "n", "accuracy", "ci95")),
        curves=_rows(folder / "metrics.jsonl", ("step", *CURVE_METRICS)),
        alarms=tuple(manifest.training.alarms),
    )


def _changed(trained: JsonObject) -> tuple[str, ...]:
    """Which of a run's reward and objective differ from the files of their names in `conf/`."""
    found = []
    for group in ("reward", "objective"):
        file = cli.CONF / group / f"{trained[group]['name']}.yaml"
        if not file.exists():
            continue
        named = yaml.safe_load(file.read_text(encoding="utf-8"))
        if group == "reward":  # its file leaves out defaults
            named = json.loads(cli.check(RewardConfig, named).model_dump_json())
        if named != trained[group]:
            found.append(group)
    return tuple(found)


def _rows(file: Path, names: Sequence[str]) -> tuple[JsonObject, ...]:
    """These fields of about `POINTS` rows of a log at most, the last row included."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    some = rows[:: 1 + len(rows) // POINTS]
    if some[-1:] != rows[-1:]:
        some.append(rows[-1])
    return tuple({name: row.get(name) for name in names} for row in some)


def axes(student: StudentInfo) -> Axes:
    """A student's value on every axis of a study."""
    *_, first = student.ancestors()
    inherited = {axis: inherit(student, axis) for axis in AXES if axis != "model"}
    return Axes(**{**inherited, "model": first.base, "scenario": inherited["scenario"] or "mixed"})


def differing(one: StudentInfo, other: StudentInfo, *apart: str) -> list[str]:
    """Axes (but those `apart`) and `FACTS` in which two students differ, without facts that follow
    from an axis that differs, such as the learning rate; or `parent`, if their numbers of ancestors
    differ. A fact that is unknown for either is no difference."""
    a, b = axes(one), axes(other)
    moved = [axis for axis in AXES if getattr(a, axis) != getattr(b, axis)]
    found = [axis for axis in moved if axis not in apart]
    lines = list(one.ancestors()), list(other.ancestors())
    if len(lines[0]) != len(lines[1]):
        return [*found, "parent"]
    for first, second in zip(*lines, strict=True):
        facts = (fact for fact in FACTS if fact not in _consequences(first, moved))
        found += [fact for fact in facts if not _same(_fact(first, fact), _fact(second, fact))]
    return list(dict.fromkeys(found))


def _consequences(student: StudentInfo, moved: Collection[str]) -> set[str]:
    """The names in `FACTS` whose values follow from axes that differ.

    The learning rate by mode follows from what is taught when, the number of steps from the cost
    that is held equal, and in stages, whose last batches are smaller, from the ratio too.
    """
    found = set()
    staged = (student.scenario or "mixed") != "mixed" or (
        student.equalize or "examples"
    ) != "examples"
    if "lr_policy" in moved or (
        student.lr_policy == "per_format" and {"ratio", "scenario"} & set(moved)
    ):
        found.add("lr")
    if {"equalize", "scenario"} & set(moved) or (staged and "ratio" in moved):
        found.add("steps")
    return found


def _fact(student: StudentInfo, name: str) -> object:
    return None if name in REWARDED and not student.rewarded else getattr(student, name)


def _same(one: object, other: object) -> bool:
    if one is None or other is None:
        return True
    if isinstance(one, float) and isinstance(other, float):
        return isclose(one, other)
    return bool(one == other)


def group_keys(verb: str, name: str, path: str | None, student: StudentInfo | None) -> GroupKeys:
    """What groups a run of `verb` in a tracker; `name` and `path` are those of its model's
    configuration, `student` is that model if it is one."""
    if student is None:
        return GroupKeys(verb, base_name(name, path))
    return GroupKeys(
        verb,
        str(student.base),
        size=inherit(student, "size"),
        scenario=inherit(student, "scenario"),
        # A scenario whose stages have ratios of their own has only a share.
        ratio=inherit(student, "ratio", "share"),
        seed=student.seed,
        reward=inherit(student, "reward"),
    )


def inherit(student: StudentInfo, *names: str) -> Any:
    """The first known value of these fields, of a student or a student it was trained from, nearest
    first."""
    values = (getattr(one, name) for one in student.ancestors() for name in names)
    return next((value for value in values if value is not None), None)


def base_name(name: str, path: str | None) -> str:
    """The name of the model at the start of a lineage, of which `name` and `path` are the
    configuration; of a path of one's own (`cli.has_own_path`), the name of its folder or hub id."""
    if path is None or not cli.has_own_path(name, path):
        return name
    found = student(path)
    return str(found.base) if found else Path(cli.cached_id(path) or path).name
