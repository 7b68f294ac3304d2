"""Cost of a single stage: tokens and FLOPs from shapes and mean lengths, time and disk from these.

FLOPs follow the formula of arXiv 2509.22193 (`ratiocine.cost`) at mean lengths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from math import ceil
from pathlib import Path

from distill.config import Config as DistillConfig
from distill.config import teacher_model
from eval.config import Config as EvalConfig
from launch.config import StudyConfig
from launch.disk_use import Checkpoints, StageDisk
from launch.lengths import PairLengths
from launch.stages import Stage
from launch.study_benchmarks import StudyBenchmarks
from launch.study_pairs import StudyPairs, mean_ratio
from launch.throughput import Rates
from ratiocine import cli, cost, models
from ratiocine.cost import Shape
from ratiocine.errors import BadInput, Failure
from ratiocine.executors import ExecutorConfig
from ratiocine.memory import ParameterCounts
from ratiocine.models import ModelConfig
from rl.config import Config as RLConfig
from train.config import Config as TrainConfig

WEIGHT_BYTES = 4
OPTIMIZER_STATES = 2  # of Adam, per weight; LoRA's are negligible
COMPLETION_BYTES = 6  # per token of a stored completion, token ids included
REPLAY_SECONDS = 10.0  # of a strategy on saved samples, generously
PAIR_SECONDS = 0.01  # of a teacher that is no model, generously
# Seconds from the start of a stage to its work, measured (docs/study.md). Local stages are forked
# from a process that has made the imports.
STARTUP = {"local": 10.0, "slurm": 25.0, "ray": 25.0}


@dataclass(frozen=True)
class StageCost:
    """The cost of one stage; None stands for unknown."""

    tokens: float | None = None
    flops: float | None = None
    work_seconds: float | None = None
    """Of the job, without its start-up; None also where it waits for a server."""
    startup: float = 0.0
    """Seconds."""
    gpus: int = 1
    """GPUs or workers of the job; 0 for one that needs no GPU where others have one."""
    disk: StageDisk = field(default_factory=StageDisk)

    @property
    def seconds(self) -> float | None:
        return None if self.work_seconds is None else self.startup + self.work_seconds

    @property
    def gpu_seconds(self) -> float | None:
        """Over all GPUs or workers of the job."""
        return None if self.seconds is None else self.gpus * self.seconds


Work = tuple[float, float]  # tokens, FLOPs


class CostModel:
    """Costs of a study's stages: from finished stages and pairs, samples of problems, or else the
    study's assumptions."""

    def __init__(
        self,
        study: StudyConfig,
        stages: Sequence[Stage],
        done: Mapping[str, Path],
        executor: ExecutorConfig,
    ) -> None:
        self.assumptions, self.executor = study.assumptions, executor
        self.missing: dict[str, str] = {}
        """What is unknown, and the argument that would say it."""
        self.limits: dict[str, tuple[int, str]] = {}
        """Token limits below the traces of a set of pairs, with the benchmark, by set."""
        self.stages = {stage.name: stage for stage in stages}
        self.pairs = StudyPairs(study.assumptions, stages, done, self.missing)
        self.benchmarks = StudyBenchmarks(study.assumptions, stages, self.missing)
        self.rates = Rates(study.assumptions, executor, stages, done)
        known = study.assumptions.startup
        self.startup = STARTUP[executor.name] if known is None else known

    def cost(self, stage: Stage) -> StageCost:
        if stage.verb == "distill":
            return self._distillation(stage)
        if stage.verb == "eval" and stage.planned(EvalConfig).samples_from is not None:
            return StageCost(0.0, 0.0, REPLAY_SECONDS, self.startup, self.gpus(stage))
        if self._single_process(stage):  # an evaluation, as long as its server takes
            return StageCost(None, 0.0, None, self.startup, self.gpus(stage))
        shape, counts = self.shape_and_counts(stage)
        if shape is None:
            name = " ".join(self._first_model(stage)[:2])
            self.missing[f"the shape of {name}"] = "a model folder, or its config on the hub"
            work = None
        elif stage.verb == "train":
            work = self._training(stage, shape)
        else:
            work = self._generation(stage, shape)
        tokens, flops = work or (None, None)
        gpus = self.gpus(stage)
        rate = self.rates.of_job(stage.verb, gpus) if flops else None
        if flops and rate is None and self.executor.name == "slurm":
            self.missing["time"] = "the card, such as study.assumptions.gpu=h100"
        seconds = flops / rate if flops is not None and rate else None
        made = StageCost(tokens, flops, seconds, self.startup, gpus)
        if stage.verb == "eval":
            return replace(made, disk=StageDisk(COMPLETION_BYTES * (tokens or 0)))
        weights = WEIGHT_BYTES * (counts.all if counts else 0)
        checkpoints = self._checkpoints(stage, weights)
        return replace(made, disk=StageDisk(0, weights, checkpoints, stage.verb))

    def gpus(self, stage: Stage) -> int:
        """GPUs of a stage's job; without GPUs 1 worker."""
        nodes, processes = self.processes(stage)
        if not self.executor.gpus_per_node:
            return 1
        if self._single_process(stage) or not stage.executor.gpus_per_node:
            return 0
        return nodes * processes

    def processes(self, stage: Stage) -> tuple[int, int]:
        """Nodes of a stage's job, and processes on each."""
        if stage.verb in ("train", "rl"):
            return stage.executor.num_nodes, stage.executor.nproc
        return 1, 1 if self._single_process(stage) else stage.executor.nproc

    @staticmethod
    def _single_process(stage: Stage) -> bool:
        if stage.verb == "distill":
            return stage.planned(DistillConfig).single_process
        return stage.verb == "eval" and stage.planned(EvalConfig).single_process

    def _distillation(self, stage: Stage) -> StageCost:
        pairs, config = self.pairs.of_distillation(stage), stage.planned(DistillConfig)
        gpus = self.gpus(stage)
        if pairs is None:
            return StageCost(startup=self.startup, gpus=gpus)
        tokens = pairs.n * (pairs.prompt + pairs.ift + pairs.reasoning)
        disk = StageDisk(COMPLETION_BYTES * tokens)
        made = StageCost(tokens, 0.0, None, self.startup, gpus, disk)
        if config.teacher.engine is None:
            return replace(made, work_seconds=PAIR_SECONDS * pairs.n)
        if (teacher := teacher_model(config)) is None:  # as long as its server takes
            return made
        try:
            shape, _ = _shape_and_counts(teacher)
        except (BadInput, Failure):
            self.missing[f"the shape of teacher.model={config.teacher.model}"] = "a model folder"
            return replace(made, flops=None)
        answers = config.samples * pairs.n
        flops = answers * sum(
            cost.generation(shape, round(pairs.prompt), round(min(side, config.max_new_tokens)))
            for side in (pairs.ift, pairs.reasoning)
        )
        rate = self.rates.of_job("eval", gpus)
        return replace(made, flops=flops, work_seconds=flops / rate if rate else None)

    def _training(self, stage: Stage, shape: Shape) -> Work | None:
        config = stage.planned(TrainConfig)
        pairs, n = self.pairs.of_training(stage), self._examples(stage)
        if pairs is None or n is None:
            return None
        # With equal tokens or FLOPs, arms of short answers train as long as that of the traces.
        ratio = mean_ratio(config) if config.equalize == "examples" else 1.0
        sides = ((1 - ratio, pairs.ift), (ratio, pairs.reasoning))
        tokens = sum(share * n * (pairs.prompt + side) for share, side in sides)
        flops = sum(
            share * n * cost.training(shape, round(pairs.prompt + side)) for share, side in sides
        )
        return tokens, flops

    def _examples(self, stage: Stage) -> int | None:
        """Examples of a training, those of all epochs; None if unknown."""
        config, pairs = stage.planned(TrainConfig), self.pairs.of_training(stage)
        if pairs is None:
            return None
        n = min(pairs.n, config.limit or pairs.n) * config.epochs
        return min(n, config.max_steps * config.batch_size) if config.max_steps else n

    def _generation(self, stage: Stage, shape: Shape) -> Work | None:
        """Of an evaluation, or of rollouts and their updates."""
        ratio, pairs, known = (
            self.pairs.ratio(stage),
            self.pairs.of_student(stage),
            self.assumptions,
        )
        ift = known.completion_tokens.get("ift") or (pairs.ift if pairs else None)
        reasoning = known.completion_tokens.get("reasoning") or (pairs.reasoning if pairs else None)
        typical = pairs.prompt if pairs else known.prompt_tokens
        requests: list[tuple[int, float]] | None  # completions and tokens of their prompts
        if stage.verb == "rl":
            rl = stage.planned(RLConfig)
            requests, limit = [(rl.max_steps * rl.batch_size, typical)], rl.max_new_tokens
        else:
            evaluation = stage.planned(EvalConfig)
            given = evaluation.max_new_tokens
            requests, limit = (
                self.benchmarks.requests(evaluation, typical),
                given if isinstance(given, int) else None,
            )
            if pairs and ratio:
                self._check_limits(evaluation, pairs)
        if requests is None:
            return None
        if ift is None or reasoning is None:
            self.missing["tokens of a completion"] = (
                "study.assumptions.completion_tokens={ift: N, reasoning: N}"
            )
            return None
        longest = limit or float("inf")
        parts = ((1 - ratio, min(longest, ift)), (ratio, min(longest, reasoning)))
        tokens = flops = 0.0
        for n, prompt in requests:
            for share, completion in parts:
                tokens += share * n * (prompt + completion)
                flops += share * n * cost.generation(shape, round(prompt), round(completion))
                if stage.verb == "rl":
                    flops += share * n * cost.training(shape, round(prompt + completion))
        return tokens, flops

    def _check_limits(self, config: EvalConfig, pairs: PairLengths) -> None:
        """Note a token limit that would truncate the students of a set's traces."""
        name = next(name for name, known in self.pairs.sets.items() if known is pairs)
        for data in config.sources():
            limit = config.max_new_tokens_of(data)
            if limit < (pairs.long_trace or pairs.reasoning):
                found = limit, data.name
                self.limits[name] = min(self.limits.get(name, found), found)

    def _checkpoints(self, stage: Stage, weights: float) -> Checkpoints:
        """Of a training with so many bytes of weights."""
        config: TrainConfig | RLConfig
        steps: int | None
        if stage.verb == "rl":
            config = stage.planned(RLConfig)
            steps, best = config.max_steps, 0
        else:
            config = stage.planned(TrainConfig)
            examples = self._examples(stage) if _one_pass(config) else None
            steps = None if examples is None else ceil(examples / config.batch_size)
            best = int(config.checkpoint == "best")
        size = 0 if config.lora else (1 + OPTIMIZER_STATES) * weights
        return Checkpoints(size, config.save_total_limit, config.save_steps, steps, best)

    def shape_and_counts(self, stage: Stage) -> tuple[Shape | None, ParameterCounts | None]:
        """Of the starting model of a stage; None where it is not at hand."""
        start = self.starting_model(stage)
        return (None, None) if start is None else _shape_and_counts(start)

    def starting_model(self, stage: Stage) -> ModelConfig | None:
        """The model at the start of a stage and of the stages that it stems from; None where its
        shape is not at hand."""
        name, *options = self._first_model(stage)
        return _available(name.removeprefix("model="), tuple(options))

    def _first_model(self, stage: Stage) -> list[str]:
        """The overrides that name the starting model."""
        while True:
            given = dict(word.split("=", 1) for word in stage.overrides if "=" in word)
            name = given.get("model", "smollm2-135m")
            start = given.get("model.path", name)
            if not start.startswith("{"):
                options = [word for word in stage.overrides if word.startswith("model.")]
                return [f"model={name}", *options]
            stage = self.stages[start[1 : start.index("}")]]

    def prompt_tokens(self, stage: Stage) -> float:
        """Mean tokens of a prompt of a stage's student."""
        pairs = self.pairs.of_student(stage)
        return pairs.prompt if pairs else self.assumptions.prompt_tokens


def _one_pass(config: TrainConfig) -> bool:
    """Whether each epoch of a training has each pair at most once."""
    stages = config.scenario.stages
    parts = len(stages) == 1 or all(stage.format is not None for stage in stages)
    return config.equalize == "examples" and parts and not any(stage.epochs for stage in stages)


@cache
def _available(model: str, options: tuple[str, ...]) -> ModelConfig | None:
    try:
        config = cli.compose("eval", EvalConfig, [f"model={model}", *options]).model
        _shape_and_counts(config)
    except (BadInput, Failure):
        return None
    return config


@cache
def _shape_and_counts(model: ModelConfig) -> tuple[Shape, ParameterCounts]:
    from ratiocine.memory import count_parameters

    skeleton = models.skeleton(model)
    return Shape.of(skeleton.config), count_parameters(skeleton)
