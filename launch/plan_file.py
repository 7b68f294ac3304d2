"""`study.yaml` in the folder of a grid: the plan of the study, which only its axes may extend. A
launch that is refused leaves the folder as it was."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from launch.config import AXES, StudyConfig, of_verb
from launch.stages import VERBS
from ratiocine import cli, renames, runs
from ratiocine.config import marker
from ratiocine.errors import BadInput
from ratiocine.runs import locks
from ratiocine.stores import PLAN, read_object

SETTINGS = {"distill": "distill", "train": "train", "eval": "eval", "baseline": "eval"}
"""Lists of settings of a grid, and the verb that they are of."""
NAMED = ("models", "pairs", "strategies")  # axes of overrides by name
JOBS = "jobs"  # scripts and logs of submitted stages


@contextmanager
def reserved(root: Path) -> Iterator[None]:
    """Create and lock the folder of a study. If BadInput ends the block before a stage has begun,
    the plan and the jobs that it wrote are removed, and the folder if it was new."""
    new = not root.exists()
    try:
        with locks.locked(root):
            earlier = {path.name for path in root.iterdir()}
            plan = (root / PLAN).read_bytes() if PLAN in earlier else None
            try:
                yield
            except BadInput:
                if {path.name for path in root.iterdir()} <= {*earlier, PLAN, JOBS}:
                    _restore(root, plan, keep_jobs=JOBS in earlier)
                raise
    except BadInput:
        if new:
            with suppress(OSError):  # not empty: a stage has begun
                root.rmdir()
        raise


def _restore(root: Path, plan: bytes | None, *, keep_jobs: bool) -> None:
    if plan is None:
        (root / PLAN).unlink(missing_ok=True)
    elif (root / PLAN).read_bytes() != plan:
        runs.write_whole(root / PLAN, plan)
    if not keep_jobs:
        shutil.rmtree(root / JOBS, ignore_errors=True)


def check_plan(study: StudyConfig, root: Path, *, write: bool = False) -> None:
    """Raise BadInput if the folder belongs to a grid with another plan; `write` stores this one."""
    if study.grid is None:
        return
    file, plan = (
        root / PLAN,
        study.model_dump(mode="json", exclude={"retain", "report", "assumptions"}),
    )
    if file.exists():
        stored = renames.renamed_study(read_object(file))
        evaluated = any(root.glob("eval-*/DONE"))
        if evaluated and (stored.get("hypotheses") or []) != plan["hypotheses"]:
            raise BadInput(
                f"out={root} has evaluations, and its hypotheses were declared before them; other "
                "hypotheses are another study: give another out="
            )
        if differences := [*_differences(stored, plan)]:
            raise BadInput(
                f"out={root} was made by another plan: {'; '.join(differences)}; give another "
                f"out=, or extend it by {', '.join(AXES)} alone"
            )
        for name in NAMED:
            plan["grid"][name] = {**(stored["grid"].get(name) or {}), **plan["grid"][name]}
    if write:
        runs.write_whole(file, yaml.safe_dump(plan, sort_keys=False))


def _results(grid: Mapping[str, Any]) -> dict[str, Any]:
    """A grid without the settings that change no result, such as `threads`."""
    found = dict(grid)
    for name, verb in SETTINGS.items():
        if isinstance(words := found.get(name), list):
            found[name] = [word for word in words if not _is_unhashed(verb, word)]
    if isinstance(models := found.get("models"), dict):
        found["models"] = {
            name: [word for word in words if not _is_unhashed(*of_verb(word))]
            for name, words in models.items()
        }
    return found


def _is_unhashed(verb: str | None, override: str) -> bool:
    schema, key = VERBS[verb or "eval"].config, cli.key_of(override).partition(".")[0]
    return key in schema.model_fields and marker(schema, key).by == "nothing"


def _differences(stored: Mapping[str, Any], plan: Mapping[str, Any]) -> Iterator[str]:
    """Differences that are no extension."""
    for key in ("name", "stages"):
        if stored.get(key) != plan.get(key):
            yield f"{key} is {plan.get(key)!r}, there {stored.get(key)!r}"
    old, new = (_results(one.get("grid") or {}) for one in (stored, plan))
    for key in sorted({*old, *new} - {"assumptions"}):
        before, now = old.get(key), new.get(key)
        if key in NAMED:  # a name has the same overrides in both
            before = {name: value for name, value in (before or {}).items() if name in (now or {})}
            now = {name: value for name, value in (now or {}).items() if name in before}
        elif key in AXES and not isinstance(before, dict) and not isinstance(now, dict):
            continue
        if before != now:
            yield f"grid.{key} is {now!r}, there {before!r}"
