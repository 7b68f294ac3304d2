"""Log-probabilities and entropies of sampled tokens under a model."""

from __future__ import annotations

import torch

from ratiocine.training import logits, losses_and_entropies, only_at


def token_logprobs(
    model: torch.nn.Module,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    logits_to_keep: int,
    *,
    batch_size: int,
    dtype: torch.dtype,
    temperature: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities and entropies of the last tokens of each row, each (rows,
    `logits_to_keep`), 0 at padding.

    `batch_size` rows at a time, trimmed to the columns that they use, with logits at the last
    tokens only, and autocast to `dtype`.
    """
    width = input_ids.shape[1]
    columns = torch.arange(width - 1, device=attention_mask.device)
    targets = attention_mask[:, 1:].bool() & (columns >= width - 1 - logits_to_keep)
    positions = (attention_mask.cumsum(-1) - 1).clamp(min=0)
    logprobs, entropies = [], []
    cast = torch.autocast(
        input_ids.device.type,
        dtype,
        enabled=dtype != torch.float32,
        cache_enabled=torch.is_grad_enabled(),
    )
    for start in range(0, len(input_ids), batch_size):
        rows = slice(start, start + batch_size)
        used = attention_mask[rows].any(0).nonzero()
        first, end = int(used[0]), int(used[-1]) + 1
        selected = targets[rows, first : end - 1]
        inputs = {
            "input_ids": input_ids[rows, first:end],
            "attention_mask": attention_mask[rows, first:end],
            "position_ids": positions[rows, first:end],
        }
        with cast, only_at(model, selected):
            scores = logits(model, inputs)
            if temperature != 1:
                scores = scores / temperature
            losses, entropy = losses_and_entropies(scores, inputs["input_ids"][:, 1:][selected])
        blank = torch.zeros(targets[rows].shape, device=losses.device)
        where = torch.zeros_like(targets[rows])
        where[:, first : end - 1] = selected
        logprobs.append(blank.masked_scatter(where, -losses)[:, -logits_to_keep:])
        entropies.append(blank.masked_scatter(where, entropy)[:, -logits_to_keep:])
    return torch.cat(logprobs), torch.cat(entropies)
