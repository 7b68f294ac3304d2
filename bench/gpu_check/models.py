"""python -m bench.gpu_check.models NAME OUT: a model folder of random weights.

The shape is that of a Qwen2.5 model, its vocabulary included; the tokenizer is the byte-level one
of model=tiny, whose 258 tokens are the first of the vocabulary. Nothing is downloaded.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ratiocine.models import QWEN, QwenShape

TINY = QwenShape(64, 128, 2, 4, 2, 1024, tied=True)  # more tokens than the tokenizer has, too


def write(name: str, out: Path) -> None:
    """Weights are stored in bfloat16; training reads them as float32."""
    import torch
    from transformers import Qwen2ForCausalLM

    from ratiocine import devices
    from ratiocine.models import packaged

    tokenizer = packaged.tiny_tokenizer()
    config = (TINY if name == "tiny" else QWEN[name]).config
    config.eos_token_id = config.pad_token_id = tokenizer.eos_token_id
    torch.manual_seed(0)
    with devices.resolve_device("auto"):  # some billion random numbers
        model = Qwen2ForCausalLM(config)
    model.to(device="cpu", dtype=torch.bfloat16).save_pretrained(out)
    tokenizer.save_pretrained(out)


if __name__ == "__main__":
    write(sys.argv[1], Path(sys.argv[2]))
