"""Cross-entropy of single tokens, some rows of logits at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

CELLS = (
    1 << 20
)  # logits that are looked at at once on a CPU: they and what is made of them stay in its cache
CELLS_ELSEWHERE = 1 << 26


def token_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Of each row of logits (tokens, vocabulary) the negative log-probability of its label, in float32.

    torch's own keeps logits and log-probabilities in float32 for all tokens, and then their gradients: three times the memory,
    and on a CPU a tenth of a step in moving it. Here logits stay as they are, and their gradient is made of them in backward.
    """
    return _TokenLosses.apply(logits, labels, False)[0]  # type: ignore[no-any-return, no-untyped-call]


def losses_and_entropies(
    logits: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """`token_losses`, and of each row the entropy of its distribution, in nats, through which no gradient flows."""
    return _TokenLosses.apply(logits, labels, True)  # type: ignore[no-any-return, no-untyped-call]


class _TokenLosses(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: torch.Tensor, labels: torch.Tensor, entropies: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        total, entropy = (torch.zeros(len(logits), device=logits.device) for _ in range(2))
        for rows in _some(logits):
            some = logits[rows].float()
            total[rows] = some.logsumexp(-1)
            if entropies:
                entropy[rows] = total[rows] - torch.linalg.vecdot(
                    (some - total[rows, None]).exp_(), some
                )
        ctx.save_for_backward(logits, labels, total)
        ctx.mark_non_differentiable(entropy)
        return total - logits.gather(-1, labels[:, None])[:, 0].float(), entropy

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        logits, labels, total = ctx.saved_tensors
        made = torch.empty_like(logits)
        for rows in _some(logits):
            likely = (
                logits[rows].float() - total[rows, None]
            ).exp_()  # softmax; the derivative at the label is one less
            likely[torch.arange(len(likely), device=likely.device), labels[rows]] -= 1
            made[rows] = likely.mul_(gradients[0][rows, None]).to(made.dtype)
        return made, None, None


def _some(logits: torch.Tensor) -> Iterator[slice]:
    """Some rows after the other."""
    n = max(1, (CELLS if logits.device.type == "cpu" else CELLS_ELSEWHERE) // logits.shape[-1])
    return (slice(start, start + n) for start in range(0, len(logits), n))
