"""Cost of a single stage: tokens and FLOPs from shapes and mean lengths, time and disk from these.

FLOPs follow the formula of arXiv 2509.22193 (`ratiocine.cost`) at mean lengths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from math import ceil, inf
from pathlib import Path

from distill.config import Config as DistillConfig
from eval.config import Config as EvalConfig
from launch.config import StudyConfig
from launch.disk_use import Checkpoints, StageDisk
from launch.lengths import PairLengths, count
from launch.stages import PLANNED, Stage
from launch.study_pairs import StudyPairs, mean_ratio
from launch.throughput import Rates
from ratiocine import cli, cost, models
from ratiocine.cost import Shape
from ratiocine.data import DataConfig
from ratiocine.errors import BadInput, Failure
from ratiocine.executors import ExecutorConfig
from ratiocine.memory import ParameterCounts
from rl.config import Config as RLConfig
from train.config import Config as TrainConfig

WEIGHT_BYTES = 4
OPTIMIZER_STATES = 2  # of Adam, per weight; LoRA's are negligible
COMPLETION_BYTES = 6  # per token of a stored completion, token ids included
# Seconds from the start of a stage to its work, measured (docs/study.md). Local stages are forked
# from a process that has made the imports.
STARTUP = {"local": 10.0, "slurm": 25.0, "ray": 25.0}


@dataclass(frozen=True)
class StageCost:
    """The cost of one stage; None stands for unknown."""

    tokens: float | None = None
    flops: float | None = None
    work_seconds: float | None = None
    """Of the job, without its start-up."""
    startup: float = 0.0
    """Seconds."""
    gpus: int = 1
    """GPUs or workers of the job."""
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
        self.problems: dict[str, int] = {}
        """Problems of each benchmark."""
        self.limits: dict[str, tuple[int, str]] = {}
        """Token limits below the traces of a set of pairs, with the benchmark, by set."""
        self.stages = {stage.name: stage for stage in stages}
        self.pairs = StudyPairs(study.assumptions, stages, done, self.missing)
        self.rates = Rates(study.assumptions, executor, stages, done)
        known = study.assumptions.startup
        self.startup = STARTUP[executor.name] if known is None else known

    def cost(self, stage: Stage) -> StageCost:
        if stage.verb == "distill":
            return self._distillation(stage)
        shape, counts = self.shape_and_counts(stage)
        if shape is None:
            name = next((w for w in stage.overrides if w.startswith("model=")), "model")
            self.missing[f"the shape of {name}"] = "a model folder, or its config on the hub"
            work = None
        elif stage.verb == "train":
            work = self._training(stage, shape)
        else:
            work = self._generation(stage, shape)
        tokens, flops = work or (None, None)
        gpus = self.gpus(stage)
        rate = self.rates.of_job(stage.verb, gpus) if flops is not None else None
        if flops is not None and rate is None and self.executor.name == "slurm":
            self.missing["time"] = "the card, such as study.assumptions.gpu=h100"
        seconds = flops / rate if flops is not None and rate else None
        made = StageCost(tokens, flops, seconds, self.startup, gpus)
        if stage.verb == "eval":
            return replace(made, disk=StageDisk(COMPLETION_BYTES * (tokens or 0)))
        weights = WEIGHT_BYTES * (counts.all if counts else 0)
        checkpoints = self._checkpoints(stage, weights)
        return replace(made, disk=StageDisk(0, weights, checkpoints, stage.verb))

    def gpus(self, stage: Stage) -> int:
        """GPUs of a stage's job, or 1."""
        nodes, processes = self.processes(stage)
        return nodes * processes if self.executor.gpus_per_node else 1

    def processes(self, stage: Stage) -> tuple[int, int]:
        """Nodes of a stage's job, and processes on each."""
        if stage.verb in ("train", "rl"):
            return self.executor.num_nodes, self.executor.nproc
        schema = DistillConfig if stage.verb == "distill" else EvalConfig
        return 1, 1 if stage.planned(schema).single_process else self.executor.nproc

    def _distillation(self, stage: Stage) -> StageCost:
        pairs = self.pairs.of_distillation(stage)
        tokens = pairs.n * (pairs.prompt + pairs.ift + pairs.reasoning) if pairs else None
        disk = StageDisk(COMPLETION_BYTES * (tokens or 0))
        return StageCost(tokens, 0.0, 0.0, self.startup, self.gpus(stage), disk)

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
                self._requests(evaluation, typical),
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

    def _requests(self, config: EvalConfig, prompt: float) -> list[tuple[int, float]] | None:
        """Completions of an evaluation and the tokens of their prompts, by benchmark; None where
        the size of one is unknown.

        `prompt` is where `study.assumptions.prompt` has no benchmark of that name.
        """
        known, found = self.assumptions, list[tuple[int, float]]()
        by_name = known.problems if isinstance(known.problems, dict) else {}
        sources = [self._planned(data) for data in config.sources()]
        limits = {d.name: (config.limit or inf) * (len(d.families) or 1) for d in sources}
        for data in sources:
            n = count(data, "test", config.limit) or by_name.get(data.name)
            if n is None and isinstance(known.problems, int):
                total = min(known.problems, sum(limits.values()))
                return [(int(total) * config.samples, prompt)]
            if n is None:
                self.missing[f"the number of problems of {data.name}"] = (
                    f"study.assumptions.problems={{{data.name}: N}}, or eval's limit"
                )
                continue
            n = int(min(n, limits[data.name]))
            self.problems[data.name] = n
            found.append((n * config.samples, known.prompt.get(data.name, prompt)))
        return found if len(found) == len(sources) else None

    def _planned(self, data: DataConfig) -> DataConfig:
        """A benchmark; of the test split of pairs that do not exist yet, their source."""
        folder = Path(data.hub.repo) if data.hub else Path()
        stage = self.stages.get(folder.name) if folder.parent == PLANNED else None
        if stage is None or stage.verb != "distill":
            return data
        source = stage.planned(DistillConfig).data
        return source.model_copy(update={"name": source.label})

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
        """Of the starting model of a stage; None if the hub cannot be reached."""
        while True:
            given = dict(word.split("=", 1) for word in stage.overrides if "=" in word)
            name = given.get("model", "smollm2-135m")
            start = given.get("model.path", name)
            if not start.startswith("{"):
                options = [word for word in stage.overrides if word.startswith("model.")]
                return _shape_and_counts(name, tuple(options))
            stage = self.stages[start[1 : start.index("}")]]


def _one_pass(config: TrainConfig) -> bool:
    """Whether each epoch of a training has each pair at most once."""
    stages = config.scenario.stages
    parts = len(stages) == 1 or all(stage.format is not None for stage in stages)
    return config.equalize == "examples" and parts and not any(stage.epochs for stage in stages)


@cache
def _shape_and_counts(
    model: str, options: tuple[str, ...]
) -> tuple[Shape | None, ParameterCounts | None]:
    from launch.memory import QWEN, shape_and_counts
    from ratiocine.memory import count_parameters

    try:
        config = cli.compose("eval", EvalConfig, [f"model={model}", *options]).model
        known = config.name.removesuffix("-instruct")
        if known in QWEN and not cli.has_own_path(config.name, config.path):
            return shape_and_counts(known, 0, config.layers)
        skeleton = models.skeleton(config)
    except (BadInput, Failure):
        return None, None
    return Shape.of(skeleton.config), count_parameters(skeleton)
