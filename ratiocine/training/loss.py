"""Cross-entropy per token over chunks of logits.

torch's own holds logits, log-probabilities and their gradients in float32 for all tokens: three
times the memory, and on a CPU a tenth of a step in memory traffic. Here logits keep their dtype,
and their gradient is recomputed from them in backward.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

CHUNK = 1 << 20  # logits converted to float32 at a time on a CPU, where they stay in its cache
CHUNK_ACCELERATOR = 1 << 26


def token_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Negative log-probabilities (tokens,) of `labels` (tokens,) under `logits` (tokens,
    vocabulary), in float32."""
    losses, _ = _TokenLosses.apply(logits, labels, False)  # type: ignore[no-untyped-call]
    return losses  # type: ignore[no-any-return]


def losses_and_entropies(
    logits: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """`token_losses`, and the entropy of each token's distribution in nats, without a gradient;
    each (tokens,)."""
    return _TokenLosses.apply(logits, labels, True)  # type: ignore[no-any-return, no-untyped-call]


def chunk_size(device: torch.device) -> int:
    """Logits that are converted to float32 at a time."""
    return CHUNK if device.type == "cpu" else CHUNK_ACCELERATOR


class _TokenLosses(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: torch.Tensor, labels: torch.Tensor, entropies: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        total, entropy = (torch.zeros(len(logits), device=logits.device) for _ in range(2))
        for rows in _chunks(logits):
            chunk = logits[rows].float()
            total[rows] = chunk.logsumexp(-1)
            if entropies:
                entropy[rows] = total[rows] - torch.linalg.vecdot(
                    (chunk - total[rows, None]).exp_(), chunk
                )
        ctx.save_for_backward(logits, labels, total)
        ctx.mark_non_differentiable(entropy)
        return total - logits.gather(-1, labels[:, None])[:, 0].float(), entropy

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        logits, labels, total = ctx.saved_tensors
        found = torch.empty_like(logits)
        for rows in _chunks(logits):
            softmax = (logits[rows].float() - total[rows, None]).exp_()
            # ∂loss/∂logits = softmax − onehot(label)
            softmax[torch.arange(len(softmax), device=softmax.device), labels[rows]] -= 1
            found[rows] = softmax.mul_(gradients[0][rows, None]).to(found.dtype)
        return found, None, None


def _chunks(logits: torch.Tensor) -> Iterator[slice]:
    n = max(1, chunk_size(logits.device) // logits.shape[-1])
    return (slice(start, start + n) for start in range(0, len(logits), n))
