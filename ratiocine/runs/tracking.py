"""Where a run's numbers go beside its own files: Weights & Biases, TensorBoard or Trackio, under the names they have locally.

Steps are optimizer steps everywhere. W&B is online only where a key is set (WANDB_API_KEY, or a login made before) and offline
otherwise: it never asks for one. What is logged stays in the run's own files too, so a tracker can be left out or fail later.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, Protocol

from ratiocine.config import Unhashed
from ratiocine.errors import BadInput, Failure
from ratiocine.executors import VerbConfig, distributed

Name = Literal["none", "wandb", "tensorboard", "trackio"]
Row = Mapping[str, Any]


class TrackedConfig(VerbConfig):
    """The keys of every verb that can be tracked."""

    tracker: Unhashed[Name] = "none"
    project: Unhashed[str] = "ratiocine"
    group: Unhashed[str | None] = None


class Tracker(Protocol):
    """Takes rows of numbers and tables of texts by step."""

    def log(self, step: int, row: Row) -> None: ...

    def table(self, step: int, name: str, rows: Sequence[Row]) -> None: ...

    def finish(self) -> None: ...


def check(config: TrackedConfig) -> None:
    """Raise BadInput where the tracker is not installed."""
    if config.tracker != "none" and importlib.util.find_spec(config.tracker) is None:
        raise BadInput(
            f"tracker={config.tracker} is not installed; run `pip install {config.tracker}`"
        )


@dataclass(frozen=True)
class Compared:
    """What runs of every verb are grouped by, beside their `study`: what was trained and how many parameters it has, how it was
    taught, and at which seed; None is what is not known, or was not done."""

    verb: str
    model_name: str
    size: int | None = None
    scenario: str | None = None
    ratio: float | None = None
    seed: int | None = None
    reward: str | None = None


GROUPED = (
    "study",
    *(field.name for field in fields(Compared)),
)  # the keys that these have in every tracker


@dataclass(frozen=True)
class About:
    """A run as a tracker is told of it: its hash, by which one that goes on is known again, its name, the group that it
    is shown in where the configuration names none, what it is compared by, and what else it was told."""

    id: str
    name: str
    group: str
    compared: Compared
    facts: Row

    def config(self, study: str | None) -> dict[str, Any]:
        """All of it under the names that trackers know; `study` is the group that the configuration names."""
        return {
            **self.facts,
            "run": self.id,
            **dict(zip(GROUPED, (study, *asdict(self.compared).values()), strict=True)),
        }


def tracker(config: TrackedConfig, folder: Path, run: About) -> Tracker:
    """The tracker of one run. Raises Failure where it cannot be reached."""
    if config.tracker == "none" or not distributed.is_first():
        return Nothing()
    try:
        return TRACKERS[config.tracker](config, folder, run)
    except Exception as error:
        said = (str(error).splitlines() or [""])[0]
        raise Failure(f"tracker={config.tracker}: {type(error).__name__}: {said}") from None


class Nothing:
    """No tracker."""

    def log(self, step: int, row: Row) -> None: ...

    def table(self, step: int, name: str, rows: Sequence[Row]) -> None: ...

    def finish(self) -> None: ...


class _Run:
    """A run of W&B, or of Trackio, which has the same functions."""

    def __init__(self, library: Any, run: Any) -> None:
        self.library, self.run = library, run

    def log(self, step: int, row: Row) -> None:
        self.run.log({key: value for key, value in row.items() if value is not None}, step=step)

    def table(self, step: int, name: str, rows: Sequence[Row]) -> None:
        columns = list(rows[0])
        table = self.library.Table(
            columns=columns, data=[[row[column] for column in columns] for row in rows]
        )
        self.run.log({name: table}, step=step)

    def finish(self) -> None:
        self.run.finish()


def has_key() -> bool:
    """Whether W&B has a key here, for which nobody is asked. Raises what W&B raises where its server does not take the key."""
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    return bool(wandb.login(prompt=False))


def _wandb(config: TrackedConfig, folder: Path, run: About) -> Tracker:
    import wandb

    mode = os.environ.get("WANDB_MODE") or ("online" if has_key() else "offline")
    made = wandb.init(
        project=config.project,
        group=config.group or run.group,
        id=run.id,
        name=run.name,
        dir=folder,
        config=run.config(config.group),
        mode=mode,  # type: ignore[arg-type]
        resume="allow",
        settings=wandb.Settings(silent=True, console="off", save_code=False),
    )
    return _Run(wandb, made)


def _trackio(config: TrackedConfig, folder: Path, run: About) -> Tracker:
    import trackio

    made = trackio.init(
        project=config.project,
        group=config.group or run.group,
        name=f"{run.name} {run.id[:6]}",
        config=run.config(config.group),
        resume="allow",
        embed=False,
    )
    return _Run(trackio, made)


class _TensorBoard:
    def __init__(self, config: TrackedConfig, folder: Path, run: About) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder / "tensorboard"))
        told = run.config(config.group)
        self.writer.add_text(
            "config", markdown([{"key": key, "value": value} for key, value in told.items()])
        )

    def log(self, step: int, row: Row) -> None:
        for key, value in row.items():
            if isinstance(value, int | float):
                self.writer.add_scalar(key, value, step)

    def table(self, step: int, name: str, rows: Sequence[Row]) -> None:
        self.writer.add_text(name, markdown(rows), step)

    def finish(self) -> None:
        self.writer.close()


TRACKERS: Mapping[str, Any] = {"wandb": _wandb, "tensorboard": _TensorBoard, "trackio": _trackio}


def markdown(rows: Sequence[Row]) -> str:
    """A table as the text that trackers show."""

    def cell(value: Any) -> str:
        return str(value).replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")

    lines = [list(rows[0]), ["---"] * len(rows[0]), *(row.values() for row in rows)]
    return "\n".join("| " + " | ".join(map(cell, line)) + " |" for line in lines)
