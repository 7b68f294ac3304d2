"""A stage of a study: one run of one verb, with references to its parents' folders."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from distill import config as distill_config
from eval import config as eval_config
from ratiocine import cli
from ratiocine.executors import VerbConfig
from rl import config as rl_config
from train import config as train_config

PARENT = re.compile(r"\{([\w.+-]+)\}")
_TOKEN = rf"[\w./+-]*{PARENT.pattern}[\w./+-]*"
PATH = re.compile(rf"'{_TOKEN}'|{_TOKEN}")
PLANNED = Path("runs")  # of parents that do not exist yet
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

    processes: tuple[str, ...] = field(default=(), compare=False)
    """Overrides that state the processes of a training, as the study's executor starts them."""

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
        words = self.resolved({name: PLANNED / name for name in self.parents})
        config = compose(self.verb, *words, *self.processes)
        assert isinstance(config, schema)
        return config
