"""Expansion of a study into stages: the listed ones, then those of the grid."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from eval.report import Rounds
from launch.config import GridConfig, StageConfig, StudyConfig
from launch.pair_sets import finished_pairs
from launch.stages import Stage
from launch.strategy_stages import strategy_stages
from ratiocine import cli
from ratiocine.errors import BadInput
from train.scenario import ScenarioConfig

# Default values are left out of stage names, so that an axis can be added to a finished study.
DEFAULTS = ("examples", "per_format")


Cell = tuple[str, int]  # name of an arm, and a seed


def expand(study: StudyConfig, added: Collection[Cell] = ()) -> list[Stage]:
    """All stages, those of the grid last; `added` are cells of further rounds of seeds."""
    listed = [stage for config in study.stages for stage in _matrix(config)]
    return [*listed, *(_grid(study.grid, added) if study.grid else ())]


def further_cells(study: StudyConfig) -> list[Cell]:
    """The cells of all further rounds of seeds, if no hypothesis is decided before the last."""
    grid = study.grid
    if grid is None or not isinstance(grid.seeds, Rounds):
        return []
    end, rounds = f"-s{grid.first_seeds[0]}", grid.seeds
    trained = [stage.name for stage in _grid(grid, ()) if stage.verb == "train"]
    names = [name[len("train-") : -len(end)] for name in trained if name.endswith(end)]
    return [(name, seed) for name in names for seed in range(rounds.first, rounds.most)]


def compared(study: StudyConfig, added: Collection[Cell] = ()) -> list[str]:
    """Names of the stages that the report compares."""
    if study.grid is None or study.report:
        return study.report
    return [stage.name for stage in _grid(study.grid, added) if stage.verb == "eval"]


def _matrix(config: StageConfig) -> Iterator[Stage]:
    for values in itertools.product(*config.matrix.values()):
        chosen = dict(zip(config.matrix, values, strict=True))
        overrides = tuple(_substitute(override, chosen) for override in config.overrides)
        yield Stage(_substitute(config.name, chosen), config.verb, overrides)


def _substitute(text: str, values: Mapping[str, object]) -> str:
    for key in sorted(values, key=len, reverse=True):  # $seeds before $seed
        text = text.replace(f"${key}", str(values[key]))
    return text


@dataclass(frozen=True)
class _Arm:
    """One combination of the axes, except the ratio."""

    seed: int
    pairs: str
    verify: str | None
    model: str
    scenario: str
    equalize: str
    lr_policy: str

    def name(self, ratio: float | None) -> str:
        """Without the seed."""
        pairs = [self.pairs, self.verify or ""]
        ratios = ["" if ratio is None else f"{ratio:g}"]
        options = [value for value in (self.equalize, self.lr_policy) if value not in DEFAULTS]
        parts = [self.model, *pairs, self.scenario, *ratios, *options]
        return "-".join(filter(None, parts))


def _grid(grid: GridConfig, added: Collection[Cell]) -> Iterator[Stage]:
    """Stages shared by cells first: sets of pairs, then evaluations of starting models."""
    verified: Sequence[str | None] = grid.verify or [None]
    for (name, overrides), verify in itertools.product(grid.pairs.items(), verified):
        if finished_pairs(overrides):
            continue
        checked = [f"verify={verify}"] if verify else []
        words = (*grid.distill, *overrides, *checked)
        yield Stage(_pairs_stage(name, verify), "distill", words, name)
    if grid.baseline is not None:
        for model in grid.models:
            own = grid.model_words(model)
            words = (*own, *_evaluation(grid, model, grid.baseline))
            yield Stage(f"eval-{model}", "eval", words, "")
    scenarios = {name: cli.named("scenario", name, ScenarioConfig) for name in grid.scenarios}
    # Seeds vary slowest: an interrupted study has the whole grid for some seeds.
    for values in itertools.product(
        [*grid.first_seeds, *sorted({seed for _, seed in added})],
        grid.pairs,
        verified,
        grid.models,
        grid.scenarios,
        grid.equalize,
        grid.lr_policy,
    ):
        arm = _Arm(*values)
        for ratio in _ratios(grid, scenarios[arm.scenario]):
            if arm.seed in grid.first_seeds or (arm.name(ratio), arm.seed) in added:
                yield from _cell(grid, arm, ratio)


def _cell(grid: GridConfig, arm: _Arm, ratio: float | None) -> Iterator[Stage]:
    """Training and evaluation of a student, then GRPO from it and its evaluation."""
    name = f"{arm.name(ratio)}-s{arm.seed}"
    evaluation, seed = _evaluation(grid, arm.model), f"seed={arm.seed}"
    training = (
        *grid.model_words(arm.model),
        finished_pairs(grid.pairs[arm.pairs]) or f"pairs={{{_pairs_stage(arm.pairs, arm.verify)}}}",
        f"scenario={arm.scenario}",
        *([] if ratio is None else [f"ratio={ratio:g}"]),
        f"equalize={arm.equalize}",
        f"lr_policy={arm.lr_policy}",
        *cli.merged(grid.train, grid.model_words(arm.model, "train")),
        seed,
    )
    student = f"model={{train-{name}}}/model"
    yield Stage(f"train-{name}", "train", training, arm.pairs)
    evaluated = Stage(f"eval-{name}", "eval", (student, *evaluation), arm.pairs)
    yield evaluated
    yield from strategy_stages(evaluated, evaluation, grid.strategies)
    if grid.rl and (grid.rl.ratios is None or ratio in grid.rl.ratios):
        rewards = cli.merged(grid.rl.overrides, grid.model_words(arm.model, "rl"))
        yield Stage(f"rl-{name}", "rl", (student, *rewards, seed), arm.pairs)
        rewarded = f"model={{rl-{name}}}/model"
        evaluated = Stage(f"eval-rl-{name}", "eval", (rewarded, *evaluation), arm.pairs)
        yield evaluated
        yield from strategy_stages(evaluated, evaluation, grid.strategies)


def _evaluation(grid: GridConfig, model: str, further: Sequence[str] = ()) -> tuple[str, ...]:
    """Overrides of every evaluation of a model and its students."""
    names = [
        _finished_folder(grid, name) or (cli.quoted(name) if "/" in name or " " in name else name)
        for name in grid.benchmarks
    ]
    benchmarks = f"benchmarks=[{','.join(names)}]"
    limit = [f"max_new_tokens={grid.max_new_tokens}"] if grid.max_new_tokens else []
    settings = cli.merged([*limit, *grid.eval, *further], grid.model_words(model, "eval"))
    return (benchmarks, *settings)


def _finished_folder(grid: GridConfig, benchmark: str) -> str | None:
    """The folder of the benchmark `{pairs-NAME}`, quoted, where that set is finished."""
    for name, overrides in grid.pairs.items():
        finished = finished_pairs(overrides)
        if finished and benchmark == f"{{{_pairs_stage(name, None)}}}":
            folder = finished.removeprefix("pairs=")
            if folder.startswith("["):
                raise BadInput(f"benchmarks=[{benchmark}]: {name} is of several folders; name one")
            return folder
    return None


def _pairs_stage(name: str, verify: str | None) -> str:
    return "-".join(["pairs", name, *([verify] if verify else [])])


def _ratios(grid: GridConfig, scenario: ScenarioConfig) -> list[float | None]:
    """The ratios of a scenario's cells: [None] if it fixes its ratios."""
    if scenario.fixes_ratio:
        return [None]
    by_format = all(stage.format is not None for stage in scenario.stages)
    sequence = len(scenario.stages) > 1 and by_format and scenario.schedule == "whole"
    same_as_mixed = sequence and "mixed" in grid.scenarios
    return [ratio for ratio in grid.ratios if not (same_as_mixed and ratio in (0, 1))]
