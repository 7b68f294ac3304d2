"""Time and memory that a stage's job requests where the executor's configuration states none:
generous multiples of estimates."""

from __future__ import annotations

from math import ceil

from distill.config import Config as DistillConfig
from eval.config import Config as EvalConfig
from launch.cost_model import WEIGHT_BYTES, CostModel, StageCost
from launch.stages import Stage
from launch.training_memory import attempt, training_config
from ratiocine.cost import Shape
from ratiocine.executors import Resources
from ratiocine.memory import ParameterCounts

TIME_FACTOR, MIN_MINUTES = 3.0, 10
MEMORY_FACTOR, MIN_GB = 1.5, 4
# Bytes of a process beside its tensors: imports; on a GPU also the libraries and context of CUDA.
CPU_PROCESS, GPU_PROCESS = 1e9, 4e9


def job_limits(stage: Stage, cost: StageCost, model: CostModel) -> Resources:
    """Three times the estimated time, at least 10 minutes, and 1.5 times the estimated memory of
    each node, at least 4 GB. What cannot be estimated is None: the answers of a server, times
    without a rate, memory of unknown shapes."""
    seconds, size = cost.seconds, _bytes(stage, model)
    minutes = None if seconds is None else max(MIN_MINUTES, ceil(TIME_FACTOR * seconds / 60))
    mem_gb = None if size is None else max(MIN_GB, ceil(MEMORY_FACTOR * size / 2**30))
    return Resources(None if minutes is None else minutes / 60, mem_gb)


def _bytes(stage: Stage, model: CostModel) -> float | None:
    """Main memory of a node of the job, at its peak."""
    if stage.verb == "distill":
        return CPU_PROCESS if stage.planned(DistillConfig).single_process else None
    if stage.verb == "eval" and stage.planned(EvalConfig).single_process:
        return CPU_PROCESS
    shape, counts = model.shape_and_counts(stage)
    if shape is None or counts is None:
        return None
    processes, weights = model.processes(stage)[1], WEIGHT_BYTES * counts.all
    if stage.executor.requests_gpus:  # weights pass through main memory
        # The student is collected there; with offload, optimizer states stay there.
        further = 0 if stage.verb == "eval" else weights
        if stage.verb != "eval" and training_config(stage).deepspeed.offload:
            further += 4 * weights
        return processes * (GPU_PROCESS + weights) + further
    if stage.verb == "eval":
        return processes * (CPU_PROCESS + _answering(stage, model, shape, counts))
    step = attempt(stage, model)
    return None if step is None else processes * (CPU_PROCESS + step.total)


def _answering(stage: Stage, model: CostModel, shape: Shape, counts: ParameterCounts) -> float:
    """Weights, a full key-value cache and the logits of a step, in float32 on a CPU."""
    engine, config = stage.planned(EvalConfig).engine, stage.planned(EvalConfig)
    weights = WEIGHT_BYTES * counts.all
    if engine.name != "transformers":
        return 2 * weights
    longest = max(config.max_new_tokens_of(data) for data in config.sources())
    rows = engine.max_batch_size
    tokens = min(engine.max_cache_tokens, rows * (longest + 2 * model.prompt_tokens(stage)))
    numbers = 2 * shape.layers * shape.kv_heads * shape.head
    return weights + WEIGHT_BYTES * (tokens * numbers + 2 * rows * shape.vocab)
