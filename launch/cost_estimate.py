"""Cost estimate of a study before it runs: tokens, FLOPs, time and disk of every unfinished stage.

Lengths come from finished pairs, else from the study's `assumptions`; time from the rate of
finished stages, else from `assumptions.flops_per_second`, else from this machine's matmul rate.
Unknown values are shown as `?` and left out of the totals, which say so.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from launch.config import StudyConfig
from launch.cost_model import CostModel, StageCost
from launch.stages import Stage
from ratiocine.errors import BadInput


@dataclass(frozen=True)
class CostEstimate:
    """Costs of the unfinished stages by name; at most `parallel` stages run at once."""

    stages: Sequence[Stage]
    costs: Mapping[str, StageCost]
    done: Mapping[str, Path]
    retain: str
    parallel: int
    source_of_time: str

    @property
    def disk(self) -> float:
        """Peak bytes on disk."""
        costs = self.costs.values()
        weights = sorted((cost.weights for cost in costs), reverse=True)
        if self.retain == "scores":
            # A student of `rl` and the student it starts from exist at the same time.
            rl = any(stage.verb == "rl" and stage.name in self.costs for stage in self.stages)
            weights = weights[: self.parallel * (2 if rl else 1)]
        checkpoints = sorted((cost.checkpoints for cost in costs), reverse=True)[: self.parallel]
        return sum(cost.disk for cost in costs) + sum(weights) + sum(checkpoints)

    @property
    def total(self) -> str:
        """One line about all stages."""
        n, known = len(self.costs), [c for c in self.costs.values() if c.flops is not None]
        unknown = f", without {n - len(known)} of unknown cost" if len(known) < n else ""
        seconds = [cost.seconds for cost in known if cost.seconds is not None]
        timed = len(seconds) == len(known) and (not n or any(seconds))
        time = f"{_time(sum(seconds))} of one worker ({self.source_of_time})"
        return (
            f"{len(self.stages)} stages: {len(self.done)} done, {n} to do: "
            f"{_number(sum(cost.tokens or 0 for cost in known))} tokens, "
            f"{_number(sum(cost.flops or 0 for cost in known))} FLOPs, "
            f"{time if timed else 'time unknown'}, {self.disk / 1e9:.1f} GB of disk{unknown}"
        )

    def text(self) -> str:
        """A table with a line per stage, and the total."""
        width = max(len(stage.name) for stage in self.stages)
        lines = [
            f"{'':{width}}  {'state':8}{'tokens':>9}{'FLOPs':>10}{'time':>10}{'disk':>10}  command"
        ]
        for stage in self.stages:
            command = f"python -m {stage.verb} {' '.join(stage.overrides)}"
            if stage.name in self.done:
                lines.append(f"{stage.name:{width}}  {'done':8}{'':39}  {command}")
                continue
            cost = self.costs[stage.name]
            disk = f"{(cost.disk + cost.weights) / 1e9:.2f} GB"
            numbers = f"{_number(cost.tokens):>9}{_number(cost.flops):>10}{_time(cost.seconds):>10}"
            lines.append(f"{stage.name:{width}}  {'to do':8}{numbers}{disk:>10}  {command}")
        return "\n".join([*lines, self.total])

    def check_disk(self, root: Path) -> None:
        """Raise BadInput if the disk of `root` has too little room."""
        free = shutil.disk_usage(root).free
        if self.disk > free:
            hint = "; retain=scores removes each student's weights after its evaluation"
            raise BadInput(
                f"out={root}: {self.disk / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free"
                f"{'' if self.retain == 'scores' else hint}"
            )


def estimate(
    study: StudyConfig,
    stages: Sequence[Stage],
    done: Mapping[str, Path],
    retain: str,
    parallel: int = 1,
) -> CostEstimate:
    """The cost of the unfinished stages of a study, at most `parallel` of them at once."""
    model = CostModel(study, stages, done)
    costs = {stage.name: model.cost(stage) for stage in stages if stage.name not in done}
    return CostEstimate(stages, costs, done, retain, parallel, model.source_of_time)


def _number(value: float | None) -> str:
    if value is None:
        return "?"
    return f"{value:.3g}" if value >= 1e4 else f"{value:.0f}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{ceil(seconds / 60)} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"
