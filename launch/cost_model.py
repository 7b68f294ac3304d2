"""Cost of a single stage: tokens and FLOPs from shapes and mean lengths, time and disk from these.

FLOPs follow the formula of arXiv 2509.22193 (`ratiocine.cost`) at mean lengths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, TypeVar, cast

from distill.config import Config as DistillConfig
from eval.config import Config as EvalConfig
from launch.cards import PEAK_FLOPS
from launch.config import StudyConfig
from launch.lengths import PairLengths, count, expected_lengths, finished_lengths
from launch.stages import Stage, compose
from launch.throughput import machine_rate, measured_rate
from ratiocine import cli, cost, models
from ratiocine.cost import Shape
from ratiocine.errors import BadInput, Failure
from ratiocine.executors import ExecutorConfig, VerbConfig
from rl.config import Config as RLConfig
from train.config import Config as TrainConfig

WEIGHT_BYTES = 4
OPTIMIZER_STATES = 2  # of Adam, per weight; LoRA's are negligible
COMPLETION_BYTES = 6  # per token of a stored completion, token ids included
# Rough model FLOPs utilization: the fraction of the machine's matmul rate that a verb reaches.
VERBS: tuple[Literal["train", "eval", "rl"], ...] = ("train", "eval", "rl")
UTILIZATION = {"train": 0.4, "eval": 0.15, "rl": 0.25}
C = TypeVar("C", bound=VerbConfig)


@dataclass(frozen=True)
class StageCost:
    """The cost of one stage; None stands for unknown."""

    tokens: float | None = None
    flops: float | None = None
    seconds: float | None = None
    one_gpu: float | None = None
    """Seconds on one GPU or machine."""
    disk: float = 0.0
    """Bytes that stay."""
    weights: float = 0.0
    """Bytes that `retain=scores` removes."""
    checkpoints: float = 0.0
    """Bytes while the stage runs."""


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
        self.sets: dict[str, PairLengths] = {}
        self.missing: dict[str, str] = {}
        """What is unknown, and the argument that would say it."""
        self.stages, self.done = {stage.name: stage for stage in stages}, done
        self.measured = {verb: measured_rate(verb, stages, done) for verb in UTILIZATION}

    @property
    def source_of_time(self) -> str:
        """The rate behind the times, for a message."""
        known = self.assumptions
        if any(self.measured.values()):
            return "as finished stages took"
        if rates := known.flops_per_second:
            return ", ".join(f"{verb} at {rate:.2g} FLOPs/s" for verb, rate in rates.items())
        if known.gpu:
            mfu = {verb: known.mfu.get(verb, UTILIZATION[verb]) for verb in VERBS}
            told = ", ".join(f"{verb} {share:g}" for verb, share in mfu.items())
            return f"{known.gpu}: {PEAK_FLOPS[known.gpu] / 1e12:g} TFLOP/s × mfu ({told})"
        return "roughly, from this machine's matmul rate"

    def cost(self, stage: Stage) -> StageCost:
        if stage.verb == "distill":
            return self._distillation(stage)
        shape, size = self._model(stage)
        if shape is None:
            name = next((w for w in stage.overrides if w.startswith("model=")), "model")
            self.missing[f"the shape of {name}"] = "a model folder, or its config on the hub"
            work = None
        elif stage.verb == "train":
            work = self._training(stage, shape)
        else:
            work = self._generation(stage, shape)
        tokens, flops = work or (None, None)
        rate = self._rate(stage.verb) if flops is not None else None
        one = flops / rate if flops is not None and rate else None
        seconds = one / self._gpus(stage) if one is not None else None
        if stage.verb == "eval":
            return StageCost(tokens, flops, seconds, one, disk=COMPLETION_BYTES * (tokens or 0))
        weights = WEIGHT_BYTES * size
        checkpoints = self._checkpoints(stage) * (1 + OPTIMIZER_STATES) * weights
        return StageCost(tokens, flops, seconds, one, weights=weights, checkpoints=checkpoints)

    def _gpus(self, stage: Stage) -> int:
        """GPUs of a stage, over which its work is taken to divide evenly."""
        executor = self.executor
        if not executor.gpus_per_node or self.measured[stage.verb]:
            return 1
        nodes = executor.nodes if executor.name == "slurm" and stage.verb in ("train", "rl") else 1
        return executor.gpus_per_node * nodes

    def _distillation(self, stage: Stage) -> StageCost:
        pairs = self._lengths(stage)
        tokens = pairs.n * (pairs.prompt + pairs.ift + pairs.reasoning) if pairs else None
        return StageCost(tokens, 0.0, 0.0, 0.0, disk=COMPLETION_BYTES * (tokens or 0))

    def _training(self, stage: Stage, shape: Shape) -> Work | None:
        config = self._config(stage, TrainConfig)
        pairs = self._taught(stage)
        if pairs is None:
            return None
        n = min(pairs.n, config.limit or pairs.n) * config.epochs
        if config.max_steps:
            n = min(n, config.max_steps * config.batch_size)
        # With equal tokens or FLOPs, arms of short answers train as long as that of the traces.
        ratio = _mean_ratio(config) if config.equalize == "examples" else 1.0
        sides = ((1 - ratio, pairs.ift), (ratio, pairs.reasoning))
        tokens = sum(share * n * (pairs.prompt + side) for share, side in sides)
        flops = sum(
            share * n * cost.training(shape, round(pairs.prompt + side)) for share, side in sides
        )
        return tokens, flops

    def _generation(self, stage: Stage, shape: Shape) -> Work | None:
        """Of an evaluation, or of rollouts and their updates."""
        ratio, pairs, known = self._ratio(stage), self._pairs_of(stage), self.assumptions
        ift = known.completion_tokens.get("ift") or (pairs.ift if pairs else None)
        reasoning = known.completion_tokens.get("reasoning") or (pairs.reasoning if pairs else None)
        prompt = pairs.prompt if pairs else known.prompt_tokens
        n: int | None
        if stage.verb == "rl":
            rl = self._config(stage, RLConfig)
            n, limit = rl.max_steps * rl.batch_size, rl.max_new_tokens
        else:
            evaluation = self._config(stage, EvalConfig)
            n, given = _completions(evaluation, known.problems), evaluation.max_new_tokens
            limit = given if isinstance(given, int) else None
        if n is None:
            self.missing["problems of a benchmark"] = (
                "study.assumptions.problems=N, or eval's limit"
            )
        elif ift is None or reasoning is None:
            self.missing["tokens of a completion"] = (
                "study.assumptions.completion_tokens={ift: N, reasoning: N}"
            )
        if n is None or ift is None or reasoning is None:
            return None
        longest = limit or float("inf")
        parts = ((1 - ratio, min(longest, ift)), (ratio, min(longest, reasoning)))
        tokens = sum(share * n * (prompt + completion) for share, completion in parts)
        flops = sum(
            share * n * cost.generation(shape, round(prompt), round(completion))
            for share, completion in parts
        )
        if stage.verb == "rl":
            flops += sum(
                share * n * cost.training(shape, round(prompt + completion))
                for share, completion in parts
            )
        return tokens, flops

    def _checkpoints(self, stage: Stage) -> int:
        """Checkpoints on disk at once: a new one is complete before an old one is deleted."""
        schema: type[TrainConfig] | type[RLConfig]
        schema = TrainConfig if stage.verb == "train" else RLConfig
        config = self._config(stage, schema)
        return 0 if config.lora else config.save_total_limit + 1

    def _config(self, stage: Stage, schema: type[C]) -> C:
        """The stage's configuration, with folders of parents that do not exist yet."""
        folders = {name: Path("runs") / name for name in stage.parents}
        config = compose(stage.verb, *stage.resolved(folders))
        assert isinstance(config, schema)
        return config

    def _ratio(self, stage: Stage) -> float:
        """The ratio of the student's training; 0 without training."""
        for name in stage.parents:
            parent = self.stages[name]
            if parent.verb == "rl":
                return self._ratio(parent)
            if parent.verb == "train":
                return _mean_ratio(self._config(parent, TrainConfig))
        return 0.0

    def _pairs_of(self, stage: Stage) -> PairLengths | None:
        """The pairs of the stage's student; the first set for a starting model."""
        lines = [stage]
        while parents := [self.stages[name] for name in lines[-1].parents]:
            lines.append(parents[0])
        trained = [*lines, *self.stages.values()]
        first = next((other for other in trained if other.verb == "train"), None)
        return self._taught(first) if first else None

    def _taught(self, stage: Stage) -> PairLengths | None:
        """Of a training: the pairs to distill, or those at hand."""
        for name in stage.parents:
            if self.stages[name].verb == "distill":
                return self._lengths(self.stages[name])
        folders = self._config(stage, TrainConfig).folders()
        name = stage.pairs or Path(folders[0]).name
        if name not in self.sets:
            self.sets[name] = finished_lengths(folders)
        return self.sets[name]

    def _lengths(self, stage: Stage) -> PairLengths | None:
        """Of the set that a stage distills."""
        if stage.name not in self.sets:
            config = self._config(stage, DistillConfig)
            name = stage.pairs or config.data.name
            done = self.done.get(stage.name)
            found = (
                finished_lengths([done])
                if done
                else expected_lengths(name, config, self.assumptions)
            )
            if found is None:
                self.missing[f"the number of pairs of {name}"] = (
                    f"study.assumptions.pairs={{{name}: N}}"
                )
                return None
            self.sets[stage.name] = found
        return self.sets[stage.name]

    def _model(self, stage: Stage) -> tuple[Shape | None, int]:
        """Shape and size of the starting model of a stage."""
        while True:
            names = [word for word in stage.overrides if word.startswith("model=")]
            name = names[0].removeprefix("model=") if names else "smollm2-135m"
            if not name.startswith("{"):
                options = [word for word in stage.overrides if word.startswith("model.")]
                return _shape(name, tuple(options))
            stage = self.stages[name[1 : name.index("}")]]

    def _rate(self, verb: str) -> float | None:
        """FLOPs per second of one worker."""
        assumed = self.assumptions.flops_per_second
        key = cast(Literal["train", "eval", "rl"], verb)
        known = self.measured[verb] or assumed.get(key)
        if known:
            return known
        if gpu := self.assumptions.gpu:
            return PEAK_FLOPS[gpu] * self.assumptions.mfu.get(key, UTILIZATION[verb])
        if self.executor.name == "slurm":  # this machine is not the one that runs
            self.missing["time"] = "the card, such as study.assumptions.gpu=h100"
            return None
        matmuls = machine_rate()
        return UTILIZATION[verb] * matmuls if matmuls else None


def _mean_ratio(config: TrainConfig) -> float:
    """The share of reasoning; the mean over stages if the scenario fixes their ratios."""
    if config.ratio is not None:
        return float(config.ratio)
    ratios = [stage.ratio for stage in config.scenario.stages if stage.ratio is not None]
    return sum(ratios) / len(ratios) if ratios else 0.5


def _completions(config: EvalConfig, problems: int | None) -> int | None:
    """Completions of an evaluation; None if the size of a benchmark is unknown.

    `problems` is the assumed number in all benchmarks; without it the hub alone may not say.
    """
    sources = config.sources()
    limit = config.limit or float("inf")
    if problems is not None:
        families = sum(len(data.families) or 1 for data in sources)
        return int(min(problems, limit * families) * config.samples)
    counts = [count(data, "test", config.limit) for data in sources]
    known = [n for n in counts if n is not None]
    return sum(known) * config.samples if len(known) == len(counts) else None


@cache
def _shape(model: str, options: tuple[str, ...]) -> tuple[Shape | None, int]:
    """Shape and number of weights; None and 0 if the hub cannot be reached."""
    from launch.memory import QWEN, shape_and_counts

    if model.removesuffix("-instruct") in QWEN:
        shape, counts = shape_and_counts(model.removesuffix("-instruct"), 0)
        return shape, counts.all
    try:
        config = cli.compose("eval", EvalConfig, [f"model={model}", *options]).model
        return models.shape(config), models.size(config)
    except (BadInput, Failure):
        return None, 0
