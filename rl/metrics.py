"""Metrics of a step's rollouts and its FLOPs: pure functions of what was sampled."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from ratiocine import cost
from ratiocine.completion_parts import looping
from ratiocine.rewards import Format
from rl.config import Config
from rl.rollouts import Group, Step
from rl.updates import answers_of

Row = dict[str, Any]


def step_metrics(step: Step, config: Config) -> Row:
    """Metrics of a step's rollouts by name. `surprisal`, `groups` and the shares of groups cover
    all groups sampled, the others those trained on."""
    groups, sampled = step.groups, step.sampled
    pairs = [
        (rollout, tokens)
        for group in groups
        for rollout, tokens in zip(group.rollouts, group.think_tokens, strict=True)
    ]
    rollouts = [rollout for rollout, _ in pairs]
    terms = {
        term.name: [value for group in groups for value in group.components[term.name]]
        for term in config.reward.terms
    }
    form = format_term(config)
    right = [[rollout.right for rollout in group.rollouts] for group in sampled]
    return {
        "reward": mean([r for group in groups for r in group.rewards if r is not None]),
        **{f"reward_{name}": mean(values) for name, values in terms.items()},
        **{f"reward_{name}_min": min(values) for name, values in terms.items()},
        **{f"reward_{name}_max": max(values) for name, values in terms.items()},
        "accuracy": fmean(rollout.right for rollout in rollouts),
        "format": fmean(form.one(rollout) for rollout in rollouts),
        "all_right": fmean(all(of_group) for of_group in right),
        "all_wrong": fmean(not any(of_group) for of_group in right),
        "frac_reward_zero_std": fmean(group.has_equal_rewards for group in sampled),
        "groups": len(sampled),
        "length": fmean(rollout.length for rollout in rollouts),
        "thinking_right": mean([tokens for rollout, tokens in pairs if rollout.right]),
        "thinking_wrong": mean([tokens for rollout, tokens in pairs if not rollout.right]),
        "surprisal": surprisal(sampled),
        "truncated": fmean(not rollout.finished for rollout in rollouts),
        "loops": fmean(looping(rollout.text) for rollout in rollouts),
    }


def surprisal(groups: Sequence[Group]) -> float | None:
    """Mean −log-probability of sampled tokens in nats: at temperature 1 an estimate of the policy's
    entropy over all answers."""
    return mean(
        [
            -value
            for group in groups
            for completion in group.completions
            for value in completion.logprobs or ()
        ]
    )


def format_term(config: Config) -> Format:
    """The format that is measured: the reward's own, else that of think tags and a box."""
    return next((t for t in config.reward.terms if isinstance(t, Format)), Format(name="format"))


def mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def step_flops(step: Step, config: Config, shape: cost.Shape) -> tuple[int, int]:
    """FLOPs of sampling and updating: executed, and by the published formula (`flops_paper`).
    Answers without a gradient are not trained on; forward passes for log-probabilities of the
    sampling policy and of the reference cover all answers."""
    exact, paper = 0, 0
    for group in step.sampled:
        for rollout in group.rollouts:
            exact += cost.exact_generation(shape, len(group.prompt), rollout.length)
            paper += cost.generation(shape, len(group.prompt), rollout.length)
    # Forward passes for log-probabilities of the sampling policy, and of the reference.
    passes = (config.optimizer_steps > 1) + bool(config.objective.beta)
    for answer in answers_of(step):
        generated = len(answer) - len(answer.prompt)
        if answer.has_gradient(config):
            exact += config.num_iterations * cost.exact_training(
                shape, len(answer), generated, frozen=config.lora
            )
            paper += config.num_iterations * cost.training(shape, len(answer))
        exact += passes * cost.exact_forward(shape, 0, len(answer), generated)
        paper += passes * cost.forward(shape, len(answer))
    return exact, paper


def completion_rows(step: int, group: Group) -> list[Row]:
    """A group's answers as rows of `completions.jsonl` and of the tracker's table."""
    problem = group.problem
    return [
        {
            "step": step,
            "id": problem.id,
            "source": problem.source,
            "question": problem.question,
            "reference": problem.reference,
            "completion": rollout.text,
            "right": rollout.right,
            "finished": rollout.finished,
            "tokens": rollout.length,
            "reward": group.rewards[at],
            **{f"reward_{name}": values[at] for name, values in group.components.items()},
            "advantage": group.advantages[at],
        }
        for at, rollout in enumerate(group.rollouts)
    ]
