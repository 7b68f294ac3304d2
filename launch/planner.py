"""The planner: a study's stages in order, finished ones skipped, the rest run as commands of the ordinary verbs: here one
after the other, on a cluster as many at once as have what they need.

A stage's folder carries its hash, made from its configuration and the *contents* of its parents' artefacts: change a word
of the study and exactly what depends on it runs again, beside what was there.
"""

from __future__ import annotations

import glob
import shlex
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from eval.config import Config as EvalConfig
from launch.config import AXES, Config, StudyConfig
from launch.cost_estimate import estimate
from launch.stages import VERBS, Stage, compared, expand
from ratiocine import cli, renames, runs
from ratiocine.config import identity
from ratiocine.errors import BadInput, Failure
from ratiocine.executors import (
    POLL_SECONDS,
    Command,
    Executor,
    ExecutorConfig,
    Job,
    LocalConfig,
    LogTail,
    VerbConfig,
    command_for,
    open_executor,
)
from ratiocine.runs import TrackedConfig, locks, run_hash

PLAN = "study.yaml"


def plan(study: StudyConfig, on: ExecutorConfig = LocalConfig()) -> list[Stage]:  # noqa: B008  (frozen)
    """All stages, in an order in which parents come first; every configuration is checked before anything runs."""
    stages = expand(study)
    names = [stage.name for stage in stages]
    before: set[str] = set()
    folders = {name: Path("runs") / name for name in names}
    for stage in stages:
        if stage.name in before:
            raise BadInput(f"study={study.name}: the stage '{stage.name}' occurs twice")
        if missing := [parent for parent in stage.parents if parent not in before]:
            raise BadInput(
                f"study={study.name}: {stage.name} needs '{missing[0]}', which is no earlier stage"
            )
        before.add(stage.name)
        composed, _ = _composed(stage.verb, stage.resolved(folders), on)
        if isinstance(composed, EvalConfig):
            composed.sources()
    if missing := [name for name in compared(study) if name not in before]:
        raise BadInput(f"study={study.name}: the report names '{missing[0]}', which is no stage")
    return stages


def _composed(verb: str, overrides: list[str], on: ExecutorConfig) -> tuple[VerbConfig, list[str]]:
    """The checked configuration of a stage, and the words by which its command has several processes where it can use them."""
    schema: type[VerbConfig] = VERBS[verb].Config
    words = (
        []
        if schema.data_parallel and cli.compose(verb, schema, overrides).single_process
        else on.overrides
    )
    return cli.compose(verb, schema, [*overrides, *words]), words


def run_study(config: Config) -> int:
    """Run (or with `dry_run` tell) a study; returns the highest exit code of a stage, 0 where all went well. What does not need
    a stage that failed runs all the same, and is reported."""
    study = config.study
    stages, root = (
        plan(study, config.executor),
        Path(config.out or Path("runs") / (study.base_study or study.name)),
    )
    keep, tracked = config.retain or study.retain, _tracked(config)
    ours = _Stages(stages, root, config.executor, tracked, keep)
    if config.dry_run:
        _check_plan(study, root)
        ours.look_back()
        print(estimate(study, stages, ours.done, keep, config.executor.max_parallel_jobs).text())
        return 0
    runs.check_writable(root)
    with locks.held(root):
        _check_plan(study, root, note=True)
        return _run(study, ours, keep)


def _run(study: StudyConfig, ours: _Stages, keep: str) -> int:
    started, root = time.monotonic(), ours.root
    ours.look_back()
    if study.grid is not None:
        told = estimate(study, ours.stages, ours.done, keep, ours.on.max_parallel_jobs)
        print(told.total)
        told.check_disk(root)
    folders, failed = ours.run()
    if failed:
        lost = [
            stage.name
            for stage in ours.stages
            if stage.name not in folders and stage.name not in failed
        ]
        print(
            f"launch: {', '.join(failed)} failed{_not_run(lost)}; the same command goes on from here",
            file=sys.stderr,
        )
    names = [name for name in compared(study) if name in folders]
    status = _report(
        names, folders, root / (f"{study.name}.html" if study.base_study else "report.html")
    )
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    print(f"total time {minutes} min {seconds} s")
    return max([status, *failed.values()])


def _tracked(config: Config) -> list[str]:
    if config.tracker == "none":
        return []
    return [f"tracker={config.tracker}", f"project={config.project}", f"group={config.study.name}"]


def _check_plan(study: StudyConfig, root: Path, *, note: bool = False) -> None:
    """Raise BadInput where the folder of a grid was made by another plan, which axes alone may extend; with `note` write down
    what it is made by now."""
    if study.grid is None:
        return
    file, now = root / PLAN, study.model_dump(mode="json", exclude={"retain", "report"})
    if file.exists():
        there = renames.renamed_study(yaml.safe_load(file.read_text(encoding="utf-8")))
        for differ in _differing(there, now):
            raise BadInput(
                f"out={root} was made by another plan: {differ}; give another out=, or extend it by {', '.join(AXES)} alone"
            )
        for name in ("models", "pairs"):
            now["grid"][name] = {**there["grid"][name], **now["grid"][name]}
    if note:
        runs.write_whole(file, yaml.safe_dump(now, sort_keys=False))


def _differing(there: Mapping[str, Any], now: Mapping[str, Any]) -> Iterable[str]:
    """What two plans say otherwise, what may differ apart."""
    for key in ("name", "stages", "grid"):
        one, other = there.get(key), now.get(key)
        if key != "grid":
            if one != other:
                yield f"{key} is {other!r}, there {one!r}"
            continue
        one, other = one or {}, other or {}
        for name in sorted({*one, *other} - {"assumptions"}):
            a, b = one.get(name), other.get(name)
            if name in ("models", "pairs"):  # the same name means the same in both
                a, b = (
                    {k: v for k, v in side.items() if k in (a or {}) and k in (b or {})}
                    for side in (a or {}, b or {})
                )
            elif name in AXES:
                continue
            if a != b:
                yield f"grid.{name} is {b!r}, there {a!r}"


def _not_run(names: list[str]) -> str:
    return f", so that {', '.join(names)} could not run" if names else ""


class _Stages:
    """The stages of a study on their way: waiting, running, and done with the folders that they are in."""

    def __init__(
        self,
        stages: list[Stage],
        root: Path,
        on: ExecutorConfig,
        tracked: Sequence[str] = (),
        keep: str = "weights",
    ) -> None:
        self.stages, self.root, self.on, self.tracked, self.keep = stages, root, on, tracked, keep
        self.running: dict[str, tuple[Job, LogTail, Path]] = {}
        self.calls: dict[str, tuple[list[str], list[str], Path]] = {}
        self.done: dict[str, Path] = {}
        self.failed: dict[str, int] = {}
        self.children: dict[str, list[str]] = {stage.name: [] for stage in stages}
        for stage in stages:
            for parent in stage.parents:
                self.children[parent].append(stage.name)

    def look_back(self) -> None:
        """Find what was done before. A stage whose weights are gone counts while nothing that can run needs them."""
        refused: set[str] = set()
        for stage in self.stages:
            made = self.root.glob(f"{glob.escape(stage.name)}-{8 * '?'}/DONE")
            # Where it has never run no model is looked for, or downloaded.
            if all(parent in self.done for parent in stage.parents) and any(made):
                try:
                    folder = self._call(stage)[2]
                except BadInput:  # said when it would run
                    refused.add(stage.name)
                    continue
                if (folder / "DONE").exists():
                    self.done[stage.name] = folder
        for stage in reversed(self.stages):
            again = stage.name in self.done and runs.has_removed(self.done[stage.name])
            if again and any(
                child not in self.done and child not in refused
                for child in self.children[stage.name]
            ):
                self._forget(stage.name)

    def _forget(self, name: str) -> None:
        """Have a stage run again, and look at what comes of it anew."""
        self.done.pop(name, None)
        for child in self.children[name]:
            self.calls.pop(child, None)
            self._forget(child)

    def run(self) -> tuple[dict[str, Path], dict[str, int]]:
        """The folders of those that are done, and the exit codes of those that failed."""
        for stage in self.stages:
            if stage.name in self.done:
                print(f"{self._heading(stage)}: finished before", flush=True)
        self.waiting = [stage for stage in self.stages if stage.name not in self.done]
        self._make_room()
        with ExitStack() as stack:
            starter: Executor | None = None
            try:
                while self.waiting or self.running:
                    for stage in self._ready():
                        if starter is not None and len(self.running) >= starter.max_parallel_jobs:
                            break
                        try:
                            overrides, words, folder = self._call(stage)
                        except BadInput as error:
                            self.waiting.remove(stage)
                            self._fail(stage.name, 2, str(error))
                            continue
                        self.waiting.remove(stage)
                        if (folder / "DONE").exists() and not runs.has_removed(folder):
                            print(f"{self._heading(stage)}: finished before", flush=True)
                            self.done[stage.name] = folder
                            continue
                        starter = starter or stack.enter_context(
                            open_executor(self.on, self.root / "jobs")
                        )
                        print(
                            f"\n{self._heading(stage)}: python -m {stage.verb} {shlex.join(overrides)}",
                            flush=True,
                        )
                        runs.reopen(folder)
                        command = [
                            *overrides,
                            *self._tracks(stage),
                            f"out={cli.quoted(str(folder))}",
                        ]
                        try:
                            self._start(starter, stage, command, words, folder)
                        except Failure as error:
                            self._fail(stage.name, 1, str(error))
                    self._look()
                    if not self.running and not self._ready():
                        break  # what waits needs what failed
            except BaseException:
                for job, _, _ in self.running.values():
                    job.cancel()
                raise
        return self.done, self.failed

    def _ready(self) -> list[Stage]:
        return [
            stage for stage in self.waiting if all(parent in self.done for parent in stage.parents)
        ]

    def _tracks(self, stage: Stage) -> Sequence[str]:
        return self.tracked if issubclass(VERBS[stage.verb].Config, TrackedConfig) else ()

    def _make_room(self) -> None:
        """With `retain=scores`: remove the weights of every student that nothing needs any more."""
        if self.keep == "scores":
            for stage in self.stages:
                needed = not self.children[stage.name] or any(
                    child not in self.done for child in self.children[stage.name]
                )
                if stage.verb in ("train", "rl") and stage.name in self.done and not needed:
                    runs.remove_artefact(self.done[stage.name], "model")

    def _heading(self, stage: Stage) -> str:
        return f"[{self.stages.index(stage) + 1}/{len(self.stages)}] {stage.name}"

    def _call(self, stage: Stage) -> tuple[list[str], list[str], Path]:
        """Its command line, the words for several processes, and the folder that carries its hash."""
        if stage.name not in self.calls:
            overrides = stage.resolved(self.done)
            composed, words = _composed(stage.verb, overrides, self.on)
            name = run_hash(stage.verb, identity(composed), VERBS[stage.verb].inputs(composed))
            self.calls[stage.name] = overrides, words, self._folder(stage, name)
        return self.calls[stage.name]

    def _folder(self, stage: Stage, name: str) -> Path:
        """Where a stage of this hash is: a finished folder that an earlier release named by its own hash, else the folder
        that carries this one."""
        folder = self.root / f"{stage.name}-{name[:8]}"
        if folder.exists():
            return folder
        made = sorted(self.root.glob(f"{glob.escape(stage.name)}-{8 * '?'}/DONE"))
        earlier = (done.parent for done in made if runs.hash_of(stage.verb, done.parent) == name)
        return next(earlier, folder)

    def _start(
        self,
        starter: Executor,
        stage: Stage,
        command: list[str],
        words: list[str],
        folder: Path,
    ) -> None:
        (job,) = starter.submit(
            [
                command_for(
                    stage.verb,
                    command,
                    self.on,
                    words,
                    VERBS[stage.verb].Config.data_parallel,
                    stage.name,
                )
            ]
        )
        self.running[stage.name] = job, LogTail(job.logs), folder

    def _look(self) -> None:
        """What has ended since the last look."""
        for name, (job, tail, folder) in list(self.running.items()):
            ended = job.poll()
            if ended is None:
                continue
            del self.running[name]
            if ended == 0 and (folder / "DONE").exists():
                self.done[name] = folder
                self._make_room()
            else:
                self._fail(name, ended or 1, tail.last_line() if job.logs else "")
        if self.running:
            time.sleep(POLL_SECONDS if self.on.name != "local" else 0.05)

    def _fail(self, name: str, status: int, said: str) -> None:
        self.failed[name] = status
        print(
            f"launch: {name} ended with exit code {status}{f': {said}' if said else ''}",
            file=sys.stderr,
            flush=True,
        )


def _report(names: list[str], folders: Mapping[str, Path], page: Path) -> int:
    if not names:
        return 0
    print()
    words = (*(str(folders[name]) for name in names), "--out", str(page))
    with open_executor(LocalConfig(), Path()) as here:
        (job,) = here.submit([Command("eval.report", words)])
        while (status := job.poll()) is None:
            time.sleep(0.05)
    if status == 0:
        print(f"\nreport: {page}")
    return status
