"""A configured engine, ready to be asked."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ratiocine import devices, models
from ratiocine.devices import Device, Dtype
from ratiocine.engines.config import EngineConfig
from ratiocine.engines.interface import Ability, Engine, require
from ratiocine.errors import BadInput
from ratiocine.executors import ExecutorConfig, Local, check_gpus
from ratiocine.models import ModelConfig
from ratiocine.prompts import check_switch, end_of_turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class LoadedEngine:
    """An engine, its tokenizer where that is here, and what is to be known of the run: dtype, attention,
    shape and number of weights of the model, and what made a server be asked again."""

    engine: Engine
    tokenizer: PreTrainedTokenizerBase | None
    facts: dict[str, Any]


def load(
    engine: EngineConfig,
    model: ModelConfig,
    *,
    needed: set[Ability],
    dtype: Dtype = "auto",
    device: Device = "auto",
    threads: int | None = None,
    keep_refused: bool = False,
    num_workers: int = 0,
    on: ExecutorConfig = Local(),  # noqa: B008  (frozen)
) -> LoadedEngine:
    """Load the model, or reach the server; with `num_workers`, in so many processes where `on` says. `model` is what a local
    engine loads. Raises BadInput where the engine or the model cannot do what is `needed`, before any weights are loaded."""
    require(engine.name, needed)
    if engine.name == "openai":
        from ratiocine.engines.openai import OpenAIEngine

        served = OpenAIEngine(engine, keep_refused=keep_refused)
        served.check()
        facts: dict[str, Any] = {"dtype": None, "attention": None, "shape": None, "size": None}
        if num_workers:
            spread = _spread(
                partial(OpenAIEngine, engine, keep_refused=keep_refused), num_workers, on
            )
            return LoadedEngine(
                spread, None, {**facts, "calls_made_again": getattr(spread, "errors", {})}
            )
        return LoadedEngine(served, None, {**facts, "calls_made_again": served.errors})
    if num_workers and on.name == "local":
        threads = threads or max(1, (os.cpu_count() or 1) // num_workers)
    devices.prepare_process(threads)
    tokenizer = models.load_tokenizer(model)
    stop = end_of_turn(tokenizer)
    if "thinking" in needed:
        check_switch(tokenizer)
    if num_workers:
        make = partial(
            _engine, engine, model, needed=needed, dtype=dtype, device=device, threads=threads
        )
        facts = {"dtype": dtype, "attention": None, **_told(model)}
        return LoadedEngine(_spread(make, num_workers, on), tokenizer, facts)
    if engine.name == "vllm":
        from ratiocine.engines.vllm import VLLMEngine

        folder = models.locate(model)
        if folder is None:
            raise BadInput(f"engine=vllm reads a model folder, which model={model.name} has not")
        fast = VLLMEngine(folder, tokenizer, stop, engine, dtype=dtype)
        return LoadedEngine(fast, tokenizer, {"dtype": dtype, "attention": "vllm", **_told(model)})
    from ratiocine.engines.decoding import pack_linears
    from ratiocine.engines.transformers import TransformersEngine

    loaded = models.load_model(model, device, dtype=dtype)
    pack_linears(loaded)
    local = TransformersEngine(loaded, tokenizer, stop, engine)
    facts = {"dtype": str(loaded.dtype), "attention": loaded.config._attn_implementation}
    return LoadedEngine(local, tokenizer, {**facts, **_told(model)})


def _told(model: ModelConfig) -> dict[str, Any]:
    return {"shape": asdict(models.shape(model)), "size": models.size(model)}


def _engine(*args: Any, **kwargs: Any) -> Engine:
    return load(*args, **kwargs).engine


def _spread(make: Callable[[], Engine], processes: int, on: ExecutorConfig) -> Engine:
    if on.name == "ray":
        from ratiocine.engines.ray_data import RayEngine

        return RayEngine(make, processes, on.cpus_per_task, bool(on.gpus_per_node))
    from ratiocine.engines.pool import PoolEngine

    check_gpus(on)
    return PoolEngine(make, processes, bool(on.gpus_per_node))
