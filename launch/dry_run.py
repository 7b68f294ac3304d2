"""What `dry_run=true` prints: a line per stage, settings, the layout of the jobs, totals."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from math import ceil
from shlex import quote

from eval.report import FUTILE, Rounds
from launch.config import Config, GridConfig, StudyConfig, of_verb
from launch.cost_estimate import CostEstimate, number, time
from launch.stages import Stage
from ratiocine import devices, stats
from train.config import Config as TrainConfig
from train.config import notes

WIDTH = 120
NUMBERS = 52  # columns right of a stage's name
POWER = 0.8  # of the hypotheses by which the expected cost of seeds in rounds is estimated


def text(config: Config, estimate: CostEstimate) -> str:
    """The table of stages, and what holds for all of them."""
    grid = config.study.grid
    lines = [
        *_table(estimate),
        "",
        *(_settings(grid, estimate.stages) if grid else ()),
        *_notes(estimate.stages),
        *_first_commands(estimate.stages),
        *_layout(estimate),
        *_tracking(config),
        estimate.total,
    ]
    return "\n".join(lines)


def _table(estimate: CostEstimate) -> Iterator[str]:
    """A row per stage, numbered as while it runs. A name too long for the width is cut in the
    middle."""
    digits = len(str(len(estimate.stages)))
    longest = max(len(stage.name) for stage in estimate.stages)
    width = min(longest, WIDTH - NUMBERS - digits - 2)
    yield (
        f"{'':{digits}}  {'stage':{width}}  {'state':8}{'tokens':>10}{'FLOPs':>10}{'time':>10}"
        f"{'disk':>12}"
    )
    for place, stage in enumerate(estimate.stages, 1):
        row = f"{place:{digits}}  {_shortened(stage.name, width):{width}}  "
        if stage.name in estimate.done:
            yield f"{row}done"
            continue
        cost = estimate.costs[stage.name]
        disk = f"{estimate.kept(stage.name) / 1e9:.2f} GB"
        yield (
            f"{row}{'to do':8}{number(cost.tokens):>10}{number(cost.flops):>10}"
            f"{time(cost.seconds):>10}{disk:>12}"
        )


def _shortened(name: str, width: int) -> str:
    if len(name) <= width:
        return name
    end = width // 2
    return f"{name[: width - end - 1]}…{name[-end:]}"


def _settings(grid: GridConfig, stages: Sequence[Stage]) -> Iterator[str]:
    """The settings of every stage of a verb, where there are such."""
    verbs = {stage.verb for stage in stages}
    limit = [f"max_new_tokens={grid.max_new_tokens}"] if grid.max_new_tokens else []
    shared = {
        "distill": grid.distill,
        "train": grid.train,
        "rl": grid.rl.overrides if grid.rl else [],
        "eval": [*limit, *grid.eval],
    }
    for verb, words in shared.items():
        if words and verb in verbs:
            yield f"settings of {verb}: {' '.join(words)}"
    for model, words in grid.models.items():
        if own := [word for word in words if of_verb(word)[0]]:
            yield f"settings of {model}: {' '.join(own)}"


def _notes(stages: Sequence[Stage]) -> Iterator[str]:
    trained = [stage.planned(TrainConfig) for stage in stages if stage.verb == "train"]
    yield from dict.fromkeys(line for config in trained for line in notes(config))


def _first_commands(stages: Sequence[Stage]) -> Iterator[str]:
    """The first command of each verb."""
    first = {stage.verb: stage for stage in reversed(stages)}
    for stage in stages:
        if stage is first[stage.verb]:
            command = f"first {stage.verb}: python -m {stage.verb} {' '.join(stage.overrides)}"
            yield from textwrap.wrap(
                command,
                WIDTH,
                subsequent_indent="    ",
                break_long_words=False,
                break_on_hyphens=False,
            )


def _layout(estimate: CostEstimate) -> Iterator[str]:
    """The GPUs or processes of the jobs, and how a training divides its batch among them."""
    jobs = dict[str, int]()
    for stage in estimate.stages:
        if stage.name in estimate.costs:
            on_gpus = stage.executor.gpus_per_node and estimate.model.gpus(stage)
            of = _processes(bool(on_gpus), *estimate.model.processes(stage))
            batch = _batch(estimate, stage) if stage.verb == "train" else ""
            line = f"{stage.verb} on {of}{batch}"
            jobs[line] = jobs.get(line, 0) + 1
    for line, n in jobs.items():
        yield f"{n} job{'s' * (n > 1)} of {line}"


def _processes(on_gpus: bool, nodes: int, each: int) -> str:
    one, several = ("GPU", "GPUs") if on_gpus else ("process", "processes")
    total = nodes * each
    return f"{total} {several if total > 1 else one}" + (
        f" ({nodes} nodes × {each})" if nodes > 1 else ""
    )


def _batch(estimate: CostEstimate, stage: Stage) -> str:
    config, ranks = stage.planned(TrainConfig), stage.executor.world_size
    fewer, uneven = divmod(config.batch_size, ranks)
    each = f", {fewer}{f' or {fewer + 1}' * bool(uneven)} each" if ranks > 1 else ""
    batch, rows = f": batch_size={config.batch_size}{each}", config.micro_batch_size
    if rows == "auto":
        if _on_gpus(estimate):  # neither their memory nor the lengths of all rows are known
            return f"{batch}, in accumulation steps of micro_batch_size=auto"
        rows = config.micro_batch_size_on_cpu
    steps = ceil(config.batch_size / (rows * ranks))
    return f"{batch}, in {steps} accumulation step{'s' * (steps > 1)} of micro_batch_size={rows}"


def _on_gpus(estimate: CostEstimate) -> bool:
    executor = estimate.executor
    planned = executor.gpus_per_node or estimate.model.assumptions.gpu
    return bool(planned or (executor.name == "local" and devices.gpu_count()))


def _tracking(config: Config) -> Iterator[str]:
    if config.tracker == "none":
        return
    line = f"tracker={config.tracker}: project {config.project}, group {config.study.name}"
    if config.tracker == "wandb":
        line += f", entity {config.entity or 'of the key (other: entity=TEAM)'}"
        entity = f" --entity {config.entity}" if config.entity else ""
        line += f"; afterwards: python -m launch.dashboard {quote(str(config.folder))}{entity}"
    yield line


def rounds_text(study: StudyConfig, cells: int, first: CostEstimate, most: CostEstimate) -> str:
    """Seeds in rounds: the largest cost, that of `cells` further seeds of arms, and the expected
    one between those of the first round and of all."""
    assert study.grid is not None
    assert isinstance(study.grid.seeds, Rounds)
    rounds = study.grid.seeds
    looks = [seeds / rounds.most for seeds in range(rounds.first, rounds.most + 1)]
    level = 0.05 * min(one.weight or 1.0 for one in study.hypotheses if one.primary)
    seeds, flops, seconds = list[str](), list[str](), list[str]()
    for power in (None, POWER):
        fraction = stats.expected_information(looks, power, level, FUTILE)
        seeds.append(f"{fraction * rounds.most:.1f}")
        share = (fraction - looks[0]) / (1 - looks[0]) if len(looks) > 1 else 0.0
        for found, name, shown in (
            (flops, "flops", number),
            (seconds, "gpu_seconds", most.amount),
        ):
            low, high = (
                sum(getattr(cost, name) or 0.0 for cost in one.costs.values())
                for one in (first, most)
            )
            found.append(shown(low + share * (high - low)))
    return "\n".join(
        [
            f"at most, with {cells} further seeds of arms:",
            *most.total.splitlines()[:4],
            f"expected: {seeds[0]} of {rounds.most} seeds where no primary hypothesis is true, "
            f"{seeds[1]} where all are and {rounds.most} seeds would show each with a power of "
            f"{POWER:.0%}: {' or '.join(flops)} FLOPs, {' or '.join(seconds)} {most.unit}",
        ]
    )
