"""Rollouts: which problems a step answers, how, and what the answers are worth.

Everything here follows from the seed and the number of the step, so that a run which goes on answers as the uninterrupted one.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from ratiocine.engines import Request
from ratiocine.evaluate import key, thinking_tokens
from ratiocine.executors import distributed
from ratiocine.hashing import digest
from ratiocine.prompts import prompt_ids, user_text
from ratiocine.records import Completion, Problem
from ratiocine.rewards import Rollout
from rl.config import Config
from rl.objectives import advantages, flat

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Sample = Callable[[Sequence[Request]], Iterator[list[Completion]]]


@dataclass(frozen=True)
class Group:
    """The answers to one problem. `components` are the terms of the reward before weights and gates; a reward is None where the
    problem is at fault."""

    problem: Problem
    prompt: tuple[int, ...]
    traces: tuple[Completion, ...]
    rollouts: tuple[Rollout, ...]
    thinking: tuple[int, ...]
    components: Mapping[str, Sequence[float]]
    rewards: tuple[float | None, ...]
    advantages: tuple[float, ...] = ()

    @property
    def flat(self) -> bool:
        return flat(self.rewards)


@dataclass(frozen=True)
class Step:
    """What one step trains on. `drawn` are all groups that were answered, those without a difference included that others took
    the place of."""

    groups: list[Group]
    drawn: list[Group]
    seconds: float
    reward_seconds: float


class Rollouts:
    """`step(number)` answers the step's problems with `sample` and values the answers."""

    def __init__(
        self,
        config: Config,
        problems: Sequence[Problem],
        tokenizer: PreTrainedTokenizerBase,
        sample: Sample,
        thinking: bool | None,
    ) -> None:
        self.config, self.tokenizer, self.sample, self.thinking = (
            config,
            tokenizer,
            sample,
            thinking,
        )
        self.problems = {key(problem): problem for problem in problems}
        self.reward_seconds = 0.0

    def step(self, number: int) -> Step:
        config, started = self.config, time.perf_counter()
        self.reward_seconds = 0.0
        names = self._names(number)
        groups = self._answered(names, number)
        drawn = list(groups)
        for again in range(config.objective.dynamic_sampling_rounds):
            useless = [at for at, group in enumerate(groups) if group.flat]
            if not useless:
                break
            others = self._others(number, again, {key(group.problem) for group in drawn})[
                : len(useless)
            ]
            fresh = self._answered(others, number)
            drawn += fresh
            for at, group in zip(useless, fresh, strict=False):
                groups[at] = group
        if config.shuffle_rewards:
            groups = self._dealt(groups, number)
        std = config.objective.scale_rewards_by
        groups = [
            replace(group, advantages=tuple(advantages(group.rewards, std))) for group in groups
        ]
        return Step(groups, drawn, time.perf_counter() - started, self.reward_seconds)

    def requests(self, names: Sequence[str], step: int) -> list[Request]:
        config = self.config
        return [
            Request(
                name,
                ({"role": "user", "content": user_text(self.problems[name])},),
                config.tokens,
                thinking=self.thinking,
                temperature=config.temperature,
                top_p=config.top_p,
                seed=int(digest(config.seed, "rl", step)[:12], 16),
                samples=tuple(range(config.num_generations)),
                logprobs=True,
            )
            for name in names
        ]

    def _names(self, step: int) -> list[str]:
        """The problems of a step: one pass over all of them after the other, each in an order of its own. What does not fill a
        step at the end of a pass is left to the next, as no problem may be in a step twice."""
        size = self.config.problems
        number, at = divmod(step, len(self.problems) // size)
        return self._pass(number)[at * size : (at + 1) * size]

    @lru_cache(maxsize=4)  # noqa: B019  (one object a run)
    def _pass(self, number: int) -> list[str]:
        return sorted(
            self.problems, key=lambda name: digest(self.config.seed, "pass", number, name)
        )

    def _others(self, step: int, again: int, used: set[str]) -> list[str]:
        """Problems to take the place of others of this step."""
        left = [name for name in self.problems if name not in used]
        return sorted(left, key=lambda name: digest(self.config.seed, "others", step, again, name))[
            : self.config.problems
        ]

    def _answered(self, names: Sequence[str], step: int) -> list[Group]:
        """A group for each problem, in this order; of several ranks each answers and values its part."""
        return distributed.scatter_map(names, lambda part: self._own(part, step))

    def _own(self, names: Sequence[str], step: int) -> list[Group]:
        found: dict[str, dict[int, Completion]] = {name: {} for name in names}
        for traces in self.sample(self.requests(names, step)) if names else ():
            for trace in traces:
                found[trace.id][trace.sample] = trace
        started = time.perf_counter()
        groups = [
            self._valued(self.problems[name], [of for _, of in sorted(found[name].items())])
            for name in names
        ]
        self.reward_seconds += time.perf_counter() - started
        return groups

    def _valued(self, problem: Problem, traces: Sequence[Completion]) -> Group:
        reward = self.config.reward
        rollouts = [
            Rollout(
                problem,
                t.text,
                t.n_completion,
                t.token_ids,
                finished=t.stop == "stop",
                opened=t.opened,
            )
            for t in traces
        ]
        components = reward.components(rollouts)
        totals = reward(rollouts, components)
        prompt = tuple(prompt_ids(self.tokenizer, user_text(problem), thinking=self.thinking))
        thinking = tuple(
            thinking_tokens(t, r.parts, self.tokenizer)
            for t, r in zip(traces, rollouts, strict=True)
        )
        return Group(
            problem, prompt, tuple(traces), tuple(rollouts), thinking, components, tuple(totals)
        )

    def _dealt(self, groups: Sequence[Group], step: int) -> list[Group]:
        """The control: the rewards of a step dealt at random among all of its answers."""
        rewards = [reward for group in groups for reward in group.rewards if reward is not None]
        random.Random(f"{self.config.seed} {step}").shuffle(rewards)
        deal = iter(rewards)
        return [
            replace(g, rewards=tuple(None if r is None else next(deal) for r in g.rewards))
            for g in groups
        ]
