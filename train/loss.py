"""Cross-entropy of single tokens, some rows of logits at a time."""

from __future__ import annotations

from typing import Any

import torch

CELLS = 1 << 20  # logits that are looked at at once on a CPU: they and what is made of them stay in its cache
CELLS_ELSEWHERE = 1 << 26


def token_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Of each row of logits (tokens, vocabulary) the negative log-probability of its label, in float32.

    torch's own keeps logits and log-probabilities in float32 for all tokens, and then their gradients: three times the memory,
    and on a CPU a tenth of a step in moving it. Here logits stay as they are, and their gradient is made of them in backward.
    """
    return _TokenLosses.apply(logits, labels)  # type: ignore[no-any-return]


class _TokenLosses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        parts = []
        for rows in logits.split(_rows(logits)):
            parts.append(rows.float().logsumexp(-1))
        total = torch.cat(parts) if parts else logits.new_zeros(0, dtype=torch.float32)
        ctx.save_for_backward(logits, labels, total)
        return total - logits.gather(-1, labels[:, None])[:, 0].float()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        logits, labels, total = ctx.saved_tensors
        made, size = torch.empty_like(logits), _rows(logits)
        parts = zip(*(x.split(size) for x in (logits, labels, total, gradients[0], made)), strict=True)
        for rows, wanted, sums, weights, out in parts:
            likely = (rows.float() - sums[:, None]).exp_()  # softmax, whose derivative by the label's logit is one less
            likely[torch.arange(len(rows), device=rows.device), wanted] -= 1
            out.copy_(likely.mul_(weights[:, None]))
        return made, None


def _rows(logits: torch.Tensor) -> int:
    return max(1, (CELLS if logits.device.type == "cpu" else CELLS_ELSEWHERE) // logits.shape[-1])
