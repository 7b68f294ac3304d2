"""What a grid would cost before it runs: tokens, FLOPs, hours and disk of every stage, from shapes and lengths alone.

Lengths come from pairs that are there, else from what the study takes as known (`expect`); FLOPs are those of the published
form (`ratiocine.cost`), at mean lengths; hours from what finished stages of the study came to, else from `expect.rate`, else
from this machine's rate of products. What cannot be told stands as `?`, and is left out of the sums, which say so.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any, cast

from launch.config import Assumptions, StudyConfig
from launch.stages import VERBS, Stage
from ratiocine import cli, cost, models
from ratiocine.cost import Shape
from ratiocine.errors import BadInput, Failure
from ratiocine.models import ModelConfig
from ratiocine.records import MODES

FLOAT, MOMENTS = (
    4,
    2,
)  # bytes of a weight as it is saved; Adam's numbers beside each, in a checkpoint (of LoRA hardly any)
LETTERS = 6  # bytes of a stored completion a token, its ids included
SHARE = {
    "train": 0.4,
    "eval": 0.15,
    "rl": 0.25,
}  # of a machine's rate of products, roughly, that verbs come to


@dataclass(frozen=True)
class Lengths:
    """Pairs of a set, and mean tokens of their prompts and of both sides."""

    n: int
    prompt: float
    ift: float
    reasoning: float


@dataclass(frozen=True)
class Need:
    """Of one stage; None where it cannot be told yet. `weights` are bytes that `retain=scores` gives back, `checkpoints` those
    that are there while it runs."""

    tokens: float | None = None
    flops: float | None = None
    seconds: float | None = None
    disk: float = 0.0
    weights: float = 0.0
    checkpoints: float = 0.0


@dataclass(frozen=True)
class Estimate:
    """The needs of all stages that are still to be done, by name, and what is done; at most `jobs` run at once."""

    stages: Sequence[Stage]
    needs: Mapping[str, Need]
    done: Mapping[str, Path]
    keep: str
    jobs: int
    roughly: str

    @property
    def disk(self) -> float:
        """Bytes at the worst moment."""
        needs = self.needs.values()
        weights = sorted((need.weights for need in needs), reverse=True)
        if self.keep == "scores":  # of a chain of students two are there at once
            chained = (
                2
                if any(stage.verb == "rl" and stage.name in self.needs for stage in self.stages)
                else 1
            )
            weights = weights[: self.jobs * chained]
        running = sorted((need.checkpoints for need in needs), reverse=True)[: self.jobs]
        return sum(need.disk for need in needs) + sum(weights) + sum(running)

    @property
    def total(self) -> str:
        n, told = len(self.needs), [need for need in self.needs.values() if need.flops is not None]
        untold = f", without {n - len(told)} that cannot be told yet" if len(told) < n else ""
        seconds = [need.seconds for need in told if need.seconds is not None]
        known = len(seconds) == len(told) and (not n or any(seconds))
        hours = f"{hour(sum(seconds))} of one worker ({self.roughly})" if known else "time unknown"
        return (
            f"{len(self.stages)} stages: {len(self.done)} done, {n} to do: {number(sum(need.tokens or 0 for need in told))} "
            f"tokens, {number(sum(need.flops or 0 for need in told))} FLOPs, {hours}, {self.disk / 1e9:.1f} GB of disk{untold}"
        )

    def text(self) -> str:
        """A line a stage and a line for all."""
        width = max(len(stage.name) for stage in self.stages)
        lines = [
            f"{'':{width}}  {'state':8}{'tokens':>9}{'FLOPs':>10}{'time':>10}{'disk':>10}  command"
        ]
        for stage in self.stages:
            command = f"python -m {stage.verb} {' '.join(stage.overrides)}"
            if stage.name in self.done:
                lines.append(f"{stage.name:{width}}  {'done':8}{'':39}  {command}")
                continue
            need = self.needs[stage.name]
            flops, tokens = number(need.flops), number(need.tokens)
            seconds = "?" if need.seconds is None else hour(need.seconds)
            disk = f"{(need.disk + need.weights) / 1e9:.2f} GB"
            lines.append(
                f"{stage.name:{width}}  {'to do':8}{tokens:>9}{flops:>10}{seconds:>10}{disk:>10}  {command}"
            )
        return "\n".join([*lines, self.total])

    def check_disk(self, root: Path) -> None:
        """Raise BadInput where there is less room than is needed."""
        free = shutil.disk_usage(root).free
        if self.disk > free:
            hint = (
                ""
                if self.keep == "scores"
                else "; retain=scores removes each student's weights after its evaluation"
            )
            raise BadInput(
                f"out={root}: {self.disk / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free{hint}"
            )


def estimate(
    study: StudyConfig, stages: Sequence[Stage], done: Mapping[str, Path], keep: str, jobs: int = 1
) -> Estimate:
    """Of what is still to be done of a study, at most `jobs` stages at once."""
    told = _Told(study, stages, done)
    needs = {stage.name: told.need(stage) for stage in stages if stage.name not in done}
    return Estimate(stages, needs, done, keep, jobs, told.roughly)


class _Told:
    """What is known of a study before it runs."""

    def __init__(
        self, study: StudyConfig, stages: Sequence[Stage], done: Mapping[str, Path]
    ) -> None:
        self.expect = study.grid.assumptions if study.grid else Assumptions()
        self.stages, self.done, self.configs = (
            {stage.name: stage for stage in stages},
            done,
            dict[str, Any](),
        )
        self.measured = {verb: _measured(verb, stages, done) for verb in SHARE}
        if any(self.measured.values()):
            self.roughly = "as finished stages took"
        elif self.expect.rate:
            self.roughly = ", ".join(
                f"{verb} at {rate:.2g} FLOPs a second" for verb, rate in self.expect.rate.items()
            )
        else:
            self.roughly = "roughly, by this machine's rate of products while this was asked"

    def need(self, stage: Stage) -> Need:
        if stage.cell is None:
            return Need()
        if stage.verb == "distill":
            told = self.lengths(stage)
            tokens = told.n * (told.prompt + told.ift + told.reasoning) if told else None
            return Need(tokens, 0.0, 0.0, disk=LETTERS * (tokens or 0))
        schema = self.composed(stage)
        shape, size = self.student(stage)
        tokens, flops = (
            self.trained(stage, schema, shape)
            if stage.verb == "train"
            else self.asked(stage, schema, shape)
        )
        rate = None if flops is None else self.rate(stage.verb)
        seconds = flops / rate if flops is not None and rate else None
        if stage.verb == "eval":
            return Need(tokens, flops, seconds, disk=LETTERS * (tokens or 0))
        kept = 0 if schema.lora else schema.keep + 1  # a new one is whole before an old one goes
        return Need(
            tokens,
            flops,
            seconds,
            weights=FLOAT * size,
            checkpoints=kept * (1 + MOMENTS) * FLOAT * size,
        )

    def composed(self, stage: Stage) -> Any:
        """Its configuration."""
        if stage.name not in self.configs:
            nowhere = {name: Path("runs") / name for name in stage.parents}
            self.configs[stage.name] = cli.compose(
                stage.verb, VERBS[stage.verb].Config, stage.resolved(nowhere)
            )
        return self.configs[stage.name]

    def trained(
        self, stage: Stage, config: Any, shape: Shape | None
    ) -> tuple[float | None, float | None]:
        """Tokens and FLOPs of a training."""
        pairs = next(
            (
                self.lengths(self.stages[name])
                for name in stage.parents
                if self.stages[name].verb == "distill"
            ),
            None,
        )
        if pairs is None or shape is None:
            return None, None
        ratio = _taught(config)
        n = min(pairs.n, config.limit or pairs.n) * config.epochs
        if config.max_steps:
            n = min(n, config.max_steps * config.batch_size)
        share = (
            ratio if config.match == "examples" else 1.0
        )  # arms with short answers go on for as long as the others
        both = ((1 - share, pairs.ift), (share, pairs.reasoning))
        tokens = sum(part * n * (pairs.prompt + side) for part, side in both)
        return tokens, sum(
            part * n * cost.training(shape, round(pairs.prompt + side)) for part, side in both
        )

    def asked(
        self, stage: Stage, config: Any, shape: Shape | None
    ) -> tuple[float | None, float | None]:
        """Tokens and FLOPs of an evaluation, or of the answers to rewards and their updates."""
        if shape is None:
            return None, None
        ratio = self.ratio(stage)
        pairs = self.of_cell(stage)
        answer = {
            mode: self.expect.answered.get(mode) or (getattr(pairs, mode) if pairs else None)
            for mode in MODES
        }
        asked = pairs.prompt if pairs else self.expect.asked
        if stage.verb == "rl":
            n: int | None = config.max_steps * config.batch_size
        else:
            n = _problems(config, self.expect.problems)
        ift, reasoning = answer["ift"], answer["reasoning"]
        if n is None or ift is None or reasoning is None:
            return None, None
        most = config.budget or float("inf")
        parts = ((1 - ratio, min(most, ift)), (ratio, min(most, reasoning)))
        tokens = sum(part * n * (asked + written) for part, written in parts)
        flops = sum(
            part * n * _generation(shape, round(asked), round(written)) for part, written in parts
        )
        if stage.verb == "rl":
            flops += sum(
                part * n * cost.training(shape, round(asked + written)) for part, written in parts
            )
        return tokens, flops

    def ratio(self, stage: Stage) -> float:
        """The share of reasoning that its student was taught; 0 before any training."""
        for name in stage.parents:
            parent = self.stages[name]
            if parent.verb == "rl":
                return self.ratio(parent)
            if parent.verb == "train":
                return _taught(self.composed(parent))
        return 0.0

    def of_cell(self, stage: Stage) -> Lengths | None:
        """The pairs of its cell; for a model before training the first set."""
        for other in self.stages.values():
            mine = (
                stage.cell is not None
                and other.cell is not None
                and stage.cell.pairs in ("", other.cell.pairs)
            )
            if other.verb == "distill" and mine:
                return self.lengths(other)
        return None

    def lengths(self, stage: Stage) -> Lengths | None:
        if stage.name in self.done:
            told = json.loads((self.done[stage.name] / "manifest.json").read_text(encoding="utf-8"))
            return Lengths(
                told["n"], *(told["mean_tokens"][side] for side in ("prompt", "ift", "reasoning"))
            )
        name, e = stage.cell.pairs if stage.cell else "", self.expect
        if name in e.pairs and name in e.prompt and name in e.ift and name in e.reasoning:
            return Lengths(e.pairs[name], e.prompt[name], e.ift[name], e.reasoning[name])
        return None

    def student(self, stage: Stage) -> tuple[Shape | None, int]:
        """Dimensions and number of weights of the model that a stage begins with; those of a student are its model's."""
        first = stage
        while True:
            model = next(
                (
                    word.removeprefix("model=")
                    for word in first.overrides
                    if word.startswith("model=")
                ),
                "smollm2-135m",
            )
            if not model.startswith("{"):
                more = [word for word in first.overrides if word.startswith("model.")]
                return _shape(model, tuple(more))
            first = self.stages[model[1 : model.index("}")]]

    def rate(self, verb: str) -> float | None:
        known = self.measured[verb] or self.expect.rate.get(cast(Any, verb))
        products = None if known else _products()
        return known or (SHARE[verb] * products if products else None)


def _taught(config: Any) -> float:
    """The share of reasoning in a training, of a scenario that says every ratio the mean of its stages."""
    ratios = [stage.ratio for stage in config.scenario.stages if stage.ratio is not None]
    return (
        float(config.ratio)
        if config.ratio is not None
        else sum(ratios) / len(ratios)
        if ratios
        else 0.5
    )


def _problems(config: Any, known: int | None) -> int | None:
    """The answers of an evaluation: to `known` problems, else to those of its benchmarks where all are embedded families."""
    found = config.sources()
    counts = [family.test for data in found for family in data.families.values()]
    if known is None and any(not data.families for data in found):
        return None
    limit = config.limit or float("inf")
    sources = sum(len(data.families) or 1 for data in found)
    n = sum(min(limit, count) for count in counts) if known is None else min(known, limit * sources)
    return int(n * config.samples)


def _generation(shape: Shape, prompt: int, written: int) -> int:
    """`cost.generation` without its sum over steps, which are linear in the context."""
    first, last = (
        cost.decode_step(shape, prompt + 1),
        cost.decode_step(shape, prompt + max(1, written)),
    )
    return cost.prefill(shape, prompt) + written * (first + last) // 2


def _measured(verb: str, stages: Sequence[Stage], done: Mapping[str, Path]) -> float | None:
    """FLOPs a second that finished stages of a verb came to."""
    flops = seconds = 0.0
    for stage in stages:
        if stage.verb != verb or stage.name not in done:
            continue
        told = json.loads((done[stage.name] / "manifest.json").read_text(encoding="utf-8"))
        if verb == "eval":
            scores = json.loads((done[stage.name] / "scores.json").read_text(encoding="utf-8"))[
                "all"
            ]
            own = (scores["flops"] or 0.0) * scores["n"]
        else:
            own = told.get("train_flops") or 0.0
        flops, seconds = flops + own, seconds + (told.get("seconds") or 0.0 if own else 0.0)
    return flops / seconds if flops and seconds else None


@cache
def _shape(model: str, more: tuple[str, ...]) -> tuple[Shape | None, int]:
    """A model's dimensions and number of weights; nothing where they are on a hub that cannot be reached."""
    from launch.memory import QWEN, known

    if model.removesuffix("-instruct") in QWEN:
        shape, counts = known(model.removesuffix("-instruct"), 0)
        return shape, counts.all
    try:
        named = cli.compose("eval", VERBS["eval"].Config, [f"model={model}", *more]).model
        return _of(named)
    except (BadInput, Failure):
        return None, 0


def _of(model: ModelConfig) -> tuple[Shape, int]:
    return models.shape(model), models.size(model)


@cache
def _products() -> float | None:
    """FLOPs a second of this machine's products, told by a process of its own: what is forked from one whose threads have
    multiplied could do so no more. None where that process fails."""
    from multiprocessing import get_context

    context = get_context("fork") if sys.platform == "linux" else get_context("spawn")
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_tell_products, args=(theirs,))
    process.start()
    theirs.close()
    try:
        return float(mine.recv())
    except EOFError:
        return None
    finally:
        process.join()


def _tell_products(there: Any) -> None:
    from ratiocine import devices

    device = devices.resolve_device("auto")
    there.send(devices.matmul_rate(device, devices.compute_dtype("auto", device)))


def number(value: float | None) -> str:
    return "?" if value is None else f"{value:.3g}" if value >= 1e4 else f"{value:.0f}"


def hour(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{ceil(seconds / 60)} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"
