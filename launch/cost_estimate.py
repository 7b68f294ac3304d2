"""Cost estimate of a study before it runs: tokens, FLOPs, time and disk of every unfinished stage.

Lengths come from finished pairs, else from the study's `assumptions`, else from a sample of the
problems; time from the rate of finished stages, else from `assumptions.flops_per_second`, else from
the card (`assumptions.gpu`), else from this machine's matmul rate. Unknown values are shown as `?`
and left out of the totals, which say what is missing.
"""

from __future__ import annotations

import heapq
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from urllib.parse import urlsplit

from distill.config import Config as DistillConfig
from eval.config import Config as EvalConfig
from launch.cards import CARDS
from launch.config import StudyConfig
from launch.cost_model import CostModel, StageCost
from launch.disk_use import DiskUse, gb
from launch.job_limits import job_limits
from launch.stages import Stage
from launch.training_memory import attempt, free_for
from launch.unused_assumptions import unused
from ratiocine.engines import OpenAIConfig
from ratiocine.errors import BadInput
from ratiocine.executors import ExecutorConfig, LocalConfig, Resources
from ratiocine.memory import advice
from ratiocine.records import SIDES
from ratiocine.stores import PLAN
from rl.config import Config as RLConfig
from train.config import Config as TrainConfig

OWN_HOSTS = ("localhost", "127.0.0.1", "::1", "0.0.0.0")


@dataclass(frozen=True)
class CostEstimate:
    """Costs of the unfinished stages by name."""

    study: StudyConfig
    stages: Sequence[Stage]
    costs: Mapping[str, StageCost]
    done: Mapping[str, Path]
    retain: str
    executor: ExecutorConfig
    model: CostModel

    @property
    def parallel(self) -> int:
        return self.executor.max_parallel_jobs

    def kept(self, name: str) -> float:
        """Bytes of a stage that stay."""
        return self.costs[name].disk.kept(self.retain)

    def limits(self, stage: Stage) -> Resources:
        """What a stage's job requests where the executor's configuration states nothing."""
        known = self.costs.get(stage.name)
        return Resources() if known is None else job_limits(stage, known, self.model)

    @property
    def disk(self) -> DiskUse:
        return DiskUse([cost.disk for cost in self.costs.values()], self.retain, self.parallel)

    @property
    def total(self) -> str:
        """Work, time and disk of all stages, a line each, and what they depend on."""
        n, costs = len(self.costs), self.costs.values()
        head = f"{len(self.stages)} stages: {len(self.done)} done"
        if not n:
            return f"{head}, nothing to do"
        known = [cost for cost in costs if cost.flops is not None]
        unknown = f" and {n - len(known)} stages of unknown cost" if len(known) < n else ""
        sums = (sum(c.tokens or 0 for c in known), sum(c.flops or 0 for c in known))
        work = f"{number(sums[0])} tokens, {number(sums[1])} FLOPs{unknown}"
        if not any(sums):
            work = f"work unknown of {n} stages"
        lines = [f"{head}, {n} to do: {work}"]
        lines += [*self._time_lines(), self.disk.line()]
        lines += [*self._dominating(), *self._lengths(), *self._warnings()]
        lines += [f"missing: {what}: {how}" for what, how in self.model.missing.items()]
        return "\n".join(lines)

    def _time_lines(self) -> list[str]:
        costs = list(self.costs.values())
        one = sum(cost.gpu_seconds or 0 for cost in costs)
        if any(cost.flops and cost.seconds is None for cost in costs):
            return ["time unknown"]
        startup = f"{self.model.startup:g} s of start-up per stage (study.assumptions.startup)"
        known = f"{self.model.rates.source}; {startup}"
        total = f"{self.amount(one)} {self.unit}"
        starting = sum(cost.gpus * cost.startup for cost in costs if cost.seconds is not None)
        if one and starting > one / 10:
            total += f", of which {self.amount(starting)} start-up"
        if waiting := sum(cost.seconds is None and cost.flops == 0 for cost in costs):
            total += f", and {waiting} stage{'s' * (waiting > 1)} as long as a server takes"
        n = min(self.parallel, len(costs))
        jobs = f"{n} at once" if n > 1 else "one at a time"
        wall = f"{time(self.wall_seconds())}, {len(costs)} jobs, {jobs}"
        largest = max(cost.gpus for cost in costs)
        if largest > 1:
            each = sorted((cost.gpus for cost in costs), reverse=True)[:n]
            wall += f", each on at most {largest} GPUs" + (
                f" ({sum(each)} in all)" if n > 1 else ""
            )
        if unknown := sum(cost.flops is None for cost in costs):
            stages = f"{unknown} stage{'s' * (unknown > 1)} of unknown cost"
            total, wall = f"{total} without {stages}", f"{wall}, without these"
        return [f"time: {total} ({known})", f"wall time: {wall}, without queueing"]

    @property
    def unit(self) -> str:
        """Of `amount`."""
        return "GPU-hours" if self._on_gpus else "of one worker"

    @property
    def _on_gpus(self) -> bool:
        return bool(self.model.assumptions.gpu or self.executor.gpus_per_node)

    def amount(self, seconds: float) -> str:
        """Time of processors or GPUs."""
        if not self._on_gpus:
            return time(seconds)
        return "under 0.01" if seconds < 36 else f"{seconds / 3600:,.3g}"

    def wall_seconds(self) -> float:
        """Seconds until the last stage ends; where a job is free, the first stage whose parents are
        done starts."""
        waiting = {stage.name: stage for stage in self.stages if stage.name in self.costs}
        undone, running = set(waiting), list[tuple[float, str]]()
        now = 0.0
        while undone:
            for name, stage in list(waiting.items()):
                if len(running) < self.parallel and not undone & set(stage.parents):
                    heapq.heappush(running, (now + (self.costs[name].seconds or 0.0), name))
                    del waiting[name]
            now, ended = heapq.heappop(running)
            undone.remove(ended)
        return now

    def _dominating(self) -> Iterator[str]:
        """Which verb dominates, and the argument that lowers its cost."""
        by_verb: dict[str, float] = {}
        for stage in self.stages:
            if stage.name in self.costs:
                flops = self.costs[stage.name].flops or 0.0
                by_verb[stage.verb] = by_verb.get(stage.verb, 0.0) + flops
        if total := sum(by_verb.values()):
            verb = max(by_verb, key=by_verb.__getitem__)
            tip = self._half(verb)
            lower = f"; half of it with {tip}" if tip else ""
            yield f"mostly {verb}: {by_verb[verb] / total:.0%} of the FLOPs{lower}"

    def _half(self, verb: str) -> str | None:
        """The argument of `launch` that halves a verb's work."""
        if self.study.grid is None:
            return None
        first = next(s for s in self.stages if s.verb == verb and s.name in self.costs)
        if verb == "eval":
            if self.model.benchmarks.problems and (
                n := max(self.model.benchmarks.problems.values()) // 2
            ):
                return f"study.grid.eval=[limit={n}]"
        elif verb == "rl":
            steps = first.planned(RLConfig).max_steps
            return f"study.grid.rl.overrides=[max_steps={max(1, steps // 2)}]"
        elif verb == "train":
            config = first.planned(TrainConfig)
            if config.max_steps:
                steps = config.max_steps // 2
                return f"study.grid.train=[max_steps={steps}]" if steps else None
            pairs = max((pairs.n for pairs in self.model.pairs.sets.values()), default=0)
            limit = min(pairs, config.limit or pairs)
            return f"study.grid.train=[limit={limit // 2}]" if limit > 1 else None
        return None

    def _lengths(self) -> Iterator[str]:
        """Where the lengths of each set of pairs come from."""
        for name, pairs in self.model.pairs.sets.items():
            tokens = zip(SIDES, (pairs.prompt, pairs.ift, pairs.reasoning), strict=True)
            sides = ", ".join(f"{side} {mean:,.0f}" for side, mean in tokens)
            by = f" of {pairs.tokenizer}'s tokenizer" if pairs.tokenizer else ""
            yield f"lengths of {name}: {pairs.n:,} pairs; mean tokens{by}: {sides} ({pairs.source})"

    def _warnings(self) -> Iterator[str]:
        """Limits that truncate traces, and assumptions about what is known."""
        for name, (limit, benchmark) in self.model.limits.items():
            pairs = self.model.pairs.sets[name]
            what = "95 % quantile" if pairs.long_trace else "assumed mean"
            need = pairs.long_trace or ceil(pairs.reasoning)
            by = f" ({pairs.tokenizer}'s tokenizer)" if pairs.tokenizer else ""
            yield (
                f"warning: max_new_tokens={limit} of {benchmark} is below the {what} of the "
                f"reasoning completions of {name}, {need:,} tokens{by}: longer answers count as "
                f"wrong; study.grid.max_new_tokens={need}"
            )
        yield from self._memory()
        yield from self._own_hosts()
        yield from (f"not used: {line}" for line in unused(self.study, self.model))

    def _memory(self) -> Iterator[str]:
        """Trainings that the assumed card has too little memory for."""
        name = self.model.assumptions.gpu
        lacking: dict[str, list[str]] = {}
        for stage in self.stages:
            if name is None or stage.name not in self.costs or stage.verb not in ("train", "rl"):
                continue
            if (step := attempt(stage, self.model, CARDS[name])) is None:
                continue
            free, needed = free_for(step.config, CARDS[name]), step.estimate
            if needed.total > free:
                line = f"{needed}, {free / 2**30:.3g} GB of {name} are free: {advice(step, free)}"
                lacking.setdefault(line, []).append(stage.name)
        for line, names in lacking.items():
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            yield f"warning: {names[0]}{more} will not fit: {line}"

    def _own_hosts(self) -> Iterator[str]:
        """Servers by the name that every node has for itself."""
        if self.executor.name == "local":
            return
        found: dict[str, str] = {}
        for stage in self.stages:
            if stage.name in self.costs and (engine := _server(stage)) is not None:
                found.update(dict.fromkeys(engine.urls, stage.verb))
        for url, verb in found.items():
            if urlsplit(url).hostname in OWN_HOSTS:
                yield (
                    f"warning: {verb} calls {url}, which on executor={self.executor.name} is the "
                    "node of its own job: give the server's host name"
                )

    def check_disk(self, root: Path) -> None:
        """Raise BadInput, with the settings that would change it, if the disk of `root` has too
        little room."""
        existing = next(folder for folder in (root, *root.absolute().parents) if folder.exists())
        free, use = shutil.disk_usage(existing).free, self.disk
        if use.total > free:
            planned = (root / PLAN).exists()  # its settings of checkpoints are stated
            raise BadInput(
                f"out={root}: {gb(use.total)} needed, {gb(free)} free: "
                f"{use.remedy(free, checkpoints=not planned)}"
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
    return CostEstimate(study, stages, costs, done, retain, executor, model)


def _server(stage: Stage) -> OpenAIConfig | None:
    """The servers that a stage calls."""
    engine: object = None
    if stage.verb == "distill":
        engine = stage.planned(DistillConfig).teacher.engine
    elif stage.verb == "eval":
        engine = stage.planned(EvalConfig).engine
    return engine if isinstance(engine, OpenAIConfig) else None


def number(value: float | None) -> str:
    """A number of tokens or FLOPs; `?` if unknown."""
    if value is None:
        return "?"
    return f"{value:.3g}" if value >= 1e4 else f"{value:.0f}"


def time(seconds: float | None) -> str:
    """A duration; `?` if unknown."""
    if seconds is None:
        return "?"
    if 0 < seconds < 1:
        return "< 1 s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{ceil(seconds / 60)} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"
