"""The policy as it answers: a copy of the weights under training, adapters merged, behind an engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from ratiocine import devices
from ratiocine.engines import Request
from ratiocine.engines.config import TransformersConfig
from ratiocine.engines.decoding import pack_linears
from ratiocine.engines.transformers import TransformersEngine
from ratiocine.prompts import end_of_turn, opens_thinking, prompt_ids, prompt_text
from ratiocine.traces import Trace
from rl.config import Config


class Policy:
    """`refresh` takes over the weights of a model; `continue_` answers with them. A second copy is held, in `sample_dtype`: the
    one that is trained keeps its float32 weights and its own attention."""

    def __init__(self, config: Config, model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
        base = model.get_base_model() if hasattr(model, "peft_config") else model
        self.name = "transformers"
        self.dtype = devices.computes_in(config.sample_dtype, model.device)
        with torch.device(model.device):
            self.copy: Any = AutoModelForCausalLM.from_config(base.config, dtype=self.dtype)
        self.copy.requires_grad_(False)
        settings = config.engine if config.engine.name == "transformers" else TransformersConfig()
        self.engine = TransformersEngine(self.copy, tokenizer, end_of_turn(tokenizer), settings)

    def refresh(self, model: Any) -> None:
        with torch.no_grad():
            for layer in self.copy.modules():  # what was packed has given its weights away
                if isinstance(layer, torch.nn.Linear) and not layer.weight.numel():
                    empty = torch.empty(layer.out_features, layer.in_features, dtype=self.dtype, device=self.copy.device)
                    layer.weight = torch.nn.Parameter(empty, requires_grad=False)
            there = {**dict(self.copy.named_parameters()), **dict(self.copy.named_buffers())}
            for name, weight in merged(model):
                there[name].copy_(weight)
        pack_linears(self.copy)

    def continue_(self, requests: Iterable[Request]) -> Iterator[list[Trace]]:
        return self.engine.continue_(requests)


def merged(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """The weights of a model by their names without adapters, each with what its adapter adds. The model is left as it is:
    merging and unmerging would change its weights a little, and another little at every step."""
    if not hasattr(model, "peft_config"):
        yield from model.named_parameters()
        return
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.integrations import dequantize_module_weight

    base = model.get_base_model()
    adapted = {name: layer for name, layer in base.named_modules() if isinstance(layer, BaseTunerLayer)}
    for name, layer in adapted.items():
        weight = dequantize_module_weight(layer.get_base_layer())
        yield f"{name}.weight", weight + layer.get_delta_weight("default")
    for name, parameter in base.named_parameters():
        owner = next((part for part in adapted if name.startswith(f"{part}.")), None)
        if owner is None:
            yield name, parameter
        elif name == f"{owner}.base_layer.bias":
            yield f"{owner}.bias", parameter


class Served:
    """vLLM as TRL runs it, which gives it the trained weights before it is asked. Its samples have no streams of their own: a
    run that goes on answers otherwise than the uninterrupted one. Not yet tried on a GPU."""

    def __init__(self, trainer: Any, tokenizer: PreTrainedTokenizerBase) -> None:
        self.trainer, self.tokenizer, self.stop = trainer, tokenizer, end_of_turn(tokenizer)

    def continue_(self, requests: Iterable[Request]) -> Iterator[list[Trace]]:
        for request in requests:
            prompt = prompt_ids(self.tokenizer, request.messages, thinking=request.thinking)
            n = len(request.samples)
            _, answers, logprobs, _ = self.trainer.vllm_generation.generate(
                prompts=[prompt] * n, images=None, num_generations=n
            )
            opened = opens_thinking(prompt_text(self.tokenizer, request.messages, request.thinking))
            traces = []
            for sample, ids, values in zip(request.samples, answers, logprobs, strict=True):
                ended = bool(ids) and ids[-1] == self.stop
                text = self.tokenizer.decode(ids[:-1] if ended else ids, skip_special_tokens=False)
                traces.append(Trace(
                    request.id, text, "stop" if ended else "length", len(prompt), len(ids), 0.0, token_ids=tuple(ids),
                    logprobs=tuple(first for first, *_ in values), sample=sample, opened=opened,
                ))  # fmt: skip
            yield traces
