"""Loading of tokenizers, configurations and weights."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ratiocine.cost import Shape
from ratiocine.devices import Device, Dtype, has_bfloat16, resolve_device
from ratiocine.errors import BadInput
from ratiocine.executors import first_line
from ratiocine.models import packaged
from ratiocine.models.config import ModelConfig
from ratiocine.models.location import find_adapter, locate
from ratiocine.models.qwen import known_shape
from ratiocine.prompts import chat_template
from ratiocine.rendering import check_template

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


@contextmanager
def _readable(model: ModelConfig) -> Iterator[None]:
    """Raise BadInput where transformers cannot read a model folder."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, SafetensorError) as error:
        words = first_line(error)
        if words.endswith(":"):  # of a list, each item of which is a line
            words = " ".join(str(error).split())
        raise BadInput(f"model={model.given} cannot be read: {words}") from None


def load_tokenizer(model: ModelConfig) -> PreTrainedTokenizerBase:
    """The tokenizer with the configured chat template.

    Raises BadInput if there is no template, or another one than that of the student's training.
    """
    from transformers import AutoTokenizer

    adapter = find_adapter(model)
    folder = adapter.tokenizer if adapter else locate(model)
    with _readable(model):
        tokenizer = (
            packaged.tiny_tokenizer() if folder is None else AutoTokenizer.from_pretrained(folder)
        )
    if model.chat_template != "own":
        tokenizer.chat_template = chat_template(model.chat_template, tokenizer)
    if not tokenizer.chat_template:
        raise BadInput(
            f"model={model.given} has no chat template; for a base model give "
            "model.chat_template=plain (question and answer as plain text) or r1-zero, or chatml "
            "(if <|im_end|> is a single token)"
        )
    if folder is not None and adapter is None:
        check_template(folder, tokenizer)
    return tokenizer


def load_config(model: ModelConfig) -> PreTrainedConfig:
    """The transformers configuration."""
    from transformers import AutoConfig

    adapter = find_adapter(model)
    folder = adapter.base if adapter else locate(model)
    with _readable(model):
        return (
            packaged.tiny_model().config if folder is None else AutoConfig.from_pretrained(folder)
        )


def context_length(config: PreTrainedConfig) -> int:
    """The longest text in tokens that a model was made for; unbounded without such a limit."""
    return getattr(config.get_text_config(), "max_position_embeddings", None) or sys.maxsize


def shape(model: ModelConfig) -> Shape:
    """Dimensions of the model; reads no weights."""
    return Shape.of(load_config(model))


def size(model: ModelConfig) -> int:
    """Number of parameters; reads no weights."""
    return int(skeleton(model).num_parameters())


def skeleton(model: ModelConfig) -> PreTrainedModel:
    """The model with its parameters on the meta device: all modules and shapes, no weights; of the
    models in QWEN without a download."""
    import torch
    from accelerate import init_empty_weights
    from torch.overrides import TorchFunctionMode
    from transformers import AutoModelForCausalLM
    from transformers.initialization import no_init_weights

    class MatricesOnMeta(TorchFunctionMode):
        """`init_empty_weights` moves a parameter there after it was allocated: the address space of
        a large model, after which a process can no longer fork."""

        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            kwargs = kwargs or {}
            if func is torch.empty and kwargs.get("device") is None:
                kwargs["device"] = "meta"
            return func(*args, **kwargs)

    known = known_shape(model)
    config = known.config if known else load_config(model)
    # Drawing weights or buffers on the meta device would import torch's compiler.
    with init_empty_weights(include_buffers=False), no_init_weights(), MatricesOnMeta():
        empty = AutoModelForCausalLM.from_config(config)
    empty.tie_weights()
    return empty


def load_model(
    model: ModelConfig,
    device: Device,
    *,
    dtype: Dtype = "float32",
    attention: str | None = None,
    four_bit: torch.dtype | None = None,
) -> PreTrainedModel:
    """The model on its device.

    Training keeps float32 master weights, since bfloat16 would lose small updates; `auto` is for
    inference: bfloat16 on GPUs that have it, float32 elsewhere. With `four_bit` (a compute dtype)
    the linear layers except the head are stored as 4-bit NormalFloat with double quantization, and
    the other weights, all of them frozen, in that dtype, for adapters (QLoRA, Dettmers et al. 2023,
    section 3): a 4-bit layer returns the dtype of its input, which the embedding decides.
    """
    import torch
    from transformers import AutoModelForCausalLM

    target = resolve_device(device)
    folder = locate(model)
    if dtype == "auto":
        native = target.type == "cuda" and has_bfloat16(target)
        dtype = "bfloat16" if native else "float32"
    if folder is None:
        tiny = packaged.tiny_model().to(target)
        for parameter in tiny.parameters():  # buffers stay in float32, as where a folder is read
            parameter.data = parameter.data.to(getattr(torch, dtype))
        if attention is not None:
            tiny.set_attn_implementation(attention)
        return tiny
    options: dict[str, Any] = {"dtype": getattr(torch, dtype), "attn_implementation": attention}
    if four_bit is None:
        with _readable(model):
            loaded = AutoModelForCausalLM.from_pretrained(folder, **options)
        return loaded.to(target)
    from transformers import BitsAndBytesConfig

    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=four_bit,
    )
    options["dtype"] = four_bit
    return AutoModelForCausalLM.from_pretrained(
        folder, quantization_config=quantization, device_map={"": target}, **options
    )


def check_four_bit(model: ModelConfig) -> None:
    """Raise BadInput if a model cannot be loaded in 4 bits."""
    from importlib.util import find_spec

    if find_spec("bitsandbytes") is None:
        raise BadInput("load_in_4bit=true needs an extra: pip install -e '.[qlora]'")
    if locate(model) is None:
        raise BadInput(f"load_in_4bit=true needs a model folder; model={model.name} has none")


def head(model: Any) -> torch.nn.Module:
    """The output embedding (hidden states → logits) of a model or of a wrapper around one."""
    while hasattr(model, "module"):
        model = model.module
    if hasattr(model, "get_base_model"):
        model = model.get_base_model()
    return model.get_output_embeddings()
