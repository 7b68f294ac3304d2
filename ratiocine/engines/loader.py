"""`load`: the configured engine with its model, in this process or in several workers."""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from ratiocine import devices, models, startup
from ratiocine.cost import Shape
from ratiocine.devices import Device, Dtype
from ratiocine.engines.config import EngineConfig, OpenAIConfig, VLLMConfig
from ratiocine.engines.interface import Capability, Engine, check_capabilities
from ratiocine.engines.vllm import VLLMEngine, check_cpu_memory, check_vllm, unsupported
from ratiocine.errors import BadInput
from ratiocine.executors import ExecutorConfig, LocalConfig, check_gpus
from ratiocine.models import ModelConfig
from ratiocine.prompts import check_switch, stop_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class LoadedEngine:
    """An engine that is ready to generate; None: unknown (a server's model, workers' attention)."""

    engine: Engine
    tokenizer: PreTrainedTokenizerBase | None
    dtype: str | None = None
    attention: str | None = None
    """The attention implementation."""
    shape: Shape | None = None
    size: int | None = None
    """Number of parameters."""
    retries: Counter[str] = field(default_factory=Counter)
    """Repeated calls to a server, by error, and as `probe` those of answered requests; grows while
    the engine generates."""

    def to_json(self) -> dict[str, Any]:
        """What a manifest says about the engine."""
        return {
            "dtype": self.dtype,
            "attention": self.attention,
            "shape": asdict(self.shape) if self.shape else None,
            "size": self.size,
            "retries": dict(self.retries),
        }


def load(
    engine: EngineConfig,
    model: ModelConfig,
    *,
    required: set[Capability],
    dtype: Dtype = "auto",
    device: Device = "auto",
    threads: int | None = None,
    num_workers: int = 0,
    executor: ExecutorConfig = LocalConfig(),  # noqa: B008  (frozen)
    setting: str = "engine",
    has_room: Callable[[], bool] | None = None,
) -> LoadedEngine:
    """Load `model` into a local engine, or connect to a server. Messages about a server name the
    keys of its configuration as `<setting>.base_url`; a new call to it waits for `has_room`, where
    this process makes the calls.

    With `num_workers` that many processes of `executor` each hold the engine. Raises BadInput,
    before any weights are loaded, if the engine or the model lacks a required capability.
    """
    check_capabilities(engine.name, required)
    if engine.name == "openai":
        return _connect(engine, num_workers, executor, setting, has_room)
    if engine.name == "vllm":
        devices.resolve_device(device)
        check_vllm()
        if executor.name != "ray":  # its workers check the memory of their machines
            check_cpu_memory(engine.gpu_memory_utilization, num_workers or 1)
    if num_workers and executor.name == "local":
        threads = threads or max(1, (os.cpu_count() or 1) // num_workers)
    devices.prepare_process(threads, inference=engine.name == "transformers")
    tokenizer = models.load_tokenizer(model)
    stops = stop_ids(tokenizer)
    if "thinking" in required:
        check_switch(tokenizer)
    shape, size = models.shape(model), models.size(model)
    if num_workers:
        make = partial(
            _engine, engine, model, required=required, dtype=dtype, device=device, threads=threads
        )
        workers, _ = _spread(make, num_workers, executor)
        return LoadedEngine(workers, tokenizer, dtype, None, shape, size)
    if engine.name == "vllm":
        vllm = _vllm(engine, model, tokenizer, stops, dtype)
        return LoadedEngine(vllm, tokenizer, vllm.dtype, "vllm", shape, size)
    from ratiocine.engines.packing import pack_linears
    from ratiocine.engines.transformers import TransformersEngine

    startup.freeze_imports()
    loaded = models.load_model(model, device, dtype=dtype)
    pack_linears(loaded)
    local = TransformersEngine(loaded, tokenizer, stops, engine)
    attention = loaded.config._attn_implementation
    return LoadedEngine(local, tokenizer, str(loaded.dtype), attention, shape, size)


def _vllm(
    config: VLLMConfig,
    model: ModelConfig,
    tokenizer: PreTrainedTokenizerBase,
    stops: Sequence[int],
    dtype: Dtype,
) -> VLLMEngine:
    """vLLM with a model, and with its adapter where vLLM can apply it; otherwise the adapter is
    merged with its base model, and the reason printed."""
    if (adapter := models.find_adapter(model)) is not None:
        if (reason := unsupported(adapter.folder, config)) is None:
            return VLLMEngine(
                adapter.base, tokenizer, stops, config, dtype=dtype, adapter=adapter.folder
            )
        if multiprocessing.parent_process() is None:  # else each worker would print it
            print(f"adapter merged with its base model: {reason}")
    folder = models.locate(model)
    if folder is None:
        raise BadInput(f"engine=vllm needs a model folder; model={model.name} has none")
    return VLLMEngine(folder, tokenizer, stops, config, dtype=dtype)


def _connect(
    config: OpenAIConfig,
    num_workers: int,
    executor: ExecutorConfig,
    setting: str,
    has_room: Callable[[], bool] | None,
) -> LoadedEngine:
    from ratiocine.engines.openai import OpenAIEngine

    server = OpenAIEngine(config, setting, has_room)
    server.check_connection()
    if not num_workers:
        return LoadedEngine(server, None, retries=server.retries)
    make = partial(OpenAIEngine, config, setting)
    workers, retries = _spread(make, num_workers, executor)
    return LoadedEngine(workers, None, retries=retries)


def _engine(*args: Any, **kwargs: Any) -> Engine:
    return load(*args, **kwargs).engine


def _spread(
    make: Callable[[], Engine], workers: int, executor: ExecutorConfig
) -> tuple[Engine, Counter[str]]:
    """An engine of several workers, and the counter of their retries."""
    if executor.name == "ray":
        from ratiocine.engines.ray_data import RayEngine

        ray = RayEngine(make, workers, executor.cpus_per_task, bool(executor.gpus_per_node))
        return ray, ray.retries
    from ratiocine.engines.pool import PoolEngine

    check_gpus(executor)
    return PoolEngine(make, workers, bool(executor.gpus_per_node)), Counter()
