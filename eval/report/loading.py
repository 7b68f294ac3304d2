"""Finished evaluations, found and read from their folders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from eval.report.evaluations import Evaluation, shared_keys
from eval.report.labels import distinct_models, label
from ratiocine.column_builder import read_columns
from ratiocine.columns import ProblemTable, StoredAnswers
from ratiocine.errors import BadInput
from ratiocine.executors import map_in_processes, num_cpus
from ratiocine.progress import tracked
from ratiocine.runs import CONFIG, check_finished, read_config, read_manifest
from ratiocine.scores import check_names
from ratiocine.stores import completions_file

PARALLEL_BYTES = 1 << 26  # of completions, from which several processes read them


def find_evaluations(folder: Path) -> list[Path]:
    """The folder itself, or, for the folder of a study, those of its finished evaluations.

    Raises BadInput where there are none.
    """
    if not folder.is_dir() or (folder / "DONE").exists() or (folder / CONFIG).exists():
        return [folder]
    done = [inner for inner in sorted(folder.iterdir()) if (inner / "DONE").exists()]
    found = [inner for inner in done if read_manifest(inner).verb == "eval"]
    if not found:
        raise BadInput(f"{folder} holds no finished evaluation, neither itself nor in a subfolder")
    return found


def load_all(folders: Sequence[Path]) -> list[Evaluation]:
    """All evaluations in these folders (`find_evaluations`), copies of one evaluation once.

    Copies have one hash, engine and grader. Raises BadInput as `load_evaluations`.
    """
    found: dict[tuple[str | None, ...], Path] = {}
    for folder in folders:
        for one in find_evaluations(folder):
            manifest = read_manifest(one)
            named = [manifest.facts.get(name) for name in ("engine", "grader")]
            key = (manifest.hash, *named)
            found.setdefault(key, one)
    return load_evaluations([*found.values()])


def load_evaluations(folders: Sequence[Path], *, with_tokens: bool = False) -> list[Evaluation]:
    """The evaluations in the given order; token ids and log-probabilities only `with_tokens`.

    Raises BadInput where a folder is no finished evaluation, and where evaluations have different
    graders, different problems of one name, or no problem in common.
    """
    evaluations: list[Evaluation] = []
    for found in distinct_models(_load_folders(folders, with_tokens)):
        if found.label in {evaluation.label for evaluation in evaluations}:
            found = replace(found, label=f"{found.label} ({found.manifest.hash[:6]})")
        evaluations.append(found)
    _check_comparable(evaluations)
    if not shared_keys(evaluations):
        raise BadInput("these evaluations share no problem that could be compared")
    return evaluations


def _load(folder: Path, *, with_tokens: bool) -> Evaluation:
    manifest = check_finished(folder)
    if manifest.verb != "eval":
        raise BadInput(f"{folder} holds a `{manifest.verb}` run, not an evaluation")
    columns = read_columns(completions_file(folder))
    for named in {*zip(columns.problems.benchmarks, columns.problems.categories, strict=True)}:
        check_names(folder, *named)
    answers = StoredAnswers(folder, columns, with_tokens=with_tokens)
    return Evaluation(label(manifest.evaluation), manifest, read_config(folder), answers, folder)


def _load_folders(folders: Sequence[Path], with_tokens: bool) -> list[Evaluation]:
    """In parallel where that is worth the start of processes. Equal tables of problems are held
    once."""
    load = partial(_load, with_tokens=with_tokens)
    files = [completions_file(folder) for folder in folders]
    n_bytes = sum(file.stat().st_size for file in files if file.is_file())
    if n_bytes < PARALLEL_BYTES:
        return _with_shared_problems(map(load, folders))
    loaded = map_in_processes(load, folders, min(len(folders), num_cpus()))
    return _with_shared_problems(tracked(loaded, len(folders), "read", "evaluations"))


def _with_shared_problems(evaluations: Iterable[Evaluation]) -> list[Evaluation]:
    tables: list[ProblemTable] = []
    found = []
    for evaluation in evaluations:
        problems = evaluation.columns.problems
        same = next((table for table in tables if table == problems), None)
        if same is None:
            tables.append(problems)
        else:
            answers = evaluation.answers
            assert isinstance(answers, StoredAnswers)
            answers.columns = replace(answers.columns, problems=same)
            evaluation = replace(evaluation, answers=answers)
        found.append(evaluation)
    return found


def _check_comparable(evaluations: Sequence[Evaluation]) -> None:
    asked: dict[str, Evaluation] = {}
    for evaluation in evaluations:
        for name, value in evaluation.manifest.inputs.items():
            if not name.startswith("benchmark:"):
                continue
            other = asked.setdefault(name, evaluation)
            if other.manifest.inputs[name] != value:
                raise BadInput(
                    f"{other.folder} ({other.label}) and {evaluation.folder} ({evaluation.label}) "
                    f"have different {name.partition(':')[2]} problems (questions, references or "
                    "categories); evaluate both on one file"
                )
    graders = {evaluation.facts.grader: evaluation for evaluation in reversed(evaluations)}
    if len(graders) > 1:
        named = ", ".join(
            f"{evaluation.label}: {grader or 'unknown'}" for grader, evaluation in graders.items()
        )
        raise BadInput(
            f"the evaluations have different grader versions ({named}); grade them again with "
            "python -m eval.regrade"
        )
