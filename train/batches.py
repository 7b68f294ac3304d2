"""Pairs → token rows → padded micro-batches. Every row goes through here, in training and in the doctor's check."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ratiocine.prompts import completion_ids, prompt_ids
from ratiocine.traces import MODES, Mode, Pair
from train.mixture import Mixture

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

IGNORED = -100  # the label that cross-entropy skips


@dataclass(frozen=True)
class Row:
    """One problem in one format: token ids of the prompt, and of the completion with its end of turn."""

    id: str
    mode: Mode
    prompt: tuple[int, ...]
    completion: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)


def tokenize(tokenizer: PreTrainedTokenizerBase, pair: Pair) -> dict[Mode, Row]:
    """Both sides of a pair."""
    prompt = tuple(prompt_ids(tokenizer, pair.prompt))
    return {mode: Row(pair.id, mode, prompt, tuple(completion_ids(tokenizer, pair.side(mode)))) for mode in MODES}


def fitting(rows: dict[str, dict[Mode, Row]], max_length: int) -> tuple[dict[str, dict[Mode, Row]], dict[str, int]]:
    """The pairs of which *both* sides fit, so that every ratio has the same problems, and how many sides did not, by
    format. Nothing is ever cut short."""
    too_long = Counter(mode for sides in rows.values() for mode in MODES if len(sides[mode]) > max_length)
    kept = {i: sides for i, sides in rows.items() if all(len(sides[mode]) <= max_length for mode in MODES)}
    return kept, {"pairs": len(rows) - len(kept), **{mode: too_long[mode] for mode in MODES}}


@dataclass
class MicroBatches:
    """A batch sampler: for every global batch, its micro-batches as lists of indices into `ids`.

    The ids of a global batch are fixed by the mixture; inside it rows of like length go together, longest first. Each
    global batch but an epoch's last has ceil(batch_size / micro_batch_size) of them.
    """

    ids: Sequence[str]
    lengths: Sequence[int]
    mixture: Mixture
    batch_size: int
    micro_batch_size: int
    seed: int
    epoch: int = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        full, rest = divmod(len(self.ids), self.batch_size)
        return full * -(-self.batch_size // self.micro_batch_size) + -(-rest // self.micro_batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        index = {problem_id: i for i, problem_id in enumerate(self.ids)}
        for batch in self.mixture.batches(self.batch_size, self.epoch, self.seed):
            rows = sorted((index[i] for i in batch), key=lambda i: (-self.lengths[i], self.ids[i]))
            yield from (rows[s : s + self.micro_batch_size] for s in range(0, len(rows), self.micro_batch_size))


def collate(rows: Sequence[Row]) -> dict[str, torch.Tensor]:
    """`input_ids`, `attention_mask`, `labels`, each (rows, longest row), padded on the right. Labels are the completion,
    end of turn included; padding is told by length, never by token, because many models pad with their end token."""
    import torch

    width = max(len(row) for row in rows)
    ids = torch.zeros((len(rows), width), dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row.prompt + row.completion)
        mask[i, : len(row)] = 1
        labels[i, len(row.prompt) : len(row)] = torch.tensor(row.completion)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}
