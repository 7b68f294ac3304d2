"""Preflight check: before the first step, verify on real rows that training targets match
generation.

Each check guards against a failure that trains without an error and scores badly: traces that a
chat template deletes, answers or end-of-turn tokens outside the loss, a training prompt that
differs from the generation prompt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ratiocine.completion_parts import split
from ratiocine.errors import BadInput
from ratiocine.prompts import SWITCH, control_tokens, end_of_turn, prompt_ids
from ratiocine.records import MODES, Mode, Pair
from ratiocine.rendering import Rendering
from train.batches import Row, RowDataset
from train.collation import IGNORED, collate
from train.planning import TrainingPlan

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PER_SOURCE = 4  # pairs


def report(plan: TrainingPlan, *, example: bool = False) -> str:
    """Check some pairs of every source in both modes; returns a summary, with `example` also one
    row of a mode that is trained. Raises BadInput as `check_rows` does."""
    rows, pairs = sample(plan)
    check_rows(plan.rendering, rows, pairs)
    summary = f"preflight: {len(rows)} rows have the prompts and endings of generation"
    if not example:
        return f"{summary} (preflight=true shows one)"
    trained: Mode = "reasoning" if plan.has_reasoning else "ift"
    shown = show(plan.rendering.tokenizer, next(row for row in rows if row.mode == trained))
    return f"{summary}; one of them, supervised between ⟦ ⟧:\n{shown}"


def sample(plan: TrainingPlan) -> tuple[list[Row], dict[str, Pair]]:
    """Rows in both modes of the first pairs of every source, and these pairs by id."""
    dataset, seen = RowDataset(plan.dataset, plan.rendering), Counter[str]()
    rows, pairs = list[Row](), dict[str, Pair]()
    for name in (name for stage in plan.stages for name in stage.mixture.order):
        source = plan.dataset.source(name)
        if seen[source] < PER_SOURCE and name not in pairs:
            pairs[name], seen[source] = plan.dataset.pair(name), seen[source] + 1
            rows += [dataset[name, mode, 1.0] for mode in MODES]
    return rows, pairs


def check_rows(rendering: Rendering, rows: Sequence[Row], pairs: Mapping[str, Pair]) -> None:
    """Check rows as collated; raises BadInput that names the pair and its fault."""
    batch = collate(rows)
    stop = end_of_turn(rendering.tokenizer)
    for row, ids, labels in zip(
        rows, batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True
    ):
        if fault := _fault(rendering, pairs[row.id], row, ids, labels, stop):
            raise BadInput(f"preflight: pair '{row.id}' as {row.mode}: {fault}")


def _fault(
    rendering: Rendering, pair: Pair, row: Row, ids: list[int], labels: list[int], stop: int
) -> str | None:
    tokenizer = rendering.tokenizer
    supervised = [token for token in labels if token != IGNORED]
    if not supervised or supervised[-1] != stop:
        return f"the end-of-turn token {tokenizer.decode([stop])!r} is not in the supervised tokens"
    text = tokenizer.decode(supervised[:-1], skip_special_tokens=False)
    target = split(pair.side(row.mode))
    if target.think is not None and target.think not in text:
        return "the trace is not whole in the supervised tokens"
    if not target.closed or not target.answer or target.answer not in text:
        return "the answer is not whole in the supervised tokens"
    start, thinking = labels.index(supervised[0]), rendering.thinking(row.mode)
    if _controls(tokenizer, supervised[:-1]) or (
        _controls(tokenizer, ids[:start])
        != _controls(tokenizer, prompt_ids(tokenizer, "?", thinking=thinking))
    ):
        return "a control token of the chat template stands within a text"
    if ids[:start] != _generation_prompt(tokenizer, pair.prompt, thinking):
        return "the training prompt is not the generation prompt, token for token"
    if pair.prompt.strip() not in tokenizer.decode(ids[:start], skip_special_tokens=False):
        return "the chat template changes the prompt"
    return None


def _generation_prompt(
    tokenizer: PreTrainedTokenizerBase, prompt: str, thinking: bool | None
) -> list[int]:
    """As transformers makes it, which takes a control token within a message for one."""
    control = control_tokens(tokenizer)
    if control is not None and control.search(prompt):
        return prompt_ids(tokenizer, prompt, thinking=thinking)
    switch = {} if thinking is None else {SWITCH: thinking}
    messages = [{"role": "user", "content": prompt}]
    return list(
        tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=True, **switch
        )["input_ids"]
    )


def _controls(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[int]:
    """The control tokens among these, in order."""
    control = control_tokens(tokenizer)
    if control is None:
        return []
    return [one for one in ids if control.fullmatch(tokenizer.convert_ids_to_tokens(one))]


def show(tokenizer: PreTrainedTokenizerBase, row: Row) -> str:
    """One row as text, the supervised part in brackets."""
    prompt = tokenizer.decode(list(row.prompt), skip_special_tokens=False)
    completion = tokenizer.decode(list(row.completion), skip_special_tokens=False)
    return f"{prompt}⟦{completion}⟧"
