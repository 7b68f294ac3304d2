"""Token counts of pairs: computed once per tokenizer, stored beside the pairs, and read without
their texts."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ratiocine.hashing import batched, digest
from ratiocine.progress import tracked
from ratiocine.prompts import prompt_text
from ratiocine.records import SIDES, Pair
from ratiocine.stores import ROW_GROUP, stream_pairs

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hash of what token counts depend on: the tokenizer and its chat template, not the weights."""
    return digest(tokenizer.backend_tokenizer.to_str(), tokenizer.chat_template)[:16]


def count(pairs: Iterable[Pair], tokenizer: PreTrainedTokenizerBase) -> Iterator[dict[str, int]]:
    """Tokens of each pair's rendered prompt and of both completions, end of turn included."""
    for some in batched(pairs, ROW_GROUP):  # a fast tokenizer encodes a batch on all cores
        texts = (
            [prompt_text(tokenizer, p.prompt) for p in some],
            [p.ift for p in some],
            [p.reasoning for p in some],
        )
        prompt, ift, reasoning = (
            tokenizer(side, add_special_tokens=False)["input_ids"] for side in texts
        )
        for ids in zip(prompt, ift, reasoning, strict=True):
            yield {"prompt": len(ids[0]), "ift": len(ids[1]) + 1, "reasoning": len(ids[2]) + 1}


def columns(file: Path, names: Mapping[str, str]) -> dict[str, array[int]]:
    """Integer columns of a parquet file, by the keys of `names`."""
    import pyarrow.parquet as pq

    table = pq.read_table(file, columns=list(names.values()))
    return {
        name: array("i", table[column].to_numpy().astype("int32").tobytes())
        for name, column in names.items()
    }


def write_lengths(
    path: Path, pairs: Path, n: int, tokenizers: Mapping[str, PreTrainedTokenizerBase]
) -> None:
    """Write one row for each of `n` pairs, in the order of the `pairs` file: its id, and per
    tokenizer three columns `HASH.prompt`, `HASH.ift`, `HASH.reasoning` (`tokenizer_hash`)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"id": pa.array([pair.id for pair in stream_pairs(pairs)])}
    for name, tokenizer in tokenizers.items():
        counts = {side: array("i") for side in SIDES}
        for row in tracked(count(stream_pairs(pairs), tokenizer), n, f"tokens of {name}", "pairs"):
            for side in SIDES:
                counts[side].append(row[side])
        key = tokenizer_hash(tokenizer)
        columns |= {f"{key}.{side}": pa.array(counts[side], pa.int32()) for side in SIDES}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    pq.write_table(pa.table(columns), temporary)
    os.replace(temporary, path)
