"""Models: found, loaded and saved. Every model is a plain Hugging Face folder once it is here, but for the tiny one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import PositiveFloat, PositiveInt

from ratiocine.config import ByContent, Hashed, StrictConfig, Unhashed
from ratiocine.cost import Shape
from ratiocine.devices import Device, Dtype, resolve_device
from ratiocine.errors import BadInput
from ratiocine.models import packaged
from ratiocine.models.pruning import shorten
from ratiocine.prompts import TEMPLATES, end_of_turn
from ratiocine.rendering import FILE, check_template
from ratiocine.runs import check_finished, content, hash_path, let_go

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

WEIGHTS = ("*.safetensors", "*.bin")


class PeakRates(StrictConfig):
    """Peak learning rate by format."""

    ift: Hashed[PositiveFloat]
    reasoning: Hashed[PositiveFloat]


class ModelConfig(StrictConfig):
    """conf/model: `path` is a hub id or a folder; `chat_template` the model's own or one of `prompts`; with `layers` it has so
    many of its layers (`shorten`). A `served` model is known by the name that its server gives it, and is not here."""

    name: Hashed[str]
    kind: Hashed[Literal["hub", "packaged", "tiny", "served"]] = "hub"
    path: ByContent[str | None] = None
    revision: Hashed[str | None] = None
    chat_template: Hashed[Literal["own", "chatml", "plain", "r1-zero"]] = "own"
    layers: Hashed[PositiveInt | None] = None
    lr: Hashed[PeakRates | None] = None
    license: Unhashed[str | None] = None


def locate(model: ModelConfig) -> Path | None:
    """The folder to load from, None for `tiny`; converts or downloads what is not there yet.

    Raises BadInput where the folder is no model, its run is unfinished, or the hub is needed and out of reach.
    """
    if model.layers is not None and model.kind != "served":
        return _shorter(model, model.layers)
    if model.kind == "tiny":
        return None
    if model.kind == "packaged":
        return packaged.packaged()
    if model.path is None:
        raise BadInput("model.path is needed: a folder or a hub id")
    folder = Path(model.path)
    if not folder.exists() and let_go(folder.parent):
        raise BadInput(
            f"model={folder}: its weights were removed after they had been evaluated (retain=scores); train it again"
        )
    if folder.is_dir():
        if (folder.parent / "manifest.json").exists() or (folder.parent / "config.yaml").exists():
            check_finished(folder.parent)
        if not (folder / "config.json").exists() or not any(
            f for w in WEIGHTS for f in folder.glob(w)
        ):
            hint = (
                f"; did you mean {folder / 'model'}?"
                if (folder / "model" / "config.json").exists()
                else ""
            )
            raise BadInput(
                f"model={folder} is no model folder: it lacks config.json or weights{hint}"
            )
        return folder
    if model.path.startswith((".", "/", "~")) or model.path.count("/") != 1:
        raise BadInput(f"model={model.path} is not a folder here")
    return _from_hub(model)


def _from_hub(model: ModelConfig) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    files = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]
    assert model.path is not None
    try:
        return Path(
            snapshot_download(
                model.path, revision=model.revision, allow_patterns=files, etag_timeout=5
            )
        )
    except (RepositoryNotFoundError, HFValidationError):
        raise BadInput(
            f"model={model.path} is neither a folder here nor on the Hugging Face hub"
        ) from None
    except (LocalEntryNotFoundError, OSError, RuntimeError):
        raise BadInput(
            f"model={model.name}: {model.path} is no folder here, and the Hugging Face hub cannot be reached from here; give a "
            "local folder instead: model=/path/to/folder"
        ) from None


def fingerprint(model: ModelConfig) -> str:
    """Content hash of the weights and tokenizer a model stands for."""
    if model.kind == "tiny":
        return "tiny-1"
    if model.kind == "packaged":
        return packaged.gguf_file()[1]
    if model.kind == "served":
        return f"served:{model.name}"
    if model.path and not Path(model.path).exists() and let_go(Path(model.path).parent):
        return content(Path(model.path))
    folder = locate(model)
    assert folder is not None
    return hash_path(folder)


def load_tokenizer(model: ModelConfig) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    folder = locate(model)
    tokenizer = (
        packaged.tiny_tokenizer() if folder is None else AutoTokenizer.from_pretrained(folder)
    )
    if model.chat_template != "own":
        tokenizer.chat_template = TEMPLATES[model.chat_template]
    if not tokenizer.chat_template:
        raise BadInput(
            f"model={model.name} has no chat template; give model.chat_template=plain (question and answer as plain text) or "
            "r1-zero, for base models, or chatml (where <|im_end|> is a token of its own)"
        )
    if folder is not None:
        check_template(folder, tokenizer)
    return tokenizer


def shape(model: ModelConfig) -> Shape:
    """A model's dimensions, without its weights."""
    return Shape.of(config_of(model))


def size(model: ModelConfig) -> int:
    """A model's number of weights, without reading them."""
    return int(skeleton(model).num_parameters())


def skeleton(model: ModelConfig) -> PreTrainedModel:
    """The model without its weights: every module and every shape, and no memory."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config_of(model))


def config_of(model: ModelConfig) -> Any:
    """Its transformers configuration."""
    from transformers import AutoConfig

    folder = locate(model)
    return packaged.tiny_model().config if folder is None else AutoConfig.from_pretrained(folder)


def load_model(
    model: ModelConfig,
    device: Device,
    *,
    dtype: Dtype = "float32",
    attention: str | None = None,
    four_bit: torch.dtype | None = None,
) -> PreTrainedModel:
    """The model on its device. Training keeps float32 master weights (a small step would be lost in bfloat16); `auto` is
    for inference: bfloat16 on CUDA, float32 elsewhere. With `four_bit` its linear layers but the head are held as 4-bit
    NormalFloat with double quantization and multiplied in that type, under adapters (QLoRA, Dettmers et al. 2023, §3)."""
    import torch
    from transformers import AutoModelForCausalLM

    where = resolve_device(device)
    folder = locate(model)
    if folder is None:
        tiny = packaged.tiny_model().to(where)
        if attention is not None:
            tiny.set_attn_implementation(attention)
        return tiny
    if dtype == "auto":
        dtype = "bfloat16" if where.type == "cuda" else "float32"
    options: dict[str, Any] = {"dtype": getattr(torch, dtype), "attn_implementation": attention}
    if four_bit is None:
        return AutoModelForCausalLM.from_pretrained(folder, **options).to(where)
    from transformers import BitsAndBytesConfig

    quantized = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=four_bit,
    )
    return AutoModelForCausalLM.from_pretrained(
        folder, quantization_config=quantized, device_map={"": where}, **options
    )


def check_four_bit(model: ModelConfig) -> None:
    """Raises BadInput where a model cannot be held in 4 bits."""
    from importlib.util import find_spec

    if find_spec("bitsandbytes") is None:
        raise BadInput("load_in_4bit=true needs an extra: pip install 'ratiocine[qlora]'")
    if locate(model) is None:
        raise BadInput(f"load_in_4bit=true reads a model folder, which model={model.name} has not")


def save_student(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    rendered: Mapping[str, Any] | None,
) -> None:
    """A plain Hugging Face folder that stops where the chat template ends a turn, loadable with nothing of ours. `rendered` is
    kept beside it: how it was taught."""
    if hasattr(model, "merge_and_unload"):
        model = (
            _unquantized(model) if getattr(model, "is_loaded_in_4bit", False) else model
        ).merge_and_unload()
    model.config.use_cache = True
    stop = end_of_turn(tokenizer)
    model.generation_config.eos_token_id = stop
    model.generation_config.pad_token_id = (
        tokenizer.pad_token_id if tokenizer.pad_token_id is not None else stop
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if rendered is not None:
        (folder / FILE).write_text(json.dumps(rendered, indent=2) + "\n", encoding="utf-8")


def add_lora(model: PreTrainedModel, rank: int, targets: str | list[str], *, seed: int) -> Any:
    """LoRA (alpha = 2·rank) on the modules that are named in `targets`, or for `all-linear` on every linear layer but the head;
    `seed` draws the adapters. Raises BadInput where a target is no module of this model."""
    import torch
    from peft import LoraConfig, get_peft_model

    linear = sorted(
        {
            name.rpartition(".")[2]
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear)
        }
    )
    for target in (
        [] if targets == "all-linear" else [targets] if isinstance(targets, str) else targets
    ):
        if not any(
            name == target or name.endswith(f".{target}") for name, _ in model.named_modules()
        ):
            raise BadInput(
                f"lora_targets: '{target}' is no module of this model; its linear layers: {', '.join(linear)}"
            )
    torch.manual_seed(seed)
    return get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets))


def _unquantized(adapted: Any) -> Any:
    """Adapters over 4-bit weights → the same adapters over the same weights in float32: merged into 4-bit ones they would be
    rounded away."""
    import torch
    from peft import get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict

    learned, how = get_peft_model_state_dict(adapted), adapted.peft_config["default"]
    over = get_peft_model(adapted.unload().dequantize(dtype=torch.float32), how)
    set_peft_model_state_dict(over, learned)
    return over


def head(model: Any) -> Any:
    """The module that makes logits of hidden states, whatever the model is wrapped in."""
    while hasattr(model, "module"):
        model = model.module
    return (
        model.get_base_model().get_output_embeddings()
        if hasattr(model, "get_base_model")
        else model.get_output_embeddings()
    )


def _shorter(model: ModelConfig, layers: int) -> Path:
    """The model with fewer layers as a folder in the cache, made on first use."""
    whole = locate(model.model_copy(update={"layers": None}))
    if whole is None:
        raise BadInput(
            f"model.layers={layers} needs a model folder, which model={model.name} has not"
        )
    folder = packaged.cache_folder() / f"{model.name}-{layers}-{_content(whole)[:12]}"
    if not (folder / "config.json").exists():
        packaged.written_once(folder, lambda made: shorten(whole, layers, made))
    return folder


@cache
def _content(folder: Path) -> str:
    return hash_path(folder)
