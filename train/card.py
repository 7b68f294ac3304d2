"""python -m train.card RUN: the model card of a student, with evaluation scores, and its upload to
the hub.

A finished run holds a card without scores (`README.md`). This prints one with the scores of `eval`
runs of the student, and uploads the student with it where a name is given.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ratiocine import cli, models
from ratiocine.errors import BadInput
from ratiocine.runs import (
    TrainingFacts,
    base_name,
    check_finished,
    publish,
    read_config,
    read_manifest,
)
from train.dataset import pair_source
from train.mixture_facts import MixtureFacts

HUB_LICENSES = ("apache-2.0", "mit", "llama3.2", "gemma")  # identifiers that the hub knows
FORMS = {
    "plain": "direct answers stand alone",
    "empty": "direct answers follow an empty think block, which was supervised",
    "switch": "`enable_thinking` in the chat template switches between the two",
}
Settings = Mapping[str, Any]
"""`config.yaml` of a run."""
Scores = Mapping[str, Mapping[str, Any]]
"""`scores.json` by name of the evaluation."""


def text(
    config: Settings,
    facts: TrainingFacts,
    mixture: MixtureFacts,
    scores: Scores | None = None,
) -> str:
    """The card in the hub's format: base model, mixture, training, pairs with their licenses, and
    scores with intervals."""
    lines = [*_header(config, mixture, scores or {}), *_training(config, facts, mixture)]
    lines += ["", "## Pairs", "", "| set | prompts | teacher | license | content |"]
    lines += ["| --- | --- | --- | --- | --- |"]
    lines += [f"| {' | '.join(_pairs(folder))} |" for folder in _folders(config)]
    notices = [models.NOTICES[name] for name in licenses(config) if name in models.NOTICES]
    lines += ["", *(f"{notice}." for notice in notices)] if notices else []
    if scores:
        lines += _scores(scores)
    return "\n".join(lines) + "\n"


def _header(config: Settings, mixture: MixtureFacts, scores: Scores) -> Iterator[str]:
    model = config["model"]
    base = model["path"] or model["name"]
    tags = ["reasoning", "sft", "ratiocine"]
    head: dict[str, object] = {"tags": tags, "pipeline_tag": "text-generation"}
    if license := models.license_of(model.get("license"), model["path"]):
        known = license in HUB_LICENSES
        head |= {"license": license} if known else {"license": "other", "license_name": license}
    if repo := _hub_id(base):
        head["base_model"] = repo
    ratio = "set by stage" if mixture.ratio is None else f"{mixture.ratio:g}"
    name = base_name(model["name"], model["path"])
    if scores:
        head["model-index"] = _model_index(f"{name}, ratio {ratio}", scores)
    yield from ("---", yaml.safe_dump(head, sort_keys=False).strip(), "---", "")
    yield from (f"# {name}, taught at reasoning ratio {ratio}", "")
    yield (
        f"{mixture.n} problems, each with the answer of one teacher given directly or after a "
        f"reasoning trace; {mixture.n_reasoning} of them with the trace."
    )


def _hub_id(base: str) -> str | None:
    """The hub id of a model; None for a folder outside the hub's cache."""
    is_id = re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", base) and not Path(base).is_dir()
    return base if is_id else cli.cached_id(base)


def _model_index(name: str, scores: Scores) -> object:
    """Accuracies by benchmark as the hub's evaluation results."""
    from huggingface_hub import EvalResult
    from huggingface_hub.repocard_data import eval_results_to_model_index

    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type=benchmark,
            dataset_name=benchmark,
            metric_type="accuracy",
            metric_name=f"accuracy ({evaluation})",
            metric_value=round(row["accuracy"], 4),
            metric_args={
                "n": row["n"],
                "ci95": [round(end, 4) for end in row["ci95"]],
                "truncated": round(row["truncated"], 4),
            },
        )
        for evaluation, found in scores.items()
        for benchmark, row in found["benchmarks"].items()
        if row["accuracy"] is not None
    ]
    return eval_results_to_model_index(name, results)


def _training(config: Settings, facts: TrainingFacts, mixture: MixtureFacts) -> Iterator[str]:
    model, tokens = config["model"], mixture.supervised_tokens
    license = models.license_of(model.get("license"), model["path"])
    weights = f"adapters of rank {config['lora_rank']}, merged" if config["lora"] else "all weights"
    fewer = facts.problems is not None and facts.problems < mixture.n
    part = f" ({facts.problems} of the problems)" if fewer else ""
    rows = {
        "base model": f"{model['path'] or model['name']}, license: {license or 'unknown'}",
        "scenario": f"{mixture.scenario}, equalize={mixture.equalize}, seed {mixture.seed}",
        "supervised tokens": f"{tokens['ift']} direct, {tokens['reasoning']} in reasoning rows",
        "training": f"{facts.steps} steps of {config['batch_size']} examples{part}, "
        f"peak learning rate {facts.lr:.2g}, {weights}, {facts.train_flops_exact:.3g} FLOPs",
        "direct format": f"{mixture.direct_format}: {FORMS[mixture.direct_format]}",
        "validation loss": None
        if facts.val_loss is None
        else f"{facts.val_loss:.4f}, at step {facts.checkpoint_step}",
        "examples": f"{mixture.examples_hash[:16]} (hash of their multiset)",
    }
    yield from ("", "| | |", "| --- | --- |")
    yield from (f"| {name} | {value} |" for name, value in rows.items() if value is not None)


def _scores(scores: Scores) -> Iterator[str]:
    yield from ("", "## Scores", "", "| evaluation | benchmark | n | accuracy | 95 % | tokens |")
    yield "| --- | --- | --- | --- | --- | --- |"
    for name, found in scores.items():
        for kind in ("benchmarks", "categories"):
            for part, row in found[kind].items():
                accuracy = "–" if row["accuracy"] is None else f"{row['accuracy']:.1%}"
                low, high = row["ci95"]
                yield (
                    f"| {name} | {part} | {row['n']} | {accuracy} | {low:.1%} – {high:.1%} | "
                    f"{row['completion_tokens']:.0f} |"
                )


def licenses(config: Settings) -> list[str]:
    """Of the base model, and of the teachers of its pairs."""
    model = config["model"]
    found = [models.license_of(model.get("license"), model["path"])]
    found += [read_manifest(Path(pairs)).pairs.teacher_license for pairs in _folders(config)]
    return [name for name in dict.fromkeys(found) if name is not None]


def _folders(config: Settings) -> list[str]:
    of_stages = [stage["pairs"] for stage in config["scenario"]["stages"] if stage.get("pairs")]
    return list(dict.fromkeys([*(config["pairs"] or []), *of_stages]))


def _pairs(folder: str) -> tuple[str, ...]:
    """A folder of pairs as a row of the card: name, data, teacher, license, content hash."""
    manifest, source = read_manifest(Path(folder)), pair_source(folder)
    of_teacher = source.teacher_license
    return (
        Path(folder).name,
        manifest.pairs.data,
        source.teacher + (f" (license: {of_teacher})" if of_teacher else ""),
        str(source.license or "unknown"),
        manifest.outputs["pairs.parquet"][:16],
    )


def files(run: Path, card: str) -> dict[str, Path | bytes]:
    """What is uploaded of a run, by path in the repository."""
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


def read(run: Path, evaluations: Sequence[Path]) -> str:
    """The card of a finished run with the scores of these `eval` runs. Raises BadInput where one is
    of another model."""
    manifest = check_finished(run, "train")
    scores = {}
    for folder in evaluations:
        other = check_finished(folder)
        student = other.evaluation.student if other.verb == "eval" else None
        if student is None or student.hash != manifest.hash:
            name = student.hash if student else "one not trained here"
            raise BadInput(f"{folder} holds the scores of another model ({name})")
        scores[folder.name] = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    mixture = MixtureFacts.read(run / "mixture.json")
    return text(read_config(run), manifest.training, mixture, scores)


def main() -> None:
    parser = cli.argument_parser("train.card", (__doc__ or "").partition(": ")[2])
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
        upload(options.push_to_hub, options.run, card)


def upload(name: str, run: Path, card: str) -> None:
    """Upload a finished run's student with its card to the hub, privately."""
    commit = f"Student {read_manifest(run).hash}"
    publish.push(name, "model", files(run, card), commit, run)


if __name__ == "__main__":
    cli.leave("card", main)
