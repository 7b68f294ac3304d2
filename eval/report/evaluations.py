"""Finished evaluations as evaluations: loading them, what they are called, and whether they may be compared."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from eval.report import scored
from eval.report.scored import Evaluation
from ratiocine.errors import BadInput
from ratiocine.evaluate import check_names
from ratiocine.runs import CONFIG, check_finished, read_manifest
from ratiocine.stores import read_completions

NAMED = {
    "model": "base model",
    "seed": "training seed",
    "lora": "LoRA",
    "lr_policy": "lr policy",
    "settings": "other settings",
}


def find_evaluations(folder: Path) -> list[Path]:
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


def load_all(folders: Sequence[Path], without: Collection[str] = ()) -> list[Evaluation]:
    """The evaluations of evaluations and folders of such, one that several hold once (the same questions by the same engine, judged by
    the same grader); raises BadInput as `load_evaluations` does."""
    found: dict[tuple[Any, ...], Path] = {}
    for folder in folders:
        for own in find_evaluations(folder):
            manifest = read_manifest(own)
            found.setdefault(tuple(manifest.get(key) for key in ("hash", "engine", "grader")), own)
    return load_evaluations([*found.values()], without)


def load_evaluations(folders: Sequence[Path], without: Collection[str] = ()) -> list[Evaluation]:
    """The evaluations in the given order, their answers without the fields named. Raises BadInput where a folder is no finished
    evaluation, where evaluations were judged by different graders or asked different questions, or share no problem."""
    evaluations: list[Evaluation] = []
    for folder in folders:
        manifest = check_finished(folder)
        if manifest["verb"] != "eval":
            raise BadInput(f"{folder} holds a `{manifest['verb']}` run, not an evaluation")
        answers: dict[str, list[scored.Row]] = {}
        for row in read_completions(folder / "completions.jsonl"):
            check_names(folder, row["benchmark"], row["category"])
            answers.setdefault(row["key"], []).append(
                {name: row[name] for name in row if name not in without}
            )
        scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
        config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        name = label(manifest)
        if name in {evaluation.label for evaluation in evaluations}:
            name = f"{name} ({manifest['hash'][:6]})"
        evaluations.append(Evaluation(name, manifest, config, scores, answers, folder))
    _check_alike(evaluations)
    if not scored.shared_keys(evaluations):
        raise BadInput("these evaluations share no problem that could be compared")
    return evaluations


def _check_alike(evaluations: Sequence[Evaluation]) -> None:
    first: dict[str, Evaluation] = {}
    for evaluation in evaluations:
        for name, value in (evaluation.manifest.get("inputs") or {}).items():
            other = (
                first.setdefault(name, evaluation) if name.startswith("benchmark:") else evaluation
            )
            if other.manifest["inputs"][name] != value:
                raise BadInput(
                    f"{other.label} and {evaluation.label} were asked different {name.partition(':')[2]} problems of the same name; "
                    "evaluate both on the same file"
                )
    graders = {
        evaluation.manifest.get("grader"): evaluation for evaluation in reversed(evaluations)
    }
    if len(graders) > 1:
        named = ", ".join(
            f"{evaluation.label} by {grader or 'an unknown one'}"
            for grader, evaluation in graders.items()
        )
        raise BadInput(
            f"different graders judged these evaluations ({named}): let `python -m eval.regrade` judge them again"
        )


def label(manifest: Mapping[str, Any]) -> str:
    """What an evaluation is called: its arm, and of several seeds that rewards have trained which."""
    student = manifest.get("student") or {}
    return (
        f"{arm_label(manifest)}, seed {student['seed']}"
        if "reward" in student
        else arm_label(manifest)
    )


def arm_label(manifest: Mapping[str, Any]) -> str:
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


def apart(evaluations: Sequence[Evaluation]) -> list[str]:
    """What the evaluations of a page on ratios differ in beside their ratio, as a warning."""
    beside = scored.beside_ratio(evaluations)
    told = "; ".join(
        f"{NAMED.get(name, name)}: {', '.join(values)}" for name, values in beside.items()
    )
    return (
        [f"The evaluations were trained differently in more than their ratio ({told})."]
        if beside
        else []
    )


def warnings(
    evaluations: Sequence[Evaluation], names: Mapping[str, str] | None = None
) -> list[str]:
    """What makes evaluations less comparable than they look; `names` says what a page calls them, where not by their labels."""
    found = []
    for key, what in (
        ("max_new_tokens", "token budgets"),
        ("decoding", "decoding"),
        ("engine", "engines"),
        ("num_fewshot", "numbers of solved examples"),
        ("seed", "seeds"),
        ("dtype", "number formats"),
        ("attention", "attention"),
    ):
        values = {str(evaluation.manifest.get(key)) for evaluation in evaluations}
        if len(values) > 1:
            found.append(
                f"The evaluations were evaluated with different {what}: {', '.join(sorted(values))}."
            )
    for model in dict.fromkeys(
        evaluation.student.get("base") for evaluation in evaluations if evaluation.student
    ):  # each has rates of its own
        rates: dict[str, set[str]] = {}
        for evaluation in evaluations:
            if (
                evaluation.student
                and evaluation.student.get("base") == model
                and "reward" not in evaluation.student
            ):
                rates.setdefault(f"{evaluation.student['lr']:.2g}", set()).add(
                    (names or {}).get(evaluation.label, evaluation.label)
                )
        if len(rates) > 1:
            told = "; ".join(
                f"{rate}: {', '.join(sorted(labels))}" for rate, labels in sorted(rates.items())
            )
            said = f"The evaluations were trained with different peak learning rates ({told})"
            found.append(f"{said}: the format is not all that differs.")
    keys = len(scored.shared_keys(evaluations))
    if any(len(evaluation.answers) != keys for evaluation in evaluations):
        found.append(
            f"Only the {keys} problems that all evaluations answered gradably are compared."
        )
    return found
