"""python -m launch.memory: which models can be trained on which cards, and what the cards then tell each other, as tables.

From `ratiocine.memory` and `ratiocine.memory.communication`, that is from shapes: nothing is loaded, and nothing was measured on a
GPU.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import torch

from ratiocine import memory, models
from ratiocine.cost import Shape
from ratiocine.memory import Counts, Largest, Need, Spread, counted, sent
from ratiocine.models import ModelConfig
from ratiocine.training import Compute, Sharding, TrainingConfig

# Widths of model and feed-forward, layers, heads, key-value heads, vocabulary, and whether the head is the embedding:
# config.json of Qwen/Qwen2.5-0.5B … 14B on the Hugging Face hub.
QWEN = {
    "qwen2.5-0.5b": (896, 4864, 24, 14, 2, 151936, True),
    "qwen2.5-1.5b": (1536, 8960, 28, 12, 2, 151936, True),
    "qwen2.5-3b": (2048, 11008, 36, 16, 2, 151936, True),
    "qwen2.5-7b": (3584, 18944, 28, 28, 4, 152064, False),
    "qwen2.5-14b": (5120, 13824, 48, 40, 8, 152064, False),
}
SIZES, NUMBERS = (24, 48, 80, 141), (1, 2, 4, 8)
STAGES: tuple[Sharding, ...] = ("none", "zero1", "zero2", "zero3")
ROOM = 0.92  # share of a card that tensors can take: the rest is CUDA's, and what its allocator cannot use
LINKS = (25, 100, 400)  # GB/s that a card sends at
BATCH = 32


@cache
def known(name: str, rank: int) -> tuple[Shape, Counts]:
    """A model's dimensions and its numbers of weights, with adapters of this rank; from a folder where it is none of QWEN."""
    model: Any
    if name in QWEN:
        from transformers import Qwen2Config, Qwen2ForCausalLM

        width, ff, layers, heads, kv_heads, vocab, tied = QWEN[name]
        with torch.device("meta"):
            model = Qwen2ForCausalLM(
                Qwen2Config(
                    hidden_size=width,
                    intermediate_size=ff,
                    num_hidden_layers=layers,
                    num_attention_heads=heads,
                    num_key_value_heads=kv_heads,
                    vocab_size=vocab,
                    tie_word_embeddings=tied,
                )
            )
    else:
        model = models.skeleton(ModelConfig(name="local", path=name))
    return Shape.of(model.config), counted(model, rank)


def need(
    name: str,
    spread: Spread,
    options: argparse.Namespace,
    *,
    lora: bool = False,
    four_bit: bool = False,
) -> Need:
    """Of each card, in the settings of the tables."""
    config = TrainingConfig(
        model=ModelConfig(name=name),
        lora=lora,
        load_in_4bit=four_bit,
        gradient_checkpointing=True,
        micro_batch_size=options.rows,
    )
    chosen = Compute(torch.device("cuda"), torch.bfloat16, "flash_attention_2", padding_free=False)
    largest = Largest(options.rows, options.length, options.rows * options.length)
    return memory.estimate(
        *known(name, config.lora_rank if lora else 0), config, chosen, largest, spread
    )


def fitting(name: str, size: int, cards: int, options: argparse.Namespace, *, lora: bool) -> str:
    """What to say so that a run fits on so many cards of so many GB: the least that is cut."""
    free = ROOM * size * 2**30
    for stage in STAGES if cards > 1 else STAGES[:1]:
        if need(name, Spread(stage, cards), options, lora=lora).total <= free:
            return "fits" if stage == "none" else stage
    if lora and need(name, Spread("none", cards), options, lora=True, four_bit=True).total <= free:
        return "4-bit"
    return "–"


def cards(options: argparse.Namespace) -> Iterator[str]:
    """Which stage for which model on which cards."""
    yield "| | " + " | ".join(f"{size} GB" for size in SIZES) + " |"
    yield "|---" * (len(SIZES) + 1) + "|"
    for name in options.models:
        for lora in (False, True):
            cells = [
                " / ".join(fitting(name, size, n, options, lora=lora) for n in NUMBERS)
                for size in SIZES
            ]
            yield f"| {name}, {'LoRA' if lora else 'all weights'} | " + " | ".join(cells) + " |"


def bytes_each(options: argparse.Namespace) -> Iterator[str]:
    """GB of each of eight cards, by stage, and of one."""
    eight = NUMBERS[-1]
    yield (
        "| | 1 GPU | "
        + " | ".join(f"{eight} GPUs, {stage}" for stage in STAGES)
        + " | 1 GPU, 4-bit |"
    )
    yield "|---" * (len(STAGES) + 3) + "|"
    for name in options.models:
        for lora in (False, True):
            spreads = [Spread(), *(Spread(stage, eight) for stage in STAGES)]
            cells = [
                f"{need(name, spread, options, lora=lora).total / 2**30:.1f}" for spread in spreads
            ]
            cells += [
                f"{need(name, Spread(), options, lora=True, four_bit=True).total / 2**30:.1f}"
                if lora
                else "–"
            ]
            yield f"| {name}, {'LoRA' if lora else 'all weights'} | " + " | ".join(cells) + " |"


def told(options: argparse.Namespace) -> Iterator[str]:
    """What each of eight cards sends in a step of a global batch, and how long that takes at the speeds of LINKS."""
    eight = NUMBERS[-1]
    yield "| | " + " | ".join(STAGES) + " |"
    yield "|---" * (len(STAGES) + 1) + "|"
    for name in options.models:
        for lora in (False, True):
            counts = known(name, 16 if lora else 0)[1]
            cells = []
            for stage in STAGES:
                gb = (
                    sent(counts, Spread(stage, eight), -(-BATCH // (eight * options.rows))).total
                    / 1e9
                )
                cells.append(f"{gb:.3g} GB: " + " / ".join(f"{gb / link:.2g}" for link in LINKS))
            yield f"| {name}, {'LoRA' if lora else 'all weights'} | " + " | ".join(cells) + " |"


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m launch.memory", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "models",
        nargs="*",
        default=list(QWEN),
        help=f"folders, hub ids, or of {', '.join(QWEN)}; default these",
    )
    parser.add_argument("--rows", type=int, default=1, help="of a micro-batch (default 1)")
    parser.add_argument(
        "--length", type=int, default=4096, help="of a row, all of it learned from (default 4096)"
    )
    options = parser.parse_args(words)
    for table in (cards, bytes_each, told):
        print(*table(options), sep="\n", end="\n\n")


if __name__ == "__main__":
    main()
