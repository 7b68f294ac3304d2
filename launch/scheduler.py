"""Runs the unfinished stages of a study: each once its parents are finished, several in parallel on
a cluster."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from launch.plan_file import JOBS
from launch.stages import VERBS, Stage
from launch.study_state import StageRun, StudyState
from ratiocine import cli, runs
from ratiocine.errors import BadInput, Failure
from ratiocine.executors import (
    INTERRUPTED,
    LOCAL_POLL_SECONDS,
    POLL_SECONDS,
    Executor,
    Job,
    LogTail,
    Resources,
    command_for,
    end_reason,
    open_executor,
)
from ratiocine.runs import TrackedConfig


@dataclass
class _RunningStage:
    stage: Stage
    job: Job
    folder: Path
    log: LogTail = field(init=False)

    def __post_init__(self) -> None:
        self.log = LogTail(self.job.logs)


class Scheduler:
    """`run` returns once every stage is finished, has failed, or depends on one that has."""

    def __init__(
        self,
        state: StudyState,
        tracking_overrides: Sequence[str] = (),
        limits: Callable[[Stage], Resources] = lambda stage: Resources(),
    ) -> None:
        self.state, self.tracking_overrides, self.limits = state, tracking_overrides, limits
        self.waiting: list[Stage] = []
        self.running: list[_RunningStage] = []
        self.failed: dict[str, int] = {}
        self.executor: Executor | None = None  # opened by the first stage that runs

    def run(self) -> dict[str, int]:
        """Run all unfinished stages; returns the exit codes of those that failed.

        An interrupt cancels the running jobs.
        """
        state = self.state
        for stage in state.stages:
            if stage.name in state.done:
                print(f"{state.heading(stage)}: finished before", flush=True)
        self.waiting = [stage for stage in state.stages if stage.name not in state.done]
        state.remove_weights()
        with ExitStack() as stack:
            try:
                while self.waiting or self.running:
                    self._submit_ready(stack)
                    self._poll()
                    if not self.running and not self._ready():
                        break  # what is waiting depends on what failed
            except BaseException:
                for running in self.running:
                    running.job.cancel()
                raise
        return self.failed

    def _ready(self) -> list[Stage]:
        return [stage for stage in self.waiting if self.state.ready(stage)]

    def _submit_ready(self, stack: ExitStack) -> None:
        """Submit ready stages, at most `max_parallel_jobs` in all."""
        state = self.state
        for stage in self._ready():
            if self.executor and len(self.running) >= self.executor.max_parallel_jobs:
                return
            self.waiting.remove(stage)
            try:
                run = state.run_of(stage)
            except BadInput as error:
                self._fail(stage, 2, str(error))
                continue
            if run.finished and not runs.has_removed(run.folder):
                print(f"{state.heading(stage)}: finished before", flush=True)
                state.done[stage.name] = run.folder
                continue
            if self.executor is None:
                opened = open_executor(state.executor, state.root / JOBS)
                self.executor = stack.enter_context(opened)
            try:
                self._submit(self.executor, stage, run)
            except Failure as error:
                self._fail(stage, 1, str(error))

    def _submit(self, executor: Executor, stage: Stage, run: StageRun) -> None:
        command = f"python -m {stage.verb} {shlex.join(run.overrides)}"
        print(f"\n{self.state.heading(stage)}: {command}", flush=True)
        runs.reopen(run.folder)
        config = VERBS[stage.verb].config
        tracked = self.tracking_overrides if issubclass(config, TrackedConfig) else ()
        overrides = [*run.overrides, *tracked, f"out={cli.quoted(str(run.folder))}"]
        submitted = command_for(
            stage.verb,
            overrides,
            stage.executor,
            run.process_overrides,
            config.data_parallel,
            stage.name,
            self.limits(stage),
        )
        (job,) = executor.submit([submitted])
        self.running.append(_RunningStage(stage, job, run.folder))

    def _poll(self) -> None:
        """Record the stages whose jobs have ended."""
        for running in list(self.running):
            code = running.job.poll()
            if code is None:
                continue
            self.running.remove(running)
            if code == 0 and (running.folder / "DONE").exists():
                self.state.finish(running.stage, running.folder)
            else:
                last = running.log.last_line() if running.job.logs else ""
                logs = f" (log: {running.job.logs[0]})" if running.job.logs else ""
                self._fail(running.stage, code or 1, f"{end_reason(code) or last}{logs}")
        if self.running:
            local = self.state.executor.name == "local"
            time.sleep(LOCAL_POLL_SECONDS if local else POLL_SECONDS)

    def _fail(self, stage: Stage, code: int, message: str) -> None:
        self.failed[stage.name] = code if code <= INTERRUPTED else 1
        reason = f": {message}" if message else ""
        print(
            f"launch: {stage.name} ended with exit code {code}{reason}", file=sys.stderr, flush=True
        )
