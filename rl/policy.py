"""The policy that samples rollouts: a copy of the trained weights, adapters merged, behind an
engine."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from ratiocine import devices, models
from ratiocine.engines import (
    Request,
    TransformersConfig,
    TransformersEngine,
    VLLMEngine,
    pack_linears,
)
from ratiocine.executors import distributed
from ratiocine.prompts import stop_ids
from ratiocine.records import Completion
from ratiocine.training import gathered_parameters
from rl.config import Config
from rl.preparation import PreparedProblems, longest_prompt


class Policy:
    """`refresh` copies the weights of the trained model; `generate` samples with them.

    The copy is in `rollout_dtype`: the trained model keeps float32 weights and its own
    attention implementation.
    It has to be constructed before ZeRO-3 is set up, under which every new model is sharded."""

    def __init__(
        self, config: Config, device: torch.device, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        self.name = "transformers"
        self.dtype = rollout_dtype(config, device)
        with torch.device(device):
            self.model = AutoModelForCausalLM.from_config(
                models.load_config(config.model), dtype=self.dtype
            )
        self.model.requires_grad_(False)
        settings = config.engine if config.engine.name == "transformers" else TransformersConfig()
        self.engine = TransformersEngine(self.model, tokenizer, stop_ids(tokenizer), settings)

    def refresh(self, model: torch.nn.Module) -> None:
        """Take over the weights of `model`, whose adapters are merged in the copy."""
        with torch.no_grad():
            for layer in self.model.modules():  # packing has released these weights
                if isinstance(layer, torch.nn.Linear) and not layer.weight.numel():
                    empty = torch.empty(
                        layer.out_features,
                        layer.in_features,
                        dtype=self.dtype,
                        device=self.model.device,
                    )
                    layer.weight = torch.nn.Parameter(empty, requires_grad=False)
            own = {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}
            for name, weight in merged_weights(model):
                own[name].copy_(weight)
        pack_linears(self.model)

    def generate(self, requests: Iterable[Request]) -> Iterator[list[Completion]]:
        return self.engine.generate(requests)


def rollout_dtype(config: Config, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 on GPUs that have it and float32 elsewhere: on a CPU with native bfloat16
    support float32 was as fast (3.6 against 4.3 s for 64 answers of SmolLM2-135M), and its
    log-probabilities are nearer to those of the update."""
    if config.rollout_dtype != "auto":
        return getattr(torch, config.rollout_dtype)
    native = device.type == "cuda" and devices.has_bfloat16(device)
    return torch.bfloat16 if native else torch.float32


def merged_weights(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Weights by their names without adapters, each with its adapter's update added, 4-bit ones
    dequantized, tied ones once.

    The model stays as it is: merging and unmerging rounds its weights, again at every step."""
    if not hasattr(model, "peft_config"):
        for name, parameter in model.named_parameters():
            with gathered_parameters([parameter]):
                yield name, parameter
        return
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.integrations import dequantize_module_weight

    base = model.get_base_model()
    adapted: tuple[str, ...] = ()  # prefixes of layers with adapters, whose submodules are skipped
    seen = set[int]()
    for name, module in base.named_modules():
        if name.startswith(adapted):
            continue
        layer = module
        if isinstance(module, BaseTunerLayer):
            adapted, layer = (*adapted, f"{name}."), module.get_base_layer()
        has_adapter = layer is not module
        parameters = module.parameters() if has_adapter else layer.parameters(recurse=False)
        with gathered_parameters(list(parameters)):
            for part, parameter in layer.named_parameters(recurse=False):
                if id(parameter) in seen and not has_adapter:
                    continue  # a tied head
                seen.add(id(parameter))
                linear = part == "weight" and isinstance(layer, torch.nn.Linear)
                weight = dequantize_module_weight(layer) if linear else parameter
                if part == "weight" and has_adapter:
                    weight = weight + module.get_delta_weight("default")
                yield f"{name}.{part}", weight


class VLLMPolicy:
    """As `Policy`, by vLLM in the process of the trainer, which has a copy of its own.

    Ranks have to be connected before it is constructed: each has its own vLLM."""

    name = "vllm"

    def __init__(self, config: Config, device: torch.device, prepared: PreparedProblems) -> None:
        assert config.engine.name == "vllm"
        self.dtype = rollout_dtype(config, device)
        tokenizer, folder = prepared.tokenizer, models.locate(config.model)
        assert folder is not None
        # Weights can be handed over within one process only.
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        # vLLM would leave a CPU's training one thread.
        os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))
        every = (*prepared.problems, *prepared.validation)
        longest = longest_prompt(tokenizer, every, prepared.thinking)
        context = models.context_length(models.load_config(config.model))
        backend = "external_launcher" if distributed.world_size() > 1 else None
        self.engine = VLLMEngine(
            folder,
            tokenizer,
            stop_ids(tokenizer),
            config.engine,
            dtype=devices.dtype_name(self.dtype),
            max_model_len=min(context, longest + config.tokens),
            distributed_executor_backend=backend,
        )

    def refresh(self, model: torch.nn.Module) -> None:
        """Take over the weights of `model`, its adapters merged."""
        with torch.no_grad():
            self.engine.load_weights(merged_weights(model))

    def generate(self, requests: Iterable[Request]) -> Iterator[list[Completion]]:
        return self.engine.generate(requests)
