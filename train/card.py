"""python -m train.card RUN: the card of a student, with its scores, and its way to the hub.

A finished run holds a card without scores (`README.md`); this prints one with those of `eval` runs of that student, and uploads
the student with it where a name is given.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ratiocine import cli
from ratiocine.errors import BadInput
from ratiocine.runs import CONFIG, check_finished, publish

KNOWN = ("apache-2.0", "mit", "llama3.2", "gemma")  # to the hub, by these names
FORMS = {
    "plain": "direct answers stand alone",
    "empty": "direct answers follow an empty think block, which was supervised",
    "switch": "`enable_thinking` in the chat template switches between the two",
}


def text(
    config: Mapping[str, Any],
    manifest: Mapping[str, Any],
    mixture: Mapping[str, Any],
    scores: Mapping[str, Mapping[str, Any]] = {},
) -> str:
    """The card in the form that the hub shows: what was taught to what, from which data under which licence, and how well it
    then did, each number with its interval."""
    model, sets = config["model"], [_pairs(folder) for folder in _folders(config)]
    base = model["path"] or model["name"]
    head: dict[str, Any] = {
        "tags": ["reasoning", "sft", "ratiocine"],
        "pipeline_tag": "text-generation",
    }
    licence = _licence(model)
    if licence:
        head |= (
            {"license": licence}
            if licence in KNOWN
            else {"license": "other", "license_name": licence}
        )
    if "/" in base and not base.startswith((".", "/", "~")):
        head["base_model"] = base
    ratio = "its stages' own" if mixture["ratio"] is None else f"{mixture['ratio']:g}"
    taught, held = mixture["supervised_tokens"], manifest.get("val_loss")
    lines = [
        "---",
        yaml.safe_dump(head, sort_keys=False).strip(),
        "---",
        "",
        f"# {Path(base).name if model['name'] == 'local' else model['name']}, taught at reasoning ratio {ratio}",
        "",
        f"{mixture['n']} problems, each with the answer of one teacher given directly or after a reasoning trace; "
        f"{mixture['n_reasoning']} of them with the trace.",
        "",
        "| | |",
        "| --- | --- |",
        f"| base model | {base}, licence: {licence or 'not said'} |",
        f"| scenario | {mixture['scenario']}, equalize={mixture['equalize']}, seed {mixture['seed']} |",
        f"| supervised tokens | {taught['ift']} direct, {taught['reasoning']} in reasoning rows |",
        f"| training | {manifest['steps']} steps of {config['batch_size']} examples, peak rate {manifest['lr']:.2g}, "
        f"{'adapters of rank ' + str(config['lora_rank']) + ', merged' if config['lora'] else 'all weights'}, "
        f"{manifest['train_flops_exact']:.3g} FLOPs |",
        f"| rendering | {mixture['direct_format']}: {FORMS[mixture['direct_format']]} |",
        *(
            [f"| held-out loss | {held:.4f}, at step {manifest['checkpoint_step']} |"]
            if held is not None
            else []
        ),
        f"| examples | {mixture['examples_hash'][:16]} (hash of their multiset) |",
        "",
        "## Pairs",
        "",
        "| set | prompts | teacher | licence | content |",
        "| --- | --- | --- | --- | --- |",
        *(f"| {' | '.join(one)} |" for one in sets),
    ]
    if scores:
        lines += [
            "",
            "## Scores",
            "",
            "| of | benchmark | n | accuracy | 95 % | tokens |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        for name, found in scores.items():
            for kind in ("benchmarks", "categories"):
                lines += [
                    f"| {name} | {part} | {_scored(row)} |" for part, row in found[kind].items()
                ]
    return "\n".join(lines) + "\n"


def _licence(model: Mapping[str, Any]) -> str | None:
    """A model's licence; of a student of ours, that of the model it came from."""
    came_from = Path(model["path"] or "").parent / CONFIG
    if model.get("license") is None and model["path"] and came_from.is_file():
        return _licence(yaml.safe_load(came_from.read_text(encoding="utf-8"))["model"])
    return model.get("license")


def _scored(row: Mapping[str, Any]) -> str:
    accuracy = "–" if row["accuracy"] is None else f"{row['accuracy']:.1%}"
    low, high = row["ci95"]
    return f"{row['n']} | {accuracy} | {low:.1%} – {high:.1%} | {row['completion_tokens']:.0f}"


def _folders(config: Mapping[str, Any]) -> list[str]:
    own = [stage["pairs"] for stage in config["scenario"]["stages"] if stage.get("pairs")]
    return list(dict.fromkeys([*(config["pairs"] or []), *own]))


def _pairs(folder: str) -> tuple[str, ...]:
    """What the folder of a set of pairs says of itself."""
    made = yaml.safe_load((Path(folder) / CONFIG).read_text(encoding="utf-8"))
    manifest = json.loads((Path(folder) / "manifest.json").read_text(encoding="utf-8"))
    data, teacher = made.get("data", {}), made.get("teacher", {})
    name = (
        teacher.get("model")
        or (teacher.get("engine") or {}).get("model")
        or teacher.get("name", "unknown")
    )
    content = manifest["outputs"]["pairs.parquet"][:16]
    return (
        Path(folder).name,
        data.get("name", "unknown"),
        Path(name).name,
        str(data.get("license") or "not said"),
        content,
    )


def files(run: Path, card: str) -> dict[str, Path | bytes]:
    """What is uploaded of a run, by its path in the repository."""
    model = {
        str(f.relative_to(run / "model")): f
        for f in sorted((run / "model").rglob("*"))
        if f.is_file()
    }
    return {
        **model,
        "mixture.json": run / "mixture.json",
        "manifest.json": run / "manifest.json",
        "README.md": card.encode(),
    }


def read(run: Path, scored: Sequence[Path]) -> str:
    """The card of a finished run with the scores of these `eval` runs. Raises BadInput where one is of another model."""
    manifest = check_finished(run)
    if manifest["verb"] != "train":
        raise BadInput(f"{run} is a run of {manifest['verb']}, not of train")
    scores = {}
    for folder in scored:
        if (student := check_finished(folder).get("student") or {}).get("hash") != manifest["hash"]:
            raise BadInput(
                f"{folder} holds the scores of another model ({student.get('hash', 'one not trained here')})"
            )
        scores[folder.name] = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    config = yaml.safe_load((run / CONFIG).read_text(encoding="utf-8"))
    return text(
        config, manifest, json.loads((run / "mixture.json").read_text(encoding="utf-8")), scores
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m train.card", description=(__doc__ or "").partition(": ")[2].split("\n")[0]
    )
    parser.add_argument("run", type=Path, help="a finished run of train")
    parser.add_argument(
        "--scores", type=Path, nargs="+", default=[], help="finished runs of eval over its student"
    )
    parser.add_argument(
        "--push-to-hub",
        metavar="NAME",
        help="upload the student with this card; a new repository is private",
    )
    options = parser.parse_args()
    if options.push_to_hub:
        publish.check(options.push_to_hub)
    card = read(options.run, options.scores)
    print(card)
    if options.push_to_hub:
        manifest = check_finished(options.run)
        publish.push(
            options.push_to_hub,
            "model",
            files(options.run, card),
            f"Student {manifest['hash']}",
            options.run,
        )


if __name__ == "__main__":
    cli.leave("card", main)
