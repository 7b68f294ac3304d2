"""Benchmarks of a study's evaluations: their problems, and the requests that these make."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from pathlib import Path

from distill.config import Config as DistillConfig
from eval.config import Config as EvalConfig
from launch.config import Assumptions
from launch.lengths import count
from launch.stages import PLANNED, Stage
from ratiocine.data import DataConfig


class StudyBenchmarks:
    """Numbers of problems by benchmark; `missing` gets what is unknown, with the argument that
    would say it."""

    def __init__(
        self, assumptions: Assumptions, stages: Sequence[Stage], missing: dict[str, str]
    ) -> None:
        self.assumptions, self.missing = assumptions, missing
        self.stages = {stage.name: stage for stage in stages}
        self.problems: dict[str, int] = {}
        """Problems of each benchmark."""
        self.counted: set[str] = set()
        """Benchmarks whose problems are counted, not assumed."""

    def names(self) -> set[str]:
        """Of all benchmarks of the study."""
        stages = [stage for stage in self.stages.values() if stage.verb == "eval"]
        return {data.name for stage in stages for data in self.of(stage.planned(EvalConfig))}

    def requests(self, config: EvalConfig, prompt: float) -> list[tuple[int, float]] | None:
        """Completions of an evaluation and the tokens of their prompts, by benchmark; None where
        the size of one is unknown.

        `prompt` is where `study.assumptions.prompt` has no benchmark of that name.
        """
        known, found = self.assumptions, list[tuple[int, float]]()
        by_name = known.problems if isinstance(known.problems, dict) else {}
        sources = self.of(config)
        limits = {d.name: (config.limit or inf) * (len(d.families) or 1) for d in sources}
        for data in sources:
            n = count(data, "test", config.limit)
            if data.name in by_name:
                if count(data, "test", None) is None:
                    n = by_name[data.name]
                else:
                    self.counted.add(data.name)
            if n is None and isinstance(known.problems, int):
                total = min(known.problems, sum(limits.values()))
                return [(int(total) * config.completions, prompt)]
            if n is None:
                self.missing[f"the number of problems of {data.name}"] = (
                    f"study.assumptions.problems={{{data.name}: N}}, or eval's limit"
                )
                continue
            n = int(min(n, limits[data.name]))
            self.problems[data.name] = n
            found.append((n * config.completions, known.prompt.get(data.name, prompt)))
        return found if len(found) == len(sources) else None

    def of(self, config: EvalConfig) -> list[DataConfig]:
        """The benchmarks of an evaluation."""
        return [self._planned(data) for data in config.sources()]

    def _planned(self, data: DataConfig) -> DataConfig:
        """A benchmark; of the test split of pairs that do not exist yet, their source."""
        folder = Path(data.hub.repo) if data.hub else Path()
        stage = self.stages.get(folder.name) if folder.parent == PLANNED else None
        if stage is None or stage.verb != "distill":
            return data
        source = stage.planned(DistillConfig).data
        return source.model_copy(update={"name": source.label})
