"""Rows → tensors, padded or concatenated; labels are the completion, end of turn included."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from train.batches import Row

IGNORED = -100  # the label that cross-entropy skips


def collate(rows: Sequence[Row]) -> dict[str, torch.Tensor]:
    """`input_ids`, `attention_mask` and `labels`, each (rows, longest row), padded on the right.

    The mask follows from lengths and not from tokens, as many models pad with their end token."""
    width = max(len(row) for row in rows)
    ids = torch.zeros((len(rows), width), dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row.prompt + row.completion)
        mask[i, : len(row)] = 1
        labels[i, len(row.prompt) : len(row)] = torch.tensor(row.completion)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def collate_packed(rows: Sequence[Row]) -> dict[str, torch.Tensor]:
    """The same tokens concatenated: `input_ids`, `position_ids` and `labels`, each (1, all tokens).

    Positions restart with every row, from which transformers derives which tokens may attend to
    each other. The first token of a row is never a label, so none is predicted from another row."""
    assert all(row.prompt for row in rows)
    labels = [label for row in rows for label in (IGNORED,) * len(row.prompt) + row.completion]
    columns = {
        "input_ids": [token for row in rows for token in row.prompt + row.completion],
        "position_ids": [position for row in rows for position in range(len(row))],
        "labels": labels,
    }
    return {name: torch.tensor([column]) for name, column in columns.items()}


def collate_weighted(rows: Sequence[Row], *, padded: bool = True) -> dict[str, torch.Tensor]:
    """`collate` or `collate_packed`, with what the loss needs: `row`, the row number of each token
    (shaped as `input_ids`), and, each (rows,), `weights` of the labels, `lengths`, and `reasoning`,
    whether the row has a trace."""
    lengths = torch.tensor([len(row) for row in rows])
    batch = collate(rows) if padded else collate_packed(rows)
    numbers = torch.arange(len(rows))
    if padded:
        row_of_token = numbers[:, None].expand(batch["input_ids"].shape)
    else:
        row_of_token = numbers.repeat_interleave(lengths)[None]
    return {
        **batch,
        "row": row_of_token,
        "weights": torch.tensor([row.weight for row in rows]),
        "lengths": lengths,
        "reasoning": torch.tensor([row.mode == "reasoning" for row in rows]),
    }
