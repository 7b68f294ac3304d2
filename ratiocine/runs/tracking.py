"""Experiment trackers: W&B, TensorBoard or Trackio, with the metric names of a run's own files.

Steps are optimizer steps. W&B is online where it has a key (WANDB_API_KEY, or an earlier login) and
offline otherwise: nobody is asked for a key. All that is logged is in the run's own files too, so
that a tracker can be left out, or fail.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, Protocol, Self

from pydantic import model_validator

from ratiocine.config import Unhashed
from ratiocine.errors import BadInput, Failure
from ratiocine.executors import VerbConfig, distributed, is_stage

Name = Literal["none", "wandb", "tensorboard", "trackio"]
Row = Mapping[str, object]


class TrackedConfig(VerbConfig):
    """The keys of every verb with a tracker."""

    tracker: Unhashed[Name] = "none"
    project: Unhashed[str] = "ratiocine"
    entity: Unhashed[str | None] = None
    group: Unhashed[str | None] = None

    @model_validator(mode="after")
    def _check_project(self) -> Self:
        if self.tracker == "wandb" and not re.fullmatch(r"[^/\\#?%:]{1,128}", self.project):
            raise ValueError(
                f"project={self.project!r}: W&B takes 1 to 128 characters, none of / \\ # ? % :"
            )
        return self


class Tracker(Protocol):
    """Receives metrics and tables by optimizer step."""

    def log(self, step: int, row: Row) -> None: ...

    def table(self, step: int, name: str, rows: Sequence[Row]) -> None: ...

    def log_student(self, folder: Path) -> None:
        """Upload a student's model folder, where the tracker keeps artifacts."""
        ...

    def finish(self) -> str | None:
        """Close the run; returns a line that says where it is, if the tracker has one."""
        ...


def check(config: TrackedConfig) -> None:
    """Raise BadInput where the tracker is not installed."""
    if config.entity and config.tracker != "wandb":
        raise BadInput(f"entity={config.entity} is for tracker=wandb, not tracker={config.tracker}")
    if config.tracker != "none" and importlib.util.find_spec(config.tracker) is None:
        raise BadInput(
            f"tracker={config.tracker} is not installed; run `pip install {config.tracker}`"
        )


@dataclass(frozen=True)
class GroupKeys:
    """What runs of every verb are grouped by in a tracker, in addition to their study; None stands
    for unknown or not applicable."""

    verb: str
    model_name: str
    size: int | None = None
    """Number of weights."""
    scenario: str | None = None
    ratio: float | None = None
    seed: int | None = None
    reward: str | None = None


# The keys of `GroupKeys` and the study, as every tracker has them.
GROUP_KEYS = ("study", *(field.name for field in fields(GroupKeys)))


@dataclass(frozen=True)
class TrackedRun:
    """The description of a run in a tracker."""

    id: str
    """The run's hash, by which a resumed run is found again."""
    name: str
    group: str
    """Where the configuration names no `group`."""
    group_keys: GroupKeys
    facts: Row
    """Configuration and inputs."""

    def config(self, study: str | None) -> dict[str, object]:
        """The tracker's configuration: facts, hash and group keys; `study` is `group=`."""
        keys = (study, *asdict(self.group_keys).values())
        return {**self.facts, "run": self.id, **dict(zip(GROUP_KEYS, keys, strict=True))}


def open_tracker(config: TrackedConfig, folder: Path, run: TrackedRun) -> Tracker:
    """The tracker of one run; `NoTracker` on other ranks than the first. Raises Failure where it
    cannot be reached."""
    if config.tracker == "none" or not distributed.is_first():
        return NoTracker()
    try:
        return TRACKERS[config.tracker](config, folder, run)
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        raise Failure(f"tracker={config.tracker}: {type(error).__name__}: {first}") from None


class NoTracker:
    """Discards everything."""

    def log(self, step: int, row: Row) -> None: ...

    def table(self, step: int, name: str, rows: Sequence[Row]) -> None: ...

    def log_student(self, folder: Path) -> None: ...

    def finish(self) -> str | None:
        return None


class _Run:
    """A run of W&B or Trackio, which have the same methods."""

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

    def log_student(self, folder: Path) -> None: ...

    def finish(self) -> str | None:
        self.run.finish()
        return None


class _WandbRun(_Run):
    """A run of W&B; its end names the page, or the folder to send."""

    def log_student(self, folder: Path) -> None:
        artifact = self.library.Artifact(f"model-{self.run.id}", type="model")
        artifact.add_dir(str(folder))
        self.run.log_artifact(artifact)

    def finish(self) -> str | None:
        folder, offline = Path(self.run.dir).parent, self.run.offline
        url = None if offline else self.run.url  # W&B warns that an offline run has none
        super().finish()
        if offline and not is_stage():
            shown = os.path.relpath(folder)
            return f"W&B: offline in {shown}; send it with: wandb sync {shlex.quote(shown)}"
        return f"W&B: {url}" if url else None


def offline_runs(study: Path) -> str | None:
    """A line with the command that sends the offline W&B runs of a study's stages; None if all were
    sent."""
    found = study.glob("*/wandb/offline-run-*")
    waiting = [run for run in found if not list(run.glob("*.synced"))]
    if not (n := len(waiting)):
        return None
    folder = shlex.quote(os.path.relpath(study))
    what = "1 run offline; send it" if n == 1 else f"{n} runs offline; send them"
    return f"W&B: {what}: wandb sync {folder}/*/wandb/offline-run-*"


def has_wandb_key() -> bool:
    """Whether W&B has a key, without a prompt for one. Raises W&B's own error where its server
    refuses the key."""
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    return bool(wandb.login(prompt=False))


def _wandb(config: TrackedConfig, folder: Path, run: TrackedRun) -> Tracker:
    import wandb

    mode = os.environ.get("WANDB_MODE") or ("online" if has_wandb_key() else "offline")
    started = wandb.init(
        project=config.project,
        entity=config.entity,
        group=config.group or run.group,
        id=run.id,
        name=run.name,
        dir=folder,
        config=run.config(config.group),
        mode=mode,  # type: ignore[arg-type]
        resume="allow",
        settings=wandb.Settings(silent=True, console="off", save_code=False),
    )
    return _WandbRun(wandb, started)


def _trackio(config: TrackedConfig, folder: Path, run: TrackedRun) -> Tracker:
    import trackio

    started = trackio.init(
        project=config.project,
        group=config.group or run.group,
        name=f"{run.name} {run.id[:6]}",
        config=run.config(config.group),
        resume="allow",
        embed=False,
    )
    return _Run(trackio, started)


class _TensorBoard:
    def __init__(self, config: TrackedConfig, folder: Path, run: TrackedRun) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder / "tensorboard"))
        values = run.config(config.group)
        rows = [{"key": key, "value": value} for key, value in values.items()]
        self.writer.add_text("config", markdown(rows))

    def log(self, step: int, row: Row) -> None:
        for key, value in row.items():
            if isinstance(value, int | float):
                self.writer.add_scalar(key, value, step)

    def table(self, step: int, name: str, rows: Sequence[Row]) -> None:
        self.writer.add_text(name, markdown(rows), step)

    def log_student(self, folder: Path) -> None: ...

    def finish(self) -> str | None:
        self.writer.close()
        return None


TRACKERS: Mapping[Name, Callable[[TrackedConfig, Path, TrackedRun], Tracker]] = {
    "wandb": _wandb,
    "tensorboard": _TensorBoard,
    "trackio": _trackio,
}


def markdown(rows: Sequence[Row]) -> str:
    """Rows as a Markdown table, the form in which trackers show text."""

    def cell(value: object) -> str:
        return str(value).replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")

    lines = [list(rows[0]), ["---"] * len(rows[0]), *(row.values() for row in rows)]
    return "\n".join("| " + " | ".join(map(cell, line)) + " |" for line in lines)
