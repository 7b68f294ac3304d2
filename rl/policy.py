"""The policy as it answers: a copy of the weights under training, adapters merged, behind an engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from ratiocine import models
from ratiocine.engines import Request, TransformersConfig, TransformersEngine, pack_linears
from ratiocine.prompts import end_of_turn, opens_thinking, prompt_ids, prompt_text
from ratiocine.records import Completion
from ratiocine.training import gathered_parameters
from rl.config import Config


class Policy:
    """`refresh` takes over the weights of a model; `generate` answers with them. A second copy is held, in `sample_dtype`: the
    one that is trained keeps its float32 weights and its own attention. It has to be made before those are cut over ranks."""

    def __init__(
        self, config: Config, device: torch.device, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        self.name = "transformers"
        self.dtype = samples_in(config, device)
        with torch.device(device):
            self.weights: Any = AutoModelForCausalLM.from_config(
                models.load_config(config.model), dtype=self.dtype
            )
        self.weights.requires_grad_(False)
        settings = config.engine if config.engine.name == "transformers" else TransformersConfig()
        self.engine = TransformersEngine(self.weights, tokenizer, end_of_turn(tokenizer), settings)

    def refresh(self, model: Any) -> None:
        with torch.no_grad():
            for layer in self.weights.modules():  # what was packed has given its weights away
                if isinstance(layer, torch.nn.Linear) and not layer.weight.numel():
                    empty = torch.empty(
                        layer.out_features,
                        layer.in_features,
                        dtype=self.dtype,
                        device=self.weights.device,
                    )
                    layer.weight = torch.nn.Parameter(empty, requires_grad=False)
            there = {**dict(self.weights.named_parameters()), **dict(self.weights.named_buffers())}
            for name, weight in merged(model):
                there[name].copy_(weight)
        pack_linears(self.weights)

    def generate(self, requests: Iterable[Request]) -> Iterator[list[Completion]]:
        return self.engine.generate(requests)


def samples_in(config: Config, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 on CUDA and float32 elsewhere: on a CPU with units for both the latter was as fast (3.6 against 4.3 s
    for 64 answers of SmolLM2-135M), and its log-probabilities are nearer to those of the update."""
    if config.rollout_dtype != "auto":
        return getattr(torch, config.rollout_dtype)
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def merged(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """The weights of a model by their names without adapters, each with what its adapter adds, 4-bit ones as they are computed
    with. The model is left as it is: merging and unmerging would change its weights a little, and another little at every step.
    """
    if not hasattr(model, "peft_config"):
        for name, parameter in model.named_parameters():
            with gathered_parameters([parameter]):
                yield name, parameter
        return
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.integrations import dequantize_module_weight

    base = model.get_base_model()
    within: tuple[str, ...] = ()  # layers with adapters, whose parts are not looked at
    for name, module in base.named_modules():
        if name.startswith(within):
            continue
        layer = module
        if isinstance(module, BaseTunerLayer):
            within, layer = (*within, f"{name}."), module.get_base_layer()
        with gathered_parameters(
            list(module.parameters() if layer is not module else layer.parameters(recurse=False))
        ):
            for part, parameter in layer.named_parameters(recurse=False):
                linear = part == "weight" and isinstance(layer, torch.nn.Linear)
                weight = dequantize_module_weight(layer) if linear else parameter
                adds = part == "weight" and layer is not module
                yield (
                    f"{name}.{part}",
                    weight + module.get_delta_weight("default") if adds else weight,
                )


class VLLMSampler:
    """vLLM as TRL runs it, which gives it the trained weights before it is asked. Its samples have no streams of their own: a
    run that goes on answers otherwise than the uninterrupted one. Not yet tried on a GPU."""

    def __init__(self, trainer: Any, tokenizer: PreTrainedTokenizerBase) -> None:
        self.trainer, self.tokenizer, self.stop = trainer, tokenizer, end_of_turn(tokenizer)

    def generate(self, requests: Sequence[Request]) -> Iterator[list[Completion]]:
        asked = [(request, sample) for request in requests for sample in request.samples]
        prompts = [
            prompt_ids(self.tokenizer, request.messages, thinking=request.thinking)
            for request, _ in asked
        ]
        _, answers, logprobs, _ = self.trainer.vllm_generation.generate(
            prompts=prompts, images=None, num_generations=len(requests[0].samples)
        )
        traces = []
        for (request, sample), prompt, ids, values in zip(
            asked, prompts, answers, logprobs, strict=True
        ):
            ended = bool(ids) and ids[-1] == self.stop
            traces.append(
                Completion(
                    request.id,
                    self.tokenizer.decode(ids[:-1] if ended else ids, skip_special_tokens=False),
                    "stop" if ended else "length",
                    len(prompt),
                    len(ids),
                    0.0,
                    token_ids=tuple(ids),
                    logprobs=tuple(first for first, *_ in values),
                    sample=sample,
                    opened=opens_thinking(
                        prompt_text(self.tokenizer, request.messages, request.thinking)
                    ),
                )
            )
        yield traces
