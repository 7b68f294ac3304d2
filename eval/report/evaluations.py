"""Finished evaluations as arms: loading them, what they are called, and whether they may be compared."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from eval.report import scored
from eval.report.scored import Arm
from ratiocine.errors import BadInput
from ratiocine.evaluate import check_names
from ratiocine.runs import CONFIG, check_finished, read_manifest
from ratiocine.stores import read_traces

NAMED = {
    "model": "base model",
    "seed": "training seed",
    "lora": "LoRA",
    "lr_policy": "lr policy",
    "told": "other settings",
}


def evaluations(folder: Path) -> list[Path]:
    """The folder itself, or, of a study's folder, those of its finished evaluations. Raises BadInput where there are none."""
    if not folder.is_dir() or (folder / "DONE").exists() or (folder / CONFIG).exists():
        return [folder]
    done = [inner for inner in sorted(folder.iterdir()) if (inner / "DONE").exists()]
    found = [inner for inner in done if read_manifest(inner)["verb"] == "eval"]
    if not found:
        raise BadInput(
            f"{folder} holds no finished evaluation, neither itself nor in a folder of its own"
        )
    return found


def load_all(folders: Sequence[Path], without: Collection[str] = ()) -> list[Arm]:
    """The arms of evaluations and folders of such, one that several hold once (the same questions by the same engine, judged by
    the same grader); raises BadInput as `load_arms` does."""
    found: dict[tuple[Any, ...], Path] = {}
    for folder in folders:
        for own in evaluations(folder):
            manifest = read_manifest(own)
            found.setdefault(tuple(manifest.get(key) for key in ("hash", "engine", "grader")), own)
    return load_arms([*found.values()], without)


def load_arms(folders: Sequence[Path], without: Collection[str] = ()) -> list[Arm]:
    """The arms in the given order, their answers without the fields named. Raises BadInput where a folder is no finished
    evaluation, where arms were judged by different graders or asked different questions, or share no problem."""
    arms: list[Arm] = []
    for folder in folders:
        manifest = check_finished(folder)
        if manifest["verb"] != "eval":
            raise BadInput(f"{folder} holds a `{manifest['verb']}` run, not an evaluation")
        answers: dict[str, list[scored.Row]] = {}
        for row in read_traces(folder / "traces.jsonl"):
            check_names(folder, row["benchmark"], row["category"])
            answers.setdefault(row["key"], []).append(
                {name: row[name] for name in row if name not in without}
            )
        scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
        config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        name = label(manifest)
        if name in {arm.label for arm in arms}:
            name = f"{name} ({manifest['hash'][:6]})"
        arms.append(Arm(name, manifest, config, scores, answers, folder))
    _check_alike(arms)
    if not scored.shared_keys(arms):
        raise BadInput("these evaluations share no problem that could be compared")
    return arms


def _check_alike(arms: Sequence[Arm]) -> None:
    first: dict[str, Arm] = {}
    for arm in arms:
        for name, value in (arm.manifest.get("inputs") or {}).items():
            other = first.setdefault(name, arm) if name.startswith("benchmark:") else arm
            if other.manifest["inputs"][name] != value:
                raise BadInput(
                    f"{other.label} and {arm.label} were asked different {name.partition(':')[2]} problems of the same name; "
                    "evaluate both on the same file"
                )
    graders = {arm.manifest.get("grader"): arm for arm in reversed(arms)}
    if len(graders) > 1:
        named = ", ".join(
            f"{arm.label} by {grader or 'an unknown one'}" for grader, arm in graders.items()
        )
        raise BadInput(
            f"different graders judged these evaluations ({named}): let `python -m eval.regrade` judge them again"
        )


def label(manifest: Mapping[str, Any]) -> str:
    """What an arm is called: its way, and of several seeds that rewards have trained which."""
    student = manifest.get("student") or {}
    return f"{way(manifest)}, seed {student['seed']}" if "reward" in student else way(manifest)


def way(manifest: Mapping[str, Any]) -> str:
    """How a student was taught, mixed teaching by its ratio alone, and by which rewards then."""
    student = manifest.get("student")
    return f"{manifest['model']} (untrained)" if student is None else taught(student)


def taught(student: Mapping[str, Any]) -> str:
    if "reward" in student:
        parent = student["base"] if student["parent"] is None else taught(student["parent"])
        control = ", rewards shuffled" if student["control"] else ""
        named = " ".join(
            student[key] + " (changed)" * (key in student["changed"])
            for key in ("objective", "reward")
        )
        return f"{parent} + {named}{control}"
    scenario, ratio = student.get("scenario") or "mixed", student["ratio"]
    words = [] if scenario == "mixed" else [scenario]
    return " ".join(words if ratio is None else [*words, f"ratio {ratio:g}"])


def apart(arms: Sequence[Arm]) -> list[str]:
    """What the arms of a page on ratios differ in beside their ratio, as a warning."""
    beside = scored.beside_ratio(arms)
    told = "; ".join(
        f"{NAMED.get(name, name)}: {', '.join(values)}" for name, values in beside.items()
    )
    return (
        [f"The arms were trained differently in more than their ratio ({told})."] if beside else []
    )


def warnings(arms: Sequence[Arm], names: Mapping[str, str] | None = None) -> list[str]:
    """What makes arms less comparable than they look; `names` says what a page calls them, where not by their labels."""
    found = []
    for key, what in (
        ("budget", "token budgets"),
        ("decoding", "decoding"),
        ("engine", "engines"),
        ("shown", "numbers of solved examples"),
        ("seed", "seeds"),
        ("dtype", "number formats"),
        ("attention", "attention"),
    ):
        values = {str(arm.manifest.get(key)) for arm in arms}
        if len(values) > 1:
            found.append(
                f"The arms were evaluated with different {what}: {', '.join(sorted(values))}."
            )
    for model in dict.fromkeys(
        arm.student.get("base") for arm in arms if arm.student
    ):  # each has rates of its own
        rates: dict[str, set[str]] = {}
        for arm in arms:
            if arm.student and arm.student.get("base") == model and "reward" not in arm.student:
                rates.setdefault(f"{arm.student['lr']:.2g}", set()).add(
                    (names or {}).get(arm.label, arm.label)
                )
        if len(rates) > 1:
            told = "; ".join(
                f"{rate}: {', '.join(sorted(labels))}" for rate, labels in sorted(rates.items())
            )
            said = f"The arms were trained with different peak learning rates ({told})"
            found.append(f"{said}: the format is not all that differs.")
    keys = len(scored.shared_keys(arms))
    if any(len(arm.answers) != keys for arm in arms):
        found.append(f"Only the {keys} problems that all arms answered gradably are compared.")
    return found
