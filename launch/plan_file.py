"""`study.yaml` in the folder of a grid: the plan of the study, which only its axes may extend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from launch.config import AXES, StudyConfig
from ratiocine import renames, runs
from ratiocine.errors import BadInput
from ratiocine.stores import PLAN, read_object


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
        for difference in _differences(stored, plan):
            raise BadInput(
                f"out={root} was made by another plan: {difference}; give another out=, or extend "
                f"it by {', '.join(AXES)} alone"
            )
        for name in ("models", "pairs"):
            plan["grid"][name] = {**stored["grid"][name], **plan["grid"][name]}
    if write:
        runs.write_whole(file, yaml.safe_dump(plan, sort_keys=False))


def _differences(stored: Mapping[str, Any], plan: Mapping[str, Any]) -> Iterator[str]:
    """Differences that are no extension."""
    for key in ("name", "stages"):
        if stored.get(key) != plan.get(key):
            yield f"{key} is {plan.get(key)!r}, there {stored.get(key)!r}"
    old, new = stored.get("grid") or {}, plan.get("grid") or {}
    for key in sorted({*old, *new} - {"assumptions"}):
        before, now = old.get(key), new.get(key)
        if key in ("models", "pairs"):  # a name has the same overrides in both
            before = {name: value for name, value in (before or {}).items() if name in (now or {})}
            now = {name: value for name, value in (now or {}).items() if name in before}
        elif key in AXES and not isinstance(before, dict) and not isinstance(now, dict):
            continue
        if before != now:
            yield f"grid.{key} is {now!r}, there {before!r}"
