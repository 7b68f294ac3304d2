"""Time and memory that a stage's job requests where the executor's configuration states none:
generous multiples of estimates."""

from __future__ import annotations

from math import ceil

from distill.config import Config as DistillConfig
from distill.pair_makers import SOLUTIONS
from eval.config import Config as EvalConfig
from launch.cost_model import WEIGHT_BYTES, CostModel, StageCost
from launch.stages import Stage
from ratiocine.cost import Shape
from ratiocine.executors import Resources
from ratiocine.memory import ParameterCounts
from rl.config import Config as RLConfig
from train.config import Config as TrainConfig

TIME_FACTOR, MIN_MINUTES = 3.0, 10
MEMORY_FACTOR, MIN_GB = 1.5, 4
PAIR_SECONDS = 0.01  # of a programmatic teacher, generously
# Bytes of a process beside its tensors: imports; on a GPU also the libraries and context of CUDA.
CPU_PROCESS, GPU_PROCESS = 1e9, 4e9


def job_limits(stage: Stage, cost: StageCost, model: CostModel) -> Resources:
    """Three times the estimated time, at least 10 minutes, and 1.5 times the estimated memory of
    each node, at least 4 GB. What cannot be estimated is None: the answers of a model as teacher,
    times without a rate, memory of unknown shapes."""
    seconds, size = _seconds(stage, cost, model), _bytes(stage, model)
    minutes = None if seconds is None else max(MIN_MINUTES, ceil(TIME_FACTOR * seconds / 60))
    mem_gb = None if size is None else max(MIN_GB, ceil(MEMORY_FACTOR * size / 2**30))
    return Resources(None if minutes is None else minutes / 60, mem_gb)


def _is_programmatic(stage: Stage) -> bool:
    return stage.planned(DistillConfig).teacher.name in SOLUTIONS


def _seconds(stage: Stage, cost: StageCost, model: CostModel) -> float | None:
    if stage.verb != "distill":
        return cost.seconds
    pairs = model.pairs.of_distillation(stage)
    known = pairs is not None and _is_programmatic(stage)
    return cost.startup + PAIR_SECONDS * pairs.n if pairs and known else None


def _bytes(stage: Stage, model: CostModel) -> float | None:
    """Main memory of a node of the job, at its peak."""
    if stage.verb == "distill":
        return CPU_PROCESS if _is_programmatic(stage) else None
    if stage.verb == "eval" and stage.planned(EvalConfig).engine.name == "openai":
        return CPU_PROCESS
    shape, counts = model.shape_and_counts(stage)
    if shape is None or counts is None:
        return None
    processes, weights = model.processes(stage)[1], WEIGHT_BYTES * counts.all
    if model.executor.requests_gpus:  # weights pass through main memory
        # The student is collected there; with offload, optimizer states stay there.
        further = 0 if stage.verb == "eval" else weights
        if stage.verb != "eval" and _training(stage).deepspeed.offload:
            further += 4 * weights
        return processes * (GPU_PROCESS + weights) + further
    work = _answering if stage.verb == "eval" else _updates
    return processes * (CPU_PROCESS + work(stage, model, shape, counts))


def _training(stage: Stage) -> TrainConfig | RLConfig:
    return stage.planned(RLConfig) if stage.verb == "rl" else stage.planned(TrainConfig)


def _answering(stage: Stage, model: CostModel, shape: Shape, counts: ParameterCounts) -> float:
    """Weights, a full key-value cache and the logits of a step, in float32 on a CPU."""
    engine, config = stage.planned(EvalConfig).engine, stage.planned(EvalConfig)
    weights = WEIGHT_BYTES * counts.all
    if engine.name != "transformers":
        return 2 * weights
    longest = max(config.max_new_tokens_of(data) for data in config.sources())
    rows = engine.max_batch_size
    tokens = min(engine.max_cache_tokens, rows * (longest + 2 * _prompt(stage, model)))
    numbers = 2 * shape.layers * shape.kv_heads * shape.head
    return weights + WEIGHT_BYTES * (tokens * numbers + 2 * rows * shape.vocab)


def _updates(stage: Stage, model: CostModel, shape: Shape, counts: ParameterCounts) -> float:
    """Of a step of training on a CPU (`ratiocine.memory`), with the cache of the rollouts of rl."""
    import torch

    from ratiocine import memory
    from ratiocine.training import Compute

    config, pairs = _training(stage), model.pairs.of_student(stage)
    rows = config.micro_batch_size_on_cpu
    if config.micro_batch_size != "auto":
        rows = config.micro_batch_size
    length, cache = 2 * _prompt(stage, model), 0.0
    if isinstance(config, RLConfig):
        length += config.tokens
        numbers = 2 * shape.layers * shape.kv_heads * shape.head
        cache = WEIGHT_BYTES * config.batch_size * length * numbers
    else:
        reasoning = (pairs.long_trace or 2 * pairs.reasoning) if pairs else config.max_length
        length = min(config.max_length, length + reasoning)
    compute = Compute(torch.device("cpu"), torch.bfloat16, "sdpa", False, rows)
    batch = memory.MicroBatchShape(rows, ceil(length), rows * ceil(length))
    return memory.estimate(shape, counts, config, compute, batch).total + cache


def _prompt(stage: Stage, model: CostModel) -> float:
    pairs = model.pairs.of_student(stage)
    return pairs.prompt if pairs else model.assumptions.prompt_tokens
