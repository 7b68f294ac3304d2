"""The length dial: models between, beyond or among others of one shape, as pure functions of their weights.

`along` goes from one model towards another: below 1 it is between them, above it goes on in the same direction (CoT-Valve,
arXiv 2502.09601: θ + αΔθ, where Δθ is what fine-tuning has changed, of all weights or of an adapter). `average` is plain weight
merging (Kimi k1.5, arXiv 2501.12599, long2short: equal weights of a long-thinking and a short model).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ratiocine.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

Weights = Mapping[str, "Tensor"]


def along(start: Weights, end: Weights, alpha: float) -> dict[str, Tensor]:
    """start + alpha · (end − start), in float32 and back in the type of `start`."""
    return average([start, end], [1 - alpha, alpha])


def average(models: Sequence[Weights], shares: Sequence[float] | None = None) -> dict[str, Tensor]:
    """The weighted sum of models whose weights have the same names and shapes; equal shares where none are given. What is no
    floating-point number is the first model's. Raises BadInput where the models differ in shape."""
    shares = shares or [1 / len(models)] * len(models)
    first = models[0]
    for number, other in enumerate(models[1:], 2):
        if differing := first.keys() ^ other.keys():
            raise BadInput(
                f"model 1 and model {number} are not of one shape: only one of them has '{min(differing)}'"
            )
        for name in first:
            if first[name].shape != other[name].shape:
                shapes = f"{tuple(first[name].shape)} and {tuple(other[name].shape)}"
                raise BadInput(
                    f"model 1 and model {number} are not of one shape: '{name}' is {shapes}"
                )
    made: dict[str, Tensor] = {}
    for name, tensor in first.items():
        if tensor.is_floating_point():
            total = shares[0] * tensor.float()
            for share, model in zip(shares[1:], models[1:], strict=True):
                total = total + share * model[name].float()
            made[name] = total.to(tensor.dtype)
        else:
            made[name] = tensor
    return made
