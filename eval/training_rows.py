"""Rows of a benchmark file that are training problems of the model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from eval.config import Config
from ratiocine import cli
from ratiocine.data import DataConfig
from ratiocine.errors import BadInput
from ratiocine.runs import CONFIG, read_config, verb_and_hash


@dataclass(frozen=True)
class TrainingFile:
    """A file with problems that a student was trained on."""

    file: Path
    test_size: float | None
    """Share of its rows that was held out."""
    pairs: str | None
    """Folder of the pairs; None for a student of `rl`, which reads the file itself."""


def warnings(config: Config) -> list[str]:
    """A line per benchmark file that holds more than what training held out of it."""
    trained, found = list(_files(config.model.path)), []
    for data in config.sources():
        for one in trained:
            more = one.test_size is None or (data.test_size or 1.0) > one.test_size
            if data.path is not None and Path(data.path).resolve() == one.file and more:
                found.append(_line(data, one, str(config.model.path)))
                break
    return found


def _line(data: DataConfig, one: TrainingFile, model: str) -> str:
    if one.test_size is None:
        return f"warning: {model} was trained on all rows of {data.path}, none of which is a test"
    share = "as a whole" if data.test_size is None else f"with test_size={data.test_size:g}"
    held_out = f"test_size={one.test_size:g}"
    safe = held_out if one.pairs is None else f"benchmarks=[{cli.quoted(one.pairs)}]"
    return (
        f"warning: {data.path} {share} has training problems of {model}, whose training held out "
        f"{held_out}; without them: {safe}"
    )


def _files(model: str | None) -> Iterator[TrainingFile]:
    """The files that a student and those before it were trained on, where their runs and pairs
    still exist."""
    while model is not None and verb_and_hash(Path(model).parent) is not None:
        values = read_config(Path(model).parent)
        if "data" in values:
            yield from _file(values["data"], None)
        stages = (values.get("scenario") or {}).get("stages") or ()
        for pairs in [*(values.get("pairs") or ()), *(stage.get("pairs") for stage in stages)]:
            if pairs and (Path(pairs) / CONFIG).is_file():
                with suppress(BadInput):  # damaged pairs are no input of an evaluation
                    yield from _file(read_config(Path(pairs))["data"], pairs)
        model = values["model"].get("path")


def _file(values: object, pairs: str | None) -> Iterator[TrainingFile]:
    data = cli.check(DataConfig, values)
    if data.path is not None:
        yield TrainingFile(Path(data.path).resolve(), data.test_size, pairs)
