"""A smaller model of a large one: fewer of its layers (depth pruning), as a plain folder that must be trained to be of use.

Which layers matter least is known from measurement: the deep ones before the last few change their input least (Gromov et al.
2024, arXiv 2403.17887; Men et al. 2024, arXiv 2403.03853). So the first layers are kept, and the last, which speaks.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ratiocine.errors import BadInput

LAYER = re.compile(r"(.*\blayers\.)(\d+)(\..*)")


def kept(n: int, layers: int) -> list[int]:
    """Which of `n` layers are kept."""
    return [*range(layers - 1), n - 1]


def renumbered(weights: Mapping[str, Any], layers: list[int]) -> dict[str, Any]:
    """The weights of these layers under their new numbers, and all that is in no layer."""
    place = {old: new for new, old in enumerate(layers)}
    found = {}
    for name, value in weights.items():
        match = LAYER.fullmatch(name)
        if match is None:
            found[name] = value
        elif int(match[2]) in place:
            found[f"{match[1]}{place[int(match[2])]}{match[3]}"] = value
    return found


def shorten(folder: Path, layers: int, out: Path) -> None:
    """Write the model in `folder` with so many layers to `out`. Raises BadInput where it has not more."""
    from safetensors.torch import load_file, save_file

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    n = config.get("num_hidden_layers")
    if n is None or not 1 < layers < n:
        raise BadInput(
            f"model.layers={layers}: {folder.name} has {n or 'no known number of'} layers; 2 or more, and fewer"
        )
    chosen, weights = kept(n, layers), dict[str, Any]()
    for file in sorted(folder.glob("*.safetensors")):
        weights |= renumbered(load_file(file), chosen)
    out.mkdir(parents=True)
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    config["num_hidden_layers"] = layers
    if "layer_types" in config:
        config["layer_types"] = [config["layer_types"][layer] for layer in chosen]
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    for file in folder.iterdir():
        beside = file.suffix in (".json", ".jinja", ".model", ".txt") and "index" not in file.name
        if file.is_file() and beside and not (out / file.name).exists():
            shutil.copyfile(file, out / file.name)
