"""Weight merging for the length of reasoning: extrapolation between two models, and averages.

`extrapolate` moves from one model towards another, below alpha = 1 between them and above it
beyond the second (CoT-Valve, arXiv 2502.09601: θ + αΔθ, with Δθ the change by fine-tuning, of all
weights or of an adapter). `average` is plain weight averaging (Kimi k1.5, arXiv 2501.12599,
long2short: equal weights of a long-thinking and a short model).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ratiocine.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

Weights = Mapping[str, "Tensor"]


def extrapolate(start: Weights, end: Weights, alpha: float) -> dict[str, Tensor]:
    """start + alpha · (end − start), computed in float32, in the dtype of `start`."""
    return average([start, end], [1 - alpha, alpha])


def average(
    models: Sequence[Weights], coefficients: Sequence[float] | None = None
) -> dict[str, Tensor]:
    """The weighted sum of models of one shape, with equal coefficients by default.

    Tensors that are not floating-point are those of the first model. Raises BadInput if names or
    shapes differ.
    """
    coefficients = coefficients or [1 / len(models)] * len(models)
    _check_shapes(models)
    merged: dict[str, Tensor] = {}
    for name, tensor in models[0].items():
        if not tensor.is_floating_point():
            merged[name] = tensor
            continue
        total = coefficients[0] * tensor.float()
        for coefficient, model in zip(coefficients[1:], models[1:], strict=True):
            total = total + coefficient * model[name].float()
        merged[name] = total.to(tensor.dtype)
    return merged


def _check_shapes(models: Sequence[Weights]) -> None:
    first = models[0]
    for number, other in enumerate(models[1:], 2):
        differ = f"model 1 and model {number} are not of one shape"
        if names := first.keys() ^ other.keys():
            raise BadInput(f"{differ}: only one of them has '{min(names)}'")
        for name in first:
            if first[name].shape != other[name].shape:
                shapes = f"{tuple(first[name].shape)} and {tuple(other[name].shape)}"
                raise BadInput(f"{differ}: '{name}' is {shapes}")
