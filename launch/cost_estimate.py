"""Cost estimate of a study before it runs: tokens, FLOPs, time and disk of every unfinished stage.

Lengths come from finished pairs, else from the study's `assumptions`, else from a sample of the
problems; time from the rate of finished stages, else from `assumptions.flops_per_second`, else from
the card (`assumptions.gpu`), else from this machine's matmul rate. Unknown values are shown as `?`
and left out of the totals, which say what is missing.
"""

from __future__ import annotations

import heapq
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from launch.config import StudyConfig
from launch.cost_model import CostModel, StageCost
from launch.stages import Stage
from ratiocine.errors import BadInput
from ratiocine.executors import ExecutorConfig, LocalConfig
from ratiocine.records import SIDES

# What lowers the cost of the dominating verb.
LOWER = {
    "train": "fewer pairs (limit=N added to study.grid.train), seeds or ratios, or smaller models",
    "eval": "a lower study.grid.max_new_tokens, limit=N added to study.grid.eval, fewer benchmarks",
    "rl": "fewer max_steps or completions (batch_size)",
    "distill": "fewer problems",
}


@dataclass(frozen=True)
class CostEstimate:
    """Costs of the unfinished stages by name."""

    stages: Sequence[Stage]
    costs: Mapping[str, StageCost]
    done: Mapping[str, Path]
    retain: str
    executor: ExecutorConfig
    model: CostModel

    @property
    def parallel(self) -> int:
        return self.executor.max_parallel_jobs

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
        """Work, time and disk of all stages, a line each."""
        n, costs = len(self.costs), self.costs.values()
        head = f"{len(self.stages)} stages: {len(self.done)} done"
        if not n:
            return f"{head}, nothing to do"
        known = [cost for cost in costs if cost.flops is not None]
        unknown = f" and {n - len(known)} stages of unknown cost" if len(known) < n else ""
        sums = (sum(c.tokens or 0 for c in known), sum(c.flops or 0 for c in known))
        work = f"{_number(sums[0])} tokens, {_number(sums[1])} FLOPs{unknown}"
        if not any(sums):
            work = f"work unknown of {n} stages"
        lines = [f"{head}, {n} to do: {work}, {self.disk / 1e9:.1f} GB of disk"]
        lines += [*self._time_lines(), *self._reasons()]
        lines += [f"missing: {what}: {how}" for what, how in self.model.missing.items()]
        return "\n".join(lines)

    def _time_lines(self) -> list[str]:
        costs = list(self.costs.values())
        one = sum(cost.one_gpu or 0 for cost in costs)
        if not one or any(cost.flops and cost.one_gpu is None for cost in costs):
            return ["time unknown"]
        on_gpus = self.model.assumptions.gpu or self.executor.gpus_per_node
        hours = "under 0.01" if one < 36 else f"{one / 3600:,.3g}"
        total = f"{hours} GPU-hours" if on_gpus else f"{_time(one)} of one worker"
        gpus = f" of {self.executor.gpus_per_node} GPUs" if self.executor.gpus_per_node > 1 else ""
        jobs = f"{self.parallel} jobs at once" if self.parallel > 1 else "one job at a time"
        lines = [f"time: {total} ({self.model.source_of_time})"]
        return [*lines, f"wall time: {_time(self.wall_seconds())}, {jobs}{gpus}, without queueing"]

    def wall_seconds(self) -> float:
        """Seconds until the last stage ends, each started once its parents and a job are done."""
        free, ends = [0.0] * self.parallel, dict[str, float]()
        for stage in self.stages:
            if stage.name not in self.costs:
                continue
            ready = max((ends.get(parent, 0.0) for parent in stage.parents), default=0.0)
            start = max(ready, heapq.heappop(free))
            ends[stage.name] = start + (self.costs[stage.name].seconds or 0.0)
            heapq.heappush(free, ends[stage.name])
        return max(ends.values(), default=0.0)

    def _reasons(self) -> list[str]:
        """Which verb dominates, where lengths come from, and what would lower the cost."""
        by_verb: dict[str, float] = {}
        for stage in self.stages:
            if stage.name in self.costs:
                flops = self.costs[stage.name].flops or 0.0
                by_verb[stage.verb] = by_verb.get(stage.verb, 0.0) + flops
        lines = []
        if total := sum(by_verb.values()):
            verb = max(by_verb, key=by_verb.__getitem__)
            share = by_verb[verb] / total
            lines.append(f"mostly {verb}: {share:.0%} of the FLOPs; lower with {LOWER[verb]}")
        for name, pairs in self.model.sets.items():
            tokens = zip(SIDES, (pairs.prompt, pairs.ift, pairs.reasoning), strict=True)
            sides = ", ".join(f"{side} {mean:,.0f}" for side, mean in tokens)
            lines.append(f"lengths of {name}: {pairs.n:,} pairs; tokens: {sides} ({pairs.source})")
        return lines

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
    executor: ExecutorConfig = LocalConfig(),  # noqa: B008
) -> CostEstimate:
    """The cost of the unfinished stages of a study on this executor."""
    model = CostModel(study, stages, done, executor)
    costs = {stage.name: model.cost(stage) for stage in stages if stage.name not in done}
    return CostEstimate(stages, costs, done, retain, executor, model)


def _number(value: float | None) -> str:
    if value is None:
        return "?"
    return f"{value:.3g}" if value >= 1e4 else f"{value:.0f}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    if 0 < seconds < 1:
        return "< 1 s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{ceil(seconds / 60)} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"
