"""Depth pruning: a model with fewer layers, to be trained before use.

The layers that change their input least are the deep ones before the last few (Gromov et al. 2024,
arXiv 2403.17887; Men et al. 2024, arXiv 2403.03853). Here no layer is measured: the first layers
and the last one are kept.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ratiocine.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

LAYER = re.compile(r"(.*\blayers\.)(\d+)(\..*)")
T = TypeVar("T")


def kept_layers(total: int, layers: int) -> list[int]:
    """Indices of the layers to keep: the first ones and the last."""
    return [*range(layers - 1), total - 1]


def renumber_layers(weights: Mapping[str, T], layers: list[int]) -> dict[str, T]:
    """The weights of these layers under consecutive numbers, and all weights outside layers."""
    position = {old: new for new, old in enumerate(layers)}
    renumbered = {}
    for name, value in weights.items():
        match = LAYER.fullmatch(name)
        if match is None:
            renumbered[name] = value
        elif int(match[2]) in position:
            renumbered[f"{match[1]}{position[int(match[2])]}{match[3]}"] = value
    return renumbered


def prune_layers(folder: Path, layers: int, out: Path) -> None:
    """Write the model in `folder` with `layers` layers to `out`.

    Raises BadInput unless 2 ≤ `layers` < those of the model.
    """
    from safetensors.torch import load_file, save_file

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    total = config.get("num_hidden_layers")
    if total is None or not 1 < layers < total:
        raise BadInput(
            f"model.layers={layers}: {folder.name} has {total or 'an unknown number of'} layers; "
            "at least 2 and fewer than that are allowed"
        )
    kept = kept_layers(total, layers)
    weights: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        weights |= renumber_layers(load_file(file), kept)
    out.mkdir(parents=True)
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    config["num_hidden_layers"] = layers
    if "layer_types" in config:
        config["layer_types"] = [config["layer_types"][layer] for layer in kept]
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    for file in folder.iterdir():
        copied = file.suffix in (".json", ".jinja", ".model", ".txt") and "index" not in file.name
        if file.is_file() and copied and not (out / file.name).exists():
            shutil.copyfile(file, out / file.name)
