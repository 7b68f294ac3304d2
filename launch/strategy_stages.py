"""The evaluations of a grid with test-time strategies. Those that ask for samples of the problems
alone take them from one evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from launch.stages import Stage
from ratiocine import cli
from ratiocine.errors import BadInput
from ratiocine.strategies import STRATEGIES, Strategy

# Of strategies whose samples have to differ, unless another is given
TEMPERATURE = "temperature=0.7"


def strategy_stages(
    base: Stage, words: Sequence[str], strategies: Mapping[str, Sequence[str]]
) -> Iterator[Stage]:
    """A stage for each strategy beside the evaluation `base` of one student, `words` of which are
    those that the strategy's own replace; before them the samples that several of them share.

    Raises BadInput for arguments without a strategy, or with an invalid one.
    """
    start = base.overrides[0]  # the student
    chosen = {name: _strategy(name, own) for name, own in strategies.items()}
    shared: dict[tuple[str, ...], list[str]] = {}
    settings = dict[str, tuple[str, ...]]()
    for name, one in chosen.items():
        others = [word for word in strategies[name] if not cli.key_of(word).startswith("strategy")]
        if one.differing and not any(cli.key_of(word) == "temperature" for word in others):
            others.append(TEMPERATURE)
        settings[name] = (*cli.merged(words, others),)
        if one.replayable:
            shared.setdefault(settings[name], []).append(name)
    samples = dict[str, str]()
    for number, (of, names) in enumerate(shared.items(), 1):
        place = f"{base.name}-samples{number if len(shared) > 1 else ''}"
        needs = [f"samples={max(chosen[name].most for name in names)}"]
        if any("logprobs" in chosen[name].needs for name in names):
            needs.append("logprobs=true")
        samples |= dict.fromkeys(names, place)
        yield Stage(place, "eval", (start, *cli.merged(of, needs)), base.pairs)
    for name, own in strategies.items():
        taken = [f"samples_from={{{samples[name]}}}"] if name in samples else []
        of_strategy = [word for word in own if cli.key_of(word).startswith("strategy")]
        yield Stage(
            f"{base.name}-{name}",
            "eval",
            (start, *settings[name], *of_strategy, *taken),
            base.pairs,
        )


def _strategy(name: str, words: Sequence[str]) -> Strategy:
    values: dict[str, Any] = {}
    for word in words:
        key, _, value = word.partition("=")
        if cli.key_of(key) == "strategy":
            if value not in STRATEGIES:
                raise BadInput(
                    f"study.grid.strategies, {name}: unknown strategy '{value}'; known: "
                    f"{', '.join(sorted(STRATEGIES))}"
                )
            values = cli.named("strategy", value, STRATEGIES[value]).model_dump() | values
        elif cli.key_of(key).startswith("strategy."):
            values[cli.key_of(key).removeprefix("strategy.")] = yaml.safe_load(value)
    if "name" not in values:
        raise BadInput(
            f"study.grid.strategies, {name}: give strategy=, one of {', '.join(sorted(STRATEGIES))}"
        )
    try:
        return cli.check(STRATEGIES[values["name"]], values)
    except BadInput as error:
        raise BadInput(f"study.grid.strategies, {name}: {error}") from None
