"""The planner: a study's stages in order, finished ones skipped, the rest run as commands of the ordinary verbs: here one
after the other, on a cluster as many at once as have what they need.

A stage's folder carries its hash, made from its configuration and the *contents* of its parents' artefacts: change a word
of the study and exactly what depends on it runs again, beside what was there.
"""

from __future__ import annotations

import itertools
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from distill import config as distill_config
from eval import config as eval_config
from launch.config import Config, StageConfig, StudyConfig
from ratiocine import cli, jobs, places
from ratiocine.errors import BadInput
from ratiocine.runs import run_hash
from rl import config as rl_config
from train import config as train_config

VERBS: dict[str, ModuleType] = {"distill": distill_config, "train": train_config, "rl": rl_config, "eval": eval_config}
PARENT = re.compile(r"\{([\w.-]+)\}")


@dataclass(frozen=True)
class Stage:
    """One call of one verb; `overrides` may name parents as `{stage}`."""

    name: str
    verb: str
    overrides: tuple[str, ...]

    @property
    def parents(self) -> list[str]:
        return sorted({name for override in self.overrides for name in PARENT.findall(override)})

    def resolved(self, folders: Mapping[str, Path]) -> list[str]:
        return [PARENT.sub(lambda match: str(folders[match[1]]), override) for override in self.overrides]


def plan(study: StudyConfig, on: places.Place = places.Local()) -> list[Stage]:  # noqa: B008  (frozen)
    """All stages, in an order in which parents come first; every configuration is checked before anything runs."""
    stages: list[Stage] = []
    for config in study.stages:
        stages += _expand(config)
    names = [stage.name for stage in stages]
    for position, stage in enumerate(stages):
        if stage.name in names[:position]:
            raise BadInput(f"study={study.name}: the stage '{stage.name}' occurs twice")
        if missing := [parent for parent in stage.parents if parent not in names[:position]]:
            raise BadInput(f"study={study.name}: {stage.name} needs '{missing[0]}', which is no earlier stage")
        folders = {name: Path("runs") / name for name in names}
        _composed(stage.verb, stage.resolved(folders), on)
    if missing := [name for name in study.report if name not in names]:
        raise BadInput(f"study={study.name}: the report names '{missing[0]}', which is no stage")
    return stages


def _composed(verb: str, overrides: list[str], on: places.Place) -> tuple[places.Placed, list[str]]:
    """The checked configuration of a stage, and the words by which its command has several processes where it can use them."""
    schema: type[places.Placed] = VERBS[verb].Config
    words = [] if schema.shares_out and cli.compose(verb, schema, overrides).alone else on.words
    return cli.compose(verb, schema, [*overrides, *words]), words


def _expand(config: StageConfig) -> Iterator[Stage]:
    for values in itertools.product(*config.each.values()):
        chosen = dict(zip(config.each, values, strict=True))

        def fill(text: str, chosen: Mapping[str, object] = chosen) -> str:
            for key, value in chosen.items():
                text = text.replace(f"${key}", str(value))
            return text

        yield Stage(fill(config.name), config.verb, tuple(fill(override) for override in config.set))


def run_study(config: Config) -> int:
    """Run (or with `dry_run` list) a study; returns the highest exit code of a stage, 0 where all went well. What does not need
    a stage that failed runs all the same."""
    study = config.study
    stages, root = plan(study, config.on), Path(config.out or Path("runs") / (study.beside or study.name))
    if config.dry_run:
        for stage in stages:
            print(f"{stage.name:12} python -m {stage.verb} {' '.join(stage.overrides)}")
        return 0
    started = time.monotonic()
    folders, failed = _Stages(stages, root, config.on).run()
    if failed:
        lost = [stage.name for stage in stages if stage.name not in folders and stage.name not in failed]
        print(f"launch: {', '.join(failed)} failed{_not_run(lost)}; the same command goes on from here", file=sys.stderr)
        return max(failed.values())
    status = _report(study.report, folders, root / (f"{study.name}.html" if study.beside else "report.html"))
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    print(f"total time {minutes} min {seconds} s")
    return status


def _not_run(names: list[str]) -> str:
    return f", so that {', '.join(names)} could not run" if names else ""


class _Stages:
    """The stages of a study on their way: waiting, running, and done with the folders that they are in."""

    def __init__(self, stages: list[Stage], root: Path, on: places.Place) -> None:
        self.stages, self.root, self.on, self.waiting = stages, root, on, list(stages)
        self.running: dict[str, tuple[jobs.Job, jobs.Tail, Path]] = {}
        self.calls: dict[str, tuple[list[str], list[str], Path]] = {}
        self.done: dict[str, Path] = {}
        self.failed: dict[str, int] = {}

    def run(self) -> tuple[dict[str, Path], dict[str, int]]:
        """The folders of those that are done, and the exit codes of those that failed."""
        with ExitStack() as stack:
            starter: jobs.Starter | None = None
            try:
                while self.waiting or self.running:
                    for stage in self._ready():
                        try:
                            overrides, words, folder = self._call(stage)
                        except BadInput as error:
                            self.waiting.remove(stage)
                            self._fail(stage.name, 2, str(error))
                            continue
                        if (folder / "DONE").exists():
                            print(f"{self._heading(stage)}: finished before", flush=True)
                            self.waiting.remove(stage)
                            self.done[stage.name] = folder
                        elif starter is None or len(self.running) < starter.jobs:
                            starter = starter or stack.enter_context(jobs.starter(self.on, self.root / "jobs"))
                            print(f"\n{self._heading(stage)}: python -m {stage.verb} {' '.join(overrides)}", flush=True)
                            self.waiting.remove(stage)
                            self._start(starter, stage, [*overrides, f"out='{folder}'"], words, folder)
                    self._look()
                    if not self.running and not self._ready():
                        break  # what waits needs what failed
            except BaseException:
                for job, _, _ in self.running.values():
                    job.stop()
                raise
        return self.done, self.failed

    def _ready(self) -> list[Stage]:
        return [stage for stage in self.waiting if all(parent in self.done for parent in stage.parents)]

    def _heading(self, stage: Stage) -> str:
        return f"[{self.stages.index(stage) + 1}/{len(self.stages)}] {stage.name}"

    def _call(self, stage: Stage) -> tuple[list[str], list[str], Path]:
        """Its command line, the words for several processes, and the folder that carries its hash."""
        if stage.name not in self.calls:
            overrides = stage.resolved(self.done)
            composed, words = _composed(stage.verb, overrides, self.on)
            name = run_hash(stage.verb, composed.model_dump(), VERBS[stage.verb].inputs(composed))
            self.calls[stage.name] = overrides, words, self.root / f"{stage.name}-{name[:8]}"
        return self.calls[stage.name]

    def _start(self, starter: jobs.Starter, stage: Stage, command: list[str], words: list[str], folder: Path) -> None:
        (job,) = starter.start(
            [jobs.call(stage.verb, command, self.on, words, VERBS[stage.verb].Config.shares_out, stage.name)]
        )
        self.running[stage.name] = job, jobs.Tail(job.logs), folder

    def _look(self) -> None:
        """What has ended since the last look."""
        for name, (job, tail, folder) in list(self.running.items()):
            ended = job.poll()
            if ended is None:
                continue
            del self.running[name]
            if ended == 0 and (folder / "DONE").exists():
                self.done[name] = folder
            else:
                self._fail(name, ended or 1, tail.last() if job.logs else "")
        if self.running:
            time.sleep(jobs.LOOK if self.on.name != "local" else 0.05)

    def _fail(self, name: str, status: int, said: str) -> None:
        self.failed[name] = status
        print(f"launch: {name} ended with exit code {status}{f': {said}' if said else ''}", file=sys.stderr, flush=True)


def _report(names: list[str], folders: Mapping[str, Path], page: Path) -> int:
    if not names:
        return 0
    print()
    words = (*(str(folders[name]) for name in names), "--out", str(page))
    with jobs.starter(places.Local(), Path()) as here:
        (job,) = here.start([jobs.Call("eval.report", words)])
        while (status := job.poll()) is None:
            time.sleep(0.05)
    if status == 0:
        print(f"\nreport: {page}")
    return status
