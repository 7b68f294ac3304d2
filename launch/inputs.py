"""What a study's stages read and no stage makes, checked before anything runs and without a
download."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from distill.config import Config as DistillConfig
from eval.config import Config as EvalConfig
from launch.pair_sets import FORMS
from ratiocine import models
from ratiocine.data import DataConfig, is_cached, local_file, sources
from ratiocine.errors import BadInput, near
from ratiocine.executors import VerbConfig
from ratiocine.models import ModelConfig
from rl.config import Config as RLConfig
from train.config import Config as TrainConfig
from train.config import check_counts
from train.dataset import pairs_file

TRUE = ("1", "ON", "YES", "TRUE")  # as huggingface_hub reads its variables


@dataclass(frozen=True)
class Download:
    """An input on the hub that the cache lacks."""

    what: str
    command: str
    """What downloads it; empty where it is streamed."""


def check_inputs(config: VerbConfig, planned: Collection[str]) -> None:
    """Raise BadInput for an input that is neither at hand nor made by the study in a folder of
    `planned`; what is on the hub is not asked for."""
    for data, split in _data(config):
        if data.path and not _is_planned(data.path, planned):
            local_file(data, split)
    if isinstance(config, TrainConfig):
        config.peak_rate(0)
        for folder in config.folders():
            if not _is_planned(folder, planned):
                if not Path(folder).exists():
                    hint = near(Path(folder))
                    raise BadInput(f"pairs={folder} does not exist; give {FORMS}{hint}")
                pairs_file(folder)
        if not any(_is_planned(folder, planned) for folder in config.folders()):
            check_counts(config)


def downloads(configs: Sequence[VerbConfig], planned: Collection[str]) -> list[Download]:
    """What stages of these configurations would download. Raises BadInput for a model folder that
    is none."""
    found = {one.what: one for config in configs for one in _downloads(config, planned)}
    return list(found.values())


def download_lines(needed: Sequence[Download]) -> list[str]:
    """What is to be downloaded, a line each."""
    from huggingface_hub import constants

    head = (
        f"not in the cache (HF_HOME={constants.HF_HOME}), and downloaded by the stages or before:"
    )
    lines = [f"  {one.what}{f': {one.command}' if one.command else ''}" for one in needed]
    return [head, *lines] if needed else []


def check_offline(needed: Sequence[Download]) -> None:
    """Raise BadInput if downloads are needed and switched off."""
    if needed and is_offline():
        commands = [one.command for one in needed if one.command]
        first = f"; with a network first: {'; '.join(commands)}" if commands else ""
        lacking = "; ".join(one.what for one in needed)
        raise BadInput(f"HF_HUB_OFFLINE=1, and not in the cache: {lacking}{first}")


def is_offline() -> bool:
    """Whether downloads from the hub are switched off."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in TRUE


def _is_planned(path: str, planned: Collection[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in planned)


def _data(config: VerbConfig) -> Iterator[tuple[DataConfig, Literal["train", "test"]]]:
    """The sources of a stage, each with its split."""
    if isinstance(config, EvalConfig):
        yield from ((data, "test") for data in config.sources())
    elif isinstance(config, (DistillConfig, RLConfig)):
        yield config.data, "train"


def _downloads(config: VerbConfig, planned: Collection[str]) -> Iterator[Download]:
    model = getattr(config, "model", None)
    if isinstance(model, ModelConfig) and not _is_planned(model.path or "", planned):
        yield from _model(model, tokenizer_only=isinstance(config, DistillConfig))
    for data, split in _data(config):
        for name, hub in sources.hub_sets(data):
            if is_cached(hub, split):
                continue
            if split not in hub.files:
                if is_offline():
                    yield Download(f"the data set of {name}, which streams {hub.repo}", "")
                continue
            revision = f" --revision {hub.revision}" if hub.revision else ""
            files = shlex.join(hub.files[split])
            yield Download(
                f"the data set of {name}",
                f"hf download {hub.repo} {files} --repo-type dataset{revision}",
            )


def _model(model: ModelConfig, *, tokenizer_only: bool) -> Iterator[Download]:
    parts = models.not_cached(model)
    lacking = [part for part in parts if part == "tokenizer" or not tokenizer_only]
    if lacking:
        revision = f" --revision {model.revision}" if model.revision else ""
        yield Download(
            f"{' and '.join(lacking)} of {model.given}",
            f"hf download {model.path}{revision}",
        )
