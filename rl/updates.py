"""The answers of a step, assigned to updates and ranks, and cut into micro-batches of like
length."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ratiocine.executors import distributed
from ratiocine.records import Completion
from rl.config import Config
from rl.rollouts import Step

Inputs = dict[str, Any]
"""A batch as TRL passes it around: tensors by name, one row per answer."""


@dataclass(frozen=True)
class Answer:
    """An answer to learn from."""

    prompt: tuple[int, ...]
    completion: Completion
    reward: float
    advantage: float

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion.token_ids or ())

    def has_gradient(self, config: Config) -> bool:
        """Whether its loss has a gradient: not masked, and advantage, `beta` or `tau` not 0."""
        objective = config.objective
        masked = objective.mask_truncated_completions and self.completion.stop != "stop"
        return not masked and bool(self.advantage or objective.beta or objective.tau)


def answers_of(step: Step) -> list[Answer]:
    """All answers of a step, group by group; a reward that is not defined counts as 0."""
    return [
        Answer(group.prompt, completion, reward or 0.0, advantage)
        for group in step.groups
        for completion, reward, advantage in zip(
            group.completions, group.rewards, group.advantages, strict=True
        )
    ]


def assign_answers(
    answers: list[Answer], config: Config, global_step: int
) -> tuple[list[bool], list[Answer]]:
    """For each update whether any of its answers has a gradient (`Answer.has_gradient`), and this
    rank's answers, update by update.

    With `num_minibatches` above 1 answers are shuffled first. An update's answers are dealt to the
    ranks in turn, those with a gradient first, longest first, so that all have about equal work."""
    if config.num_minibatches > 1:
        random.Random(f"{config.seed} {global_step}").shuffle(answers)
    size, learning, assigned = len(answers) // config.num_minibatches, list[bool](), list[Answer]()
    for start in range(0, len(answers), size):
        part = answers[start : start + size]
        gradients = [answer.has_gradient(config) for answer in part]
        learning.append(any(gradients))
        if distributed.world_size() > 1:
            order = sorted(range(size), key=lambda at: (not gradients[at], -len(part[at])))
            part = [part[at] for at in order[distributed.rank() :: distributed.world_size()]]
        assigned += part
    return learning, assigned


def micro_batches(
    batch: Inputs,
    needed: torch.Tensor,
    learning: Sequence[bool],
    size: int,
    per_update: int,
    fill: Callable[[bool], bool],
) -> list[Inputs]:
    """`per_update` micro-batches of at most `size` rows for each update: its rows where `needed` is
    True (those with a term in the loss), longest first; the last micro-batches may be empty.
    `learning` states for each update whether an answer of any rank has a gradient.

    Each gets two more items: `counts`, False if it is empty, and `idle`, True if no answer of its
    update has a gradient. Where `fill(idle)` is true, an empty one gets a row whose loss is
    multiplied by 0, as other ranks wait for this rank's gradients."""
    mask = batch["completion_mask"]
    lengths = (batch["prompt_mask"].sum(-1) + mask.sum(-1)).tolist()
    rows, answered = range(len(batch["completion_ids"])), mask.any(-1).tolist()
    filler = next((row for row in rows if answered[row]), 0)
    found = []
    for update, has_gradient in enumerate(learning):
        start = update * size * per_update
        part = [row for row in rows[start : start + size * per_update] if needed[row]]
        part.sort(key=lambda row: -lengths[row])
        for at in range(per_update):
            chosen = part[at * size : (at + 1) * size]
            counts, idle = bool(chosen), not has_gradient
            if not counts and fill(idle):
                chosen = [filler]
            inputs = select_rows(batch, chosen) if chosen else {}
            found.append({**inputs, "counts": counts, "idle": idle})
    return found


def select_rows(batch: Inputs, rows: Sequence[int]) -> Inputs:
    """Some rows, without the columns that none of them uses."""
    at = torch.tensor(rows, device=batch["advantages"].device)
    start = int(batch["prompt_mask"][at].any(0).nonzero()[0])
    columns = batch["completion_mask"][at].any(0).nonzero()
    end = int(columns[-1]) + 1 if len(columns) else 1  # a truncated answer may be masked whole
    kept = {"prompt_ids": slice(start, None), "prompt_mask": slice(start, None)}
    found = {}
    for name, value in batch.items():
        if not isinstance(value, torch.Tensor) or value.dim() == 0:
            found[name] = value
        elif value.dim() == 1:
            found[name] = value[at]
        else:
            found[name] = value[at][:, kept.get(name, slice(0, end))]
    return found
