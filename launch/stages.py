"""A stage of a study: one run of one verb, with references to its parents' folders."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import yaml

from distill import config as distill_config
from eval import config as eval_config
from ratiocine import cli
from ratiocine.errors import BadInput
from ratiocine.executors import ExecutorConfig, LocalConfig, VerbConfig
from rl import config as rl_config
from train import config as train_config

PARENT = re.compile(r"\{([\w.+-]+)\}")
_TOKEN = rf"[\w./+-]*{PARENT.pattern}[\w./+-]*"
PATH = re.compile(rf"'{_TOKEN}'|{_TOKEN}")
PLANNED = Path("runs")  # of parents that do not exist yet
EXECUTOR = "executor"
OF_STUDY = ("name", "max_parallel_jobs", "wait")  # keys of an executor that stages share
C = TypeVar("C", bound=VerbConfig)


@dataclass(frozen=True)
class Verb:
    """What the study planner (`launch.planner`) needs of a verb: its configuration, and the content
    hashes of its inputs."""

    config: type[VerbConfig]
    inputs: Callable[[Any], dict[str, str]]


VERBS: Mapping[str, Verb] = {
    "distill": Verb(distill_config.Config, distill_config.inputs),
    "train": Verb(train_config.Config, train_config.inputs),
    "rl": Verb(rl_config.Config, rl_config.inputs),
    "eval": Verb(eval_config.Config, eval_config.inputs),
}


@cache
def compose(verb: str, *overrides: str) -> VerbConfig:
    """The checked configuration of `python -m verb *overrides`; plan and cost estimate share it."""
    return cli.compose(verb, VERBS[verb].config, overrides)


@dataclass(frozen=True)
class Stage:
    """One run of a verb; `overrides` refer to parents as `{stage}`."""

    name: str
    verb: str
    overrides: tuple[str, ...]
    pairs: str | None = field(default=None, compare=False)
    """Name of the grid's set of pairs that it makes or depends on; empty for the evaluation of a
    starting model, None for a stage outside the grid."""

    executor: ExecutorConfig = field(default=LocalConfig(), compare=False)
    """The study's, with what the stage changes of it (`on`)."""

    def on(self, executor: ExecutorConfig) -> Stage:
        """The stage on the study's executor, whose keys its own `executor.` overrides change.

        Raises BadInput for a key that is of the study as a whole, or an invalid value.
        """
        values = executor.model_dump()
        others = []
        for word in self.overrides:
            group, _, key = cli.key_of(word).partition(".")
            if group != EXECUTOR:
                others.append(word)
                continue
            if key in ("", *OF_STUDY):
                raise BadInput(f"{word}: all stages share the study's; give it beside study=")
            values[key] = yaml.safe_load(word.partition("=")[2])
        changed = cli.check(VerbConfig, {EXECUTOR: values}).executor
        return replace(self, overrides=tuple(others), executor=changed)

    @property
    def parents(self) -> list[str]:
        return sorted({name for override in self.overrides for name in PARENT.findall(override)})

    def resolved(self, folders: Mapping[str, Path]) -> list[str]:
        """The overrides with folders in place of stage names."""

        def path(match: re.Match[str]) -> str:
            text = match[0].strip("'")
            return cli.quoted(PARENT.sub(lambda parent: str(folders[parent[1]]), text))

        return [PATH.sub(path, override) for override in self.overrides]

    def planned(self, schema: type[C]) -> C:
        """Its configuration, with folders of parents that do not exist yet."""
        config, _ = self.composed({name: PLANNED / name for name in self.parents})
        assert isinstance(config, schema)
        return config

    def composed(self, folders: Mapping[str, Path]) -> tuple[VerbConfig, list[str]]:
        """Its checked configuration, and the overrides for several processes of one node if it can
        use them."""
        overrides, own = self.resolved(folders), self.executor.overrides
        if VERBS[self.verb].config.data_parallel:
            config = compose(self.verb, *overrides)
            if not own or config.single_process:
                return config, []
            return compose(self.verb, *overrides, *own), own
        ranks = own
        if self.executor.num_nodes > 1:  # checked as so many processes
            ranks = [f"executor.nproc_per_node={self.executor.world_size}"]
        return compose(self.verb, *overrides, *ranks), own
