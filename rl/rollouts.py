"""Rollouts of a step: its problems, their sampled answers and rewards.

All of it follows from the seed and the number of the step, so that a resumed run samples what an
uninterrupted one does.
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
from rl.objectives import advantages, equal_rewards

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Generate = Callable[[Sequence[Request]], Iterator[list[Completion]]]


@dataclass(frozen=True)
class Group:
    """The answers to one problem."""

    problem: Problem
    prompt: tuple[int, ...]
    """Token ids."""
    completions: tuple[Completion, ...]
    rollouts: tuple[Rollout, ...]
    """The completions as rewards see them."""
    think_tokens: tuple[int, ...]
    """Of the traces."""
    components: Mapping[str, Sequence[float]]
    """Values of the reward's terms, before weights and gates."""
    rewards: tuple[float | None, ...]
    """None where the problem's reference cannot be graded."""
    advantages: tuple[float, ...] = ()

    @property
    def has_equal_rewards(self) -> bool:
        return equal_rewards(self.rewards)


@dataclass(frozen=True)
class Step:
    """The rollouts of one step."""

    groups: list[Group]
    """To train on."""
    sampled: list[Group]
    """All, with those that dynamic sampling has replaced."""
    seconds: float
    reward_seconds: float


class Rollouts:
    """`step(number)` samples answers to the step's problems with `generate` and computes their
    rewards."""

    def __init__(
        self,
        config: Config,
        problems: Sequence[Problem],
        tokenizer: PreTrainedTokenizerBase,
        generate: Generate,
        thinking: bool | None,
    ) -> None:
        self.config, self.tokenizer = config, tokenizer
        self.generate, self.thinking = generate, thinking
        self.problems = {key(problem): problem for problem in problems}
        self.reward_seconds = 0.0

    def step(self, number: int) -> Step:
        config, started = self.config, time.perf_counter()
        self.reward_seconds = 0.0
        groups = self._groups(self._names(number), number)
        sampled = list(groups)
        for attempt in range(config.objective.dynamic_sampling_rounds):
            useless = [at for at, group in enumerate(groups) if group.has_equal_rewards]
            if not useless:
                break
            used = {key(group.problem) for group in sampled}
            fresh = self._groups(self._substitutes(number, attempt, used)[: len(useless)], number)
            sampled += fresh
            for at, group in zip(useless, fresh, strict=False):
                groups[at] = group
        if config.shuffle_rewards:
            groups = self._shuffled(groups, number)
        scale_by = config.objective.scale_rewards_by
        groups = [
            replace(group, advantages=tuple(advantages(group.rewards, scale_by)))
            for group in groups
        ]
        return Step(groups, sampled, time.perf_counter() - started, self.reward_seconds)

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
        """The problems of a step. Every epoch has an order of its own; problems that do not fill
        its last step are left to the next epoch, so that none is in a step twice."""
        size = self.config.problems
        epoch, at = divmod(step, len(self.problems) // size)
        return self._order(epoch)[at * size : (at + 1) * size]

    @lru_cache(maxsize=4)  # noqa: B019  (one object per run)
    def _order(self, epoch: int) -> list[str]:
        return sorted(self.problems, key=lambda name: digest(self.config.seed, "pass", epoch, name))

    def _substitutes(self, step: int, attempt: int, used: set[str]) -> list[str]:
        """Problems to replace groups of equal rewards in this step."""
        unused = [name for name in self.problems if name not in used]
        seed = self.config.seed
        unused.sort(key=lambda name: digest(seed, "others", step, attempt, name))
        return unused[: self.config.problems]

    def _groups(self, names: Sequence[str], step: int) -> list[Group]:
        """A group per problem, in this order; ranks share the problems."""
        return distributed.scatter_map(names, lambda part: self._sampled_groups(part, step))

    def _sampled_groups(self, names: Sequence[str], step: int) -> list[Group]:
        found: dict[str, dict[int, Completion]] = {name: {} for name in names}
        for completions in self.generate(self.requests(names, step)) if names else ():
            for completion in completions:
                found[completion.id][completion.sample] = completion
        started = time.perf_counter()
        groups = [
            self._rewarded(self.problems[name], [one for _, one in sorted(found[name].items())])
            for name in names
        ]
        self.reward_seconds += time.perf_counter() - started
        return groups

    def _rewarded(self, problem: Problem, completions: Sequence[Completion]) -> Group:
        reward = self.config.reward
        rollouts = [
            Rollout(
                problem,
                one.text,
                one.n_completion,
                one.token_ids,
                finished=one.stop == "stop",
                opened=one.opened,
            )
            for one in completions
        ]
        components = reward.components(rollouts)
        totals = reward(rollouts, components)
        think_tokens = [
            thinking_tokens(completion, rollout.parts, self.tokenizer)
            for completion, rollout in zip(completions, rollouts, strict=True)
        ]
        return Group(
            problem,
            tuple(prompt_ids(self.tokenizer, user_text(problem), thinking=self.thinking)),
            tuple(completions),
            tuple(rollouts),
            tuple(think_tokens),
            components,
            tuple(totals),
        )

    def _shuffled(self, groups: Sequence[Group], step: int) -> list[Group]:
        """The control: the rewards of a step permuted over all of its answers."""
        rewards = [reward for group in groups for reward in group.rewards if reward is not None]
        random.Random(f"{self.config.seed} {step}").shuffle(rewards)
        shuffled = iter(rewards)
        return [
            replace(g, rewards=tuple(None if r is None else next(shuffled) for r in g.rewards))
            for g in groups
        ]
