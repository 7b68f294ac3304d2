"""A study's stages, each one call of one verb: those that it lists, and the cells of its grid."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from distill import config as distill_config
from eval import config as eval_config
from launch.config import GridConfig, StageConfig, StudyConfig
from ratiocine import cli
from rl import config as rl_config
from train import config as train_config
from train.scenario import ScenarioConfig

VERBS: dict[str, ModuleType] = {
    "distill": distill_config,
    "train": train_config,
    "rl": rl_config,
    "eval": eval_config,
}
PARENT = re.compile(r"\{([\w.+-]+)\}")
TOKEN = rf"[\w./+-]*{PARENT.pattern}[\w./+-]*"
PATH = re.compile(rf"'{TOKEN}'|{TOKEN}")
USUAL = {
    "match": "examples",
    "lr_policy": "per_format",
}  # has no word in a stage's name, so that an axis can be added later


@dataclass(frozen=True)
class Cell:
    """Where a stage stands in the grid: of a set of pairs its name, of a student also the model and the ratio that it was
    taught, None where its scenario says every ratio."""

    pairs: str
    model: str | None = None
    ratio: float | None = None


@dataclass(frozen=True)
class Stage:
    """One call of one verb; `overrides` may name parents as `{stage}`."""

    name: str
    verb: str
    overrides: tuple[str, ...]
    cell: Cell | None = field(default=None, compare=False)

    @property
    def parents(self) -> list[str]:
        return sorted({name for override in self.overrides for name in PARENT.findall(override)})

    def resolved(self, folders: Mapping[str, Path]) -> list[str]:
        """The words, with the folders in place of the names."""

        def path(found: re.Match[str]) -> str:
            return cli.quoted(PARENT.sub(lambda match: str(folders[match[1]]), found[0].strip("'")))

        return [PATH.sub(path, override) for override in self.overrides]


def expand(study: StudyConfig) -> list[Stage]:
    """All stages, those of the grid last."""
    listed = [stage for config in study.stages for stage in _each(config)]
    return [*listed, *(_grid(study.grid) if study.grid else ())]


def compared(study: StudyConfig) -> list[str]:
    """The stages whose results the report compares."""
    if study.grid is None or study.report:
        return study.report
    return [stage.name for stage in _grid(study.grid) if stage.verb == "eval"]


def _each(config: StageConfig) -> Iterator[Stage]:
    for values in itertools.product(*config.matrix.values()):
        chosen = dict(zip(config.matrix, values, strict=True))

        def fill(text: str, chosen: Mapping[str, object] = chosen) -> str:
            for key in sorted(chosen, key=len, reverse=True):  # $seeds before $seed
                text = text.replace(f"${key}", str(chosen[key]))
            return text

        yield Stage(
            fill(config.name), config.verb, tuple(fill(override) for override in config.overrides)
        )


def _grid(grid: GridConfig) -> Iterator[Stage]:
    """What cells share comes first: the sets of pairs, and the models before any training."""
    answer = (
        f"benchmarks=[{','.join(grid.benchmarks)}]",
        *([f"max_new_tokens={grid.max_new_tokens}"] if grid.max_new_tokens else []),
        *grid.eval,
    )
    verified: Sequence[str | None] = grid.verify or [None]
    for (name, words), verify in itertools.product(grid.pairs.items(), verified):
        more = [f"verify={verify}"] if verify else []
        yield Stage(_pairs(name, verify), "distill", (*words, *grid.distill, *more), Cell(name))
    if grid.baseline is not None:
        for model, words in grid.models.items():
            yield Stage(f"eval-{model}", "eval", (*words, *answer, *grid.baseline), Cell("", model))
    scenarios = {name: cli.named("scenario", name, ScenarioConfig) for name in grid.scenarios}
    for seed, pairs, verify, (model, words), scenario, match, policy in itertools.product(
        grid.seeds,
        grid.pairs,
        verified,
        grid.models.items(),
        grid.scenarios,
        grid.equalize,
        grid.lr_policy,
    ):  # seed by seed: what is interrupted has the whole grid once, not a part of it often
        for ratio in _ratios(grid, scenarios[scenario]):
            cell = Cell(pairs, model, ratio)
            usual = [
                value
                for axis, value in (("match", match), ("lr_policy", policy))
                if value != USUAL[axis]
            ]
            taught = [] if ratio is None else [f"{ratio:g}"]
            name = "-".join(
                [
                    model,
                    *_pairs(pairs, verify).split("-")[1:],
                    scenario,
                    *taught,
                    *usual,
                    f"s{seed}",
                ]
            )
            words_of = [f"scenario={scenario}", *([] if ratio is None else [f"ratio={ratio:g}"])]
            yield Stage(
                f"train-{name}",
                "train",
                (
                    *words,
                    f"pairs={{{_pairs(pairs, verify)}}}",
                    *words_of,
                    f"equalize={match}",
                    f"lr_policy={policy}",
                    *grid.train,
                    f"seed={seed}",
                ),
                cell,
            )
            yield Stage(f"eval-{name}", "eval", (f"model={{train-{name}}}/model", *answer), cell)
            if grid.rl and (grid.rl.ratios is None or ratio in grid.rl.ratios):
                yield Stage(
                    f"rl-{name}",
                    "rl",
                    (f"model={{train-{name}}}/model", *grid.rl.overrides, f"seed={seed}"),
                    cell,
                )
                yield Stage(
                    f"eval-rl-{name}", "eval", (f"model={{rl-{name}}}/model", *answer), cell
                )


def _pairs(name: str, verify: str | None) -> str:
    return "-".join(["pairs", name, *([verify] if verify else [])])


def _ratios(grid: GridConfig, scenario: ScenarioConfig) -> list[float | None]:
    if scenario.fixes_ratio:
        return [None]
    by_format = len(scenario.stages) > 1 and all(
        stage.format is not None for stage in scenario.stages
    )
    same = by_format and "mixed" in grid.scenarios and scenario.schedule == "whole"
    return [ratio for ratio in grid.ratios if not (same and ratio in (0, 1))]
