"""What is finished of a study: the folder of each stage, found by the hash of its run."""

from __future__ import annotations

import glob
from dataclasses import dataclass, replace
from pathlib import Path

from launch.stages import VERBS, Stage
from ratiocine import runs
from ratiocine.config import identity
from ratiocine.errors import BadInput
from ratiocine.executors import ExecutorConfig
from ratiocine.runs import run_hash


@dataclass(frozen=True)
class StageRun:
    """A stage as a command."""

    overrides: list[str]
    """Arguments of the verb."""
    process_overrides: list[str]
    """Overrides of the executor, where the stage runs in several processes."""
    folder: Path
    """The folder of the finished run with this hash, or else `named`."""
    named: Path
    """The folder that a new run is written to, named for its hash."""

    @property
    def finished(self) -> bool:
        return (self.folder / "DONE").exists()


class StudyState:
    """The stages of a study, their children, and the folders of finished ones.

    A stage's folder carries the hash of its run, made of its configuration and the contents of its
    parents' artefacts: a changed override gives new folders to exactly the stages that depend on
    it.
    """

    def __init__(
        self,
        stages: list[Stage],
        root: Path,
        executor: ExecutorConfig,
        retain: str = "weights",
    ) -> None:
        self.stages, self.root, self.executor, self.retain = stages, root, executor, retain
        self.done: dict[str, Path] = {}
        self._runs: dict[str, StageRun] = {}
        self.children: dict[str, list[str]] = {stage.name: [] for stage in stages}
        for stage in stages:
            for parent in stage.parents:
                self.children[parent].append(stage.name)

    def find_finished(self) -> None:
        """Find the stages that earlier calls finished.

        A student whose weights were removed counts as finished unless a stage that can run needs
        them.
        """
        invalid: set[str] = set()
        for stage in self.stages:
            # A stage that never ran is not composed: that could download its model.
            if self.ready(stage) and self._finished_folders(stage):
                try:
                    run = self.run_of(stage)
                except BadInput:  # reported when the stage is to run
                    invalid.add(stage.name)
                    continue
                if run.finished:
                    self.done[stage.name] = run.folder
        for stage in reversed(self.stages):
            removed = stage.name in self.done and runs.has_removed(self.done[stage.name])
            pending = {*self.children[stage.name]} - self.done.keys() - invalid
            if removed and pending:
                self._forget(stage.name)

    def ready(self, stage: Stage) -> bool:
        """Whether all parents are finished."""
        return all(parent in self.done for parent in stage.parents)

    def run_of(self, stage: Stage) -> StageRun:
        """The command and the folder of a stage whose parents are finished.

        Raises BadInput if its configuration or an input is invalid.
        """
        if stage.name not in self._runs:
            overrides = stage.resolved(self.done)
            config, process_overrides = stage.composed(self.done)
            run = run_hash(stage.verb, identity(config), VERBS[stage.verb].inputs(config))
            named = self.root / f"{stage.name}-{run[:8]}"
            folder = self._folder(stage, run, named)
            self._runs[stage.name] = StageRun(overrides, process_overrides, folder, named)
        return self._runs[stage.name]

    def finish(self, stage: Stage, folder: Path) -> None:
        self.done[stage.name] = folder
        self.remove_weights()

    def remove_weights(self) -> None:
        """With `retain=scores`: remove the weights of students that no unfinished stage needs."""
        if self.retain != "scores":
            return
        for stage in self.stages:
            children = self.children[stage.name]
            evaluated = bool(children) and all(child in self.done for child in children)
            if stage.verb in ("train", "rl") and stage.name in self.done and evaluated:
                runs.remove_artefact(self.done[stage.name], "model")

    def heading(self, stage: Stage) -> str:
        return f"[{self.stages.index(stage) + 1}/{len(self.stages)}] {stage.name}"

    def _forget(self, name: str) -> None:
        """Mark a stage as unfinished, and those that depend on it."""
        self.done.pop(name, None)
        if run := self._runs.get(name):  # the folder of an earlier release stays as it is
            self._runs[name] = replace(run, folder=run.named)
        for child in self.children[name]:
            self._runs.pop(child, None)
            self._forget(child)

    def _finished_folders(self, stage: Stage) -> list[Path]:
        """Finished folders of the stage, whatever their hash."""
        marks = self.root.glob(f"{glob.escape(stage.name)}-{8 * '?'}/DONE")
        return sorted(mark.parent for mark in marks)

    def _folder(self, stage: Stage, run: str, named: Path) -> Path:
        """The folder named for a run's hash, or a finished one of an earlier release, whose hash
        of the same run was another."""
        if named.exists():
            return named
        same = (f for f in self._finished_folders(stage) if runs.holds_run(stage.verb, f, run))
        return next(same, named)
