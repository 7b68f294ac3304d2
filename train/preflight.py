"""The doctor: before the first step, prove on real rows that what is trained is what will be generated.

Each check answers a failure that trains without an error and scores badly: traces that a template deletes, answers or end
tokens that no loss sees, a training prompt that differs from the generation prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ratiocine.errors import BadInput
from ratiocine.prompts import SWITCH, end_of_turn, split
from ratiocine.records import Pair
from ratiocine.rendering import Rendering
from train.batches import IGNORED, Row, collate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def examine(rendering: Rendering, rows: Sequence[Row], pairs: Mapping[str, Pair]) -> None:
    """Check a batch of rows; raises BadInput that names the pair and what is wrong with it."""
    batch = collate(rows)
    stop = end_of_turn(rendering.tokenizer)
    for row, ids, labels in zip(
        rows, batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True
    ):
        if fault := _fault(rendering, pairs[row.id], row, ids, labels, stop):
            raise BadInput(f"doctor: pair '{row.id}' as {row.mode}: {fault}")


def _fault(
    rendering: Rendering, pair: Pair, row: Row, ids: list[int], labels: list[int], stop: int
) -> str | None:
    tokenizer = rendering.tokenizer
    supervised = [token for token in labels if token != IGNORED]
    if not supervised or supervised[-1] != stop:
        return f"the end-of-turn token {tokenizer.decode([stop])!r} is not in the supervised tokens"
    text = tokenizer.decode(supervised[:-1], skip_special_tokens=False)
    wanted = split(pair.side(row.mode))
    if wanted.think is not None and wanted.think not in text:
        return "the trace is not whole in the supervised tokens"
    if not wanted.closed or not wanted.answer or wanted.answer not in text:
        return "the answer is not whole in the supervised tokens"
    messages = [{"role": "user", "content": pair.prompt}]
    thinking = rendering.thinking(row.mode)
    switch = {} if thinking is None else {SWITCH: thinking}
    generation = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_dict=True, **switch
    )["input_ids"]
    start = labels.index(supervised[0])
    if ids[:start] != list(generation):
        return "the training prompt is not the generation prompt, token for token"
    if pair.prompt.strip() not in tokenizer.decode(ids[:start], skip_special_tokens=False):
        return "the chat template changes the prompt"
    return None


def show(tokenizer: PreTrainedTokenizerBase, row: Row) -> str:
    """One row as text, the supervised part between marks."""
    prompt = tokenizer.decode(list(row.prompt), skip_special_tokens=False)
    completion = tokenizer.decode(list(row.completion), skip_special_tokens=False)
    return f"{prompt}⟦{completion}⟧"
