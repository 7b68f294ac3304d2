"""python -m train.merge START END --alpha 0.5 --out DIR: interpolate or extrapolate the weights of
two students."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from ratiocine import cli
from ratiocine.errors import BadInput


def merge(folders: list[str], out: Path, alpha: float | None) -> None:
    """Write a model folder: the first model plus `alpha` times the difference of the second, or
    with None the mean of all.

    Along the line from a student without traces to one with them, `alpha` sets the length of
    answers. Raises BadInput where the number of models or `out` does not fit."""
    from ratiocine import models
    from ratiocine.models import ModelConfig, average, extrapolate
    from ratiocine.rendering import read_format

    if len(folders) < 2:
        raise BadInput(f"a merge takes two models or more, not {len(folders)}")
    if alpha is not None and len(folders) != 2:
        raise BadInput(f"--alpha={alpha:g} is for two models: give two models, not {len(folders)}")
    if out.exists():
        raise BadInput(f"--out={out} exists; choose another")
    configs = [ModelConfig(name=folder, path=folder) for folder in folders]
    loaded = [models.load_model(config, "cpu") for config in configs]
    weights = [model.state_dict() for model in loaded]
    merged = average(weights) if alpha is None else extrapolate(weights[0], weights[1], alpha)
    loaded[0].load_state_dict(merged)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as temporary:
        folder = Path(temporary) / "model"
        models.save_student(
            loaded[0],
            models.load_tokenizer(configs[0]),
            folder,
            read_format(Path(folders[0])),
            [models.license_of(config.license, config.path) for config in configs],
        )
        parents = {
            folder: models.fingerprint(config)
            for folder, config in zip(folders, configs, strict=True)
        }
        (folder / "merged.json").write_text(
            json.dumps({"schema_version": 1, "alpha": alpha, "parents": parents}, indent=2)
        )
        folder.rename(out)
    how = "the mean of" if alpha is None else f"alpha={alpha:g} between"
    print(f"{out}: {how} {', '.join(folders)}")


def main() -> None:
    parser = cli.argument_parser(
        "train.merge", " ".join((__doc__ or "").partition(": ")[2].split())
    )
    parser.add_argument("models", nargs="+", help="two or more model folders of one shape")
    parser.add_argument(
        "--alpha",
        type=float,
        help="0 is the first of two, 1 the second, above 1 extrapolates; default: the mean",
    )
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    merge(options.models, options.out, options.alpha)


if __name__ == "__main__":
    cli.leave("merge", main)
