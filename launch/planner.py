"""The planner: a study's stages in order, finished ones skipped, the rest run as processes of the ordinary verbs.

A stage's folder carries its hash, made from its configuration and the *contents* of its parents' artefacts: change a word
of the study and exactly what depends on it runs again, beside what was there.
"""

from __future__ import annotations

import atexit
import ctypes
import importlib
import itertools
import os
import re
import runpy
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from distill import config as distill_config
from eval import config as eval_config
from launch.config import Config, StageConfig, StudyConfig
from ratiocine import cli
from ratiocine.errors import BadInput
from ratiocine.runs import run_hash
from rl import config as rl_config
from train import config as train_config

VERBS: dict[str, ModuleType] = {"distill": distill_config, "train": train_config, "rl": rl_config, "eval": eval_config}
HEAVY = ("torch", "transformers.trainer", "peft", "datasets", "hydra", "reasoning_gym")  # safe to fork after
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


def plan(study: StudyConfig) -> list[Stage]:
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
        cli.compose(stage.verb, VERBS[stage.verb].Config, stage.resolved(folders))
    if missing := [name for name in study.report if name not in names]:
        raise BadInput(f"study={study.name}: the report names '{missing[0]}', which is no stage")
    return stages


def _expand(config: StageConfig) -> Iterator[Stage]:
    for values in itertools.product(*config.each.values()):
        chosen = dict(zip(config.each, values, strict=True))

        def fill(text: str, chosen: Mapping[str, object] = chosen) -> str:
            for key, value in chosen.items():
                text = text.replace(f"${key}", str(value))
            return text

        yield Stage(fill(config.name), config.verb, tuple(fill(override) for override in config.set))


def run_study(config: Config) -> int:
    """Run (or with `dry_run` list) a study; returns the exit code of the first stage that failed, else 0."""
    study = config.study
    stages, root = plan(study), Path(config.out or Path("runs") / (study.beside or study.name))
    if config.dry_run:
        for stage in stages:
            print(f"{stage.name:12} python -m {stage.verb} {' '.join(stage.overrides)}")
        return 0
    started, folders = time.monotonic(), dict[str, Path]()
    for number, stage in enumerate(stages, 1):
        overrides = stage.resolved(folders)
        composed = cli.compose(stage.verb, VERBS[stage.verb].Config, overrides)
        name = run_hash(stage.verb, composed.model_dump(), VERBS[stage.verb].inputs(composed))
        folders[stage.name] = root / f"{stage.name}-{name[:8]}"
        heading = f"[{number}/{len(stages)}] {stage.name}"
        if (folders[stage.name] / "DONE").exists():
            print(f"{heading}: finished before", flush=True)
            continue
        print(f"\n{heading}: python -m {stage.verb} {' '.join(overrides)}", flush=True)
        status = _python(stage.verb, *overrides, f"out='{folders[stage.name]}'")
        if status != 0:
            print(f"launch: {stage.name} ended with exit code {status}", file=sys.stderr)
            return status
    status = _report(study.report, folders, root / (f"{study.name}.html" if study.beside else "report.html"))
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    print(f"total time {minutes} min {seconds} s")
    return status


def _report(names: list[str], folders: Mapping[str, Path], page: Path) -> int:
    if not names:
        return 0
    print()
    status = _python("eval.report", *(str(folders[name]) for name in names), "--out", str(page))
    if status == 0:
        print(f"\nreport: {page}")
    return status


def _ended(child: int) -> int:
    """Wait for a process and return its exit code, 1 where a signal ended it."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code if code >= 0 else 1


def _python(module: str, *arguments: str) -> int:
    """Run `python -m module arguments` as a process of its own and return its exit code.

    On Linux it is forked from this one, which imports what every stage needs once: some 20 s a stage on a slow machine.
    """
    if sys.platform != "linux":
        return subprocess.run([sys.executable, "-m", module, *arguments], check=False).returncode
    for heavy in HEAVY if module in VERBS else ():
        importlib.import_module(heavy)
    sys.stdout.flush()
    child = os.fork()
    if child:
        try:
            return _ended(child)
        except BaseException:
            for _ in range(20):  # an interrupt from the keyboard reaches the stage as well, and may be under way there
                if os.waitpid(child, os.WNOHANG) != (0, 0):
                    raise
                time.sleep(0.1)
            os.kill(child, signal.SIGTERM)
            os.waitpid(child, 0)
            raise
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: a stage does not outlive its planner
    become(module, arguments)


def become(module: str, arguments: Sequence[str]) -> NoReturn:
    """Run as `python -m module arguments` does, and end this process as that would end."""
    status: object = 1
    try:
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        status = end.code
        if isinstance(status, str):
            print(status, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else int(status is not None))
