"""Pairs of a study's stages: the set that each of them makes, is taught or stems from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from distill.config import Config as DistillConfig
from launch.config import Assumptions
from launch.lengths import PairLengths, expected_lengths, finished_lengths
from launch.stages import Stage
from ratiocine.models import ModelConfig
from train.config import Config as TrainConfig


class StudyPairs:
    """Lengths of pairs by stage; `missing` gets what is unknown, with the argument that would say
    it."""

    def __init__(
        self,
        assumptions: Assumptions,
        stages: Sequence[Stage],
        done: Mapping[str, Path],
        missing: dict[str, str],
    ) -> None:
        self.assumptions, self.done, self.missing = assumptions, done, missing
        self.stages = {stage.name: stage for stage in stages}
        self.sets: dict[str, PairLengths] = {}

    def of_distillation(self, stage: Stage) -> PairLengths | None:
        """Of the set that a stage distills."""
        if stage.name not in self.sets:
            config = stage.planned(DistillConfig)
            name = stage.pairs or config.data.name
            done = self.done.get(stage.name)
            found = (
                finished_lengths([str(done)])
                if done
                else expected_lengths(name, config, self._student_model(stage), self.assumptions)
            )
            if found is None:
                self.missing[f"the number of pairs of {name}"] = (
                    f"study.assumptions.pairs={{{name}: N}}"
                )
                return None
            self.sets[stage.name] = found
        return self.sets[stage.name]

    def _student_model(self, stage: Stage) -> ModelConfig:
        """The model of the first training on the set that a stage distills."""
        for other in self.stages.values():
            if other.verb == "train" and stage.name in other.parents:
                return other.planned(TrainConfig).model
        return stage.planned(DistillConfig).model

    def of_training(self, stage: Stage) -> PairLengths | None:
        """The pairs to distill, or those at hand."""
        for name in stage.parents:
            if self.stages[name].verb == "distill":
                return self.of_distillation(self.stages[name])
        folders = stage.planned(TrainConfig).folders()
        name = stage.pairs or Path(folders[0]).name
        if name not in self.sets:
            self.sets[name] = finished_lengths(folders)
        return self.sets[name]

    def of_student(self, stage: Stage) -> PairLengths | None:
        """The pairs of the stage's student; the first set for a starting model."""
        lines = [stage]
        while parents := [self.stages[name] for name in lines[-1].parents]:
            lines.append(parents[0])
        trained = [*lines, *self.stages.values()]
        first = next((other for other in trained if other.verb == "train"), None)
        return self.of_training(first) if first else None

    def ratio(self, stage: Stage) -> float:
        """The ratio of the training of the stage's student; 0 without training."""
        for name in stage.parents:
            parent = self.stages[name]
            if parent.verb == "rl":
                return self.ratio(parent)
            if parent.verb == "train":
                return mean_ratio(parent.planned(TrainConfig))
        return 0.0


def mean_ratio(config: TrainConfig) -> float:
    """The share of reasoning; the mean over stages if the scenario fixes their ratios."""
    if config.ratio is not None:
        return float(config.ratio)
    ratios = [stage.ratio for stage in config.scenario.stages if stage.ratio is not None]
    return sum(ratios) / len(ratios) if ratios else 0.5
