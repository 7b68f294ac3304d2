"""LoRA adapters, and saving of a student with its adapters merged."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratiocine.errors import BadInput
from ratiocine.models.licenses import write_notice
from ratiocine.prompts import stop_ids
from ratiocine.rendering import TrainedFormat
from ratiocine.stores import read_object

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def add_lora(
    model: PreTrainedModel, rank: int, targets: str | list[str], *, seed: int
) -> PeftModel:
    """LoRA with alpha = 2·rank on the modules named in `targets`.

    `all-linear` is every linear layer except the head; `seed` initialises the adapters. Raises
    BadInput if the model has no module of a target's name.
    """
    import torch
    from peft import LoraConfig

    names = [name for name, _ in model.named_modules()]
    wanted = [targets] if isinstance(targets, str) else targets
    for target in [] if targets == "all-linear" else wanted:
        if not any(name == target or name.endswith(f".{target}") for name in names):
            linear = {
                name.rpartition(".")[2]
                for name, module in model.named_modules()
                if isinstance(module, torch.nn.Linear)
            }
            raise BadInput(
                f"lora_targets: '{target}' is no module of this model; its linear layers: "
                f"{', '.join(sorted(linear))}"
            )
        head = model.get_output_embeddings()
        of_head = (name for name, module in model.named_modules() if module is head)
        if model.config.get_text_config().tie_word_embeddings and any(
            name == target or name.endswith(f".{target}") for name in of_head
        ):
            raise BadInput(
                f"lora_targets: '{target}' is tied to the embedding of this model, which a merged "
                "adapter would change too; leave it out"
            )
    torch.manual_seed(seed)
    return _adapted(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets))


def _adapted(model: Any, config: Any) -> PeftModel:
    from peft import get_peft_model

    with warnings.catch_warnings():  # peft calls what transformers has deprecated
        warnings.simplefilter("ignore", FutureWarning)
        return get_peft_model(model, config)


def save_student(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    trained: TrainedFormat | None,
    licenses: Iterable[str | None] = (),
) -> None:
    """Save a plain Hugging Face folder, adapters merged.

    Its generation config stops at the chat template's end of turn and at the tokenizer's end of
    text. `trained` is saved as
    `rendering.json`, and what the `licenses` require as `NOTICE`.
    """
    if hasattr(model, "merge_and_unload"):
        quantized = getattr(model, "is_loaded_in_4bit", False)
        model = (_dequantized(model) if quantized else model).merge_and_unload()
    model.config.use_cache = True
    stops, pad = stop_ids(tokenizer), tokenizer.pad_token_id
    model.generation_config.eos_token_id = stops[0] if len(stops) == 1 else list(stops)
    model.generation_config.pad_token_id = stops[0] if pad is None else pad
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if trained is not None:
        trained.write(folder)
    write_notice(folder, licenses)


def merge_adapter(adapter: Path, base: Path, tokenizer: Path, folder: Path) -> None:
    """Save the model of the folder `base` with a LoRA adapter merged in float32.

    Raises BadInput if the adapter is of another kind or does not fit the base model.
    """
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    try:
        merged = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    except (RuntimeError, ValueError, AttributeError, OSError) as error:
        raise BadInput(
            f"model={adapter} cannot be merged with its base model {base}: "
            f"{str(error).strip().splitlines()[0]}"
        ) from None
    merged.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokenizer).save_pretrained(folder)


# Keys of an adapter's configuration that leave it a sum of two matrices per linear layer.
_PLAIN = {
    *("auto_mapping", "base_model_name_or_path", "exclude_modules", "inference_mode"),
    *("layers_pattern", "layers_to_transform", "lora_alpha", "lora_dropout", "megatron_core"),
    *("peft_type", "peft_version", "qalora_group_size", "r", "revision", "runtime_config"),
    *("target_modules", "task_type", "use_rslora"),
}


def more_than_lora(adapter: Path) -> str | None:
    """What an adapter is beyond two matrices for each of some linear layers of its blocks, such as
    `use_dora=True` or `weights of lm_head`; None for a plain one, which any server of adapters
    can apply."""
    from safetensors import safe_open

    config = read_object(adapter / "adapter_config.json")
    if config.get("peft_type") != "LORA":
        return f"peft_type={config.get('peft_type')}"
    if config.get("init_lora_weights") in (True, False, "gaussian"):
        config.pop("init_lora_weights")
    for key, value in config.items():
        if key not in _PLAIN and value and not (key == "bias" and value == "none"):
            return f"{key}={value}"
    weights = adapter / "adapter_model.safetensors"
    if not weights.exists():
        return f"no {weights.name}"
    with safe_open(weights, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118  (no iterable)
            if ".layers." not in name or not name.endswith((".lora_A.weight", ".lora_B.weight")):
                return f"weights of {name.removeprefix('base_model.model.')}"
            shape = file.get_slice(name).get_shape()
            if config.get("r") != (rank := shape[0 if "lora_A" in name else 1]):
                return f"r={config.get('r')}, and weights of rank {rank}"
    return None


def _dequantized(adapted: Any) -> PeftModel:
    """The same adapters over the weights in float32: merging into 4-bit weights would round the
    adapters away."""
    import torch
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    state, config = get_peft_model_state_dict(adapted), adapted.peft_config["default"]
    base = adapted.unload().dequantize(dtype=torch.float32).float()
    float32 = _adapted(base, config)
    set_peft_model_state_dict(float32, state)
    return float32
