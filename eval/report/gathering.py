"""Evaluations grouped into arms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from eval.report.arm_labels import named_arms
from eval.report.arms import Arm, start_model
from eval.report.evaluations import Evaluation
from eval.report.labels import relay_words, strategy_words
from ratiocine.config import flattened
from ratiocine.errors import BadInput
from ratiocine.runs import AXES

# What an evaluation's configuration says of what was evaluated, not of how.
NOT_CONDITIONS = ("model", "benchmarks", "logprobs", "relay", "strategy")
LONG = 24  # characters of a value in a label


def gather(evaluations: Sequence[Evaluation]) -> list[Arm]:
    """The arms of these evaluations: starting models first, then by axes and ratio.

    Students that were evaluated with several settings (say, different `max_new_tokens`) have an arm
    for each. Raises BadInput where one seed of an arm occurs twice.
    """
    groups = _grouped(evaluations, ())
    names = _conditions(groups)
    if names:
        groups = _grouped(evaluations, names)
    arms = []
    for group in groups:
        ordered = sorted(group, key=lambda one: one.seed or 0)
        _check_seeds(ordered)
        arms.append(Arm("", "", tuple(ordered), _described(ordered[0], names)))
    return named_arms(sorted(_without_samples(arms), key=_order))


def _without_samples(arms: Sequence[Arm]) -> list[Arm]:
    """The arms without those that are only samples for a strategy: the same students also answer
    once."""
    sampled = {one.manifest.inputs.get("samples") for arm in arms for one in arm.evaluations}
    samples = [
        arm
        for arm in arms
        if any(sampled & set(one.manifest.outputs.values()) for one in arm.evaluations)
    ]
    others = [arm for arm in arms if not arm.has_strategy and arm not in samples]
    asked_once = {_arm_key(arm.evaluations[0]) for arm in others}
    return [
        arm for arm in arms if arm not in samples or _arm_key(arm.evaluations[0]) not in asked_once
    ]


def _check_seeds(ordered: Sequence[Evaluation]) -> None:
    for one, other in pairwise(ordered):
        if (one.seed or 0) == (other.seed or 0):
            what = f"seed {one.seed}" if one.student else "a model"
            raise BadInput(
                f"{one.label}: {what} occurs twice, in {one.folder} and {other.folder}; give one "
                "of them, as a copy is no further seed"
            )


def _grouped(
    evaluations: Sequence[Evaluation], conditions: Sequence[str]
) -> list[list[Evaluation]]:
    found: dict[tuple[str, ...], list[Evaluation]] = {}
    for evaluation in evaluations:
        values = _condition_values(evaluation)
        key = (_arm_key(evaluation), *(str(values.get(name)) for name in conditions))
        found.setdefault(key, []).append(evaluation)
    return list(found.values())


def _arm_key(evaluation: Evaluation) -> str:
    student = evaluation.student
    if student is None:
        return f"{evaluation.facts.model} {evaluation.manifest.inputs.get('model')}"
    if student.arm is not None:
        return student.arm
    return str([start_model(evaluation), *(getattr(student, axis) for axis in AXES[1:])])


def _conditions(groups: Iterable[Sequence[Evaluation]]) -> list[str]:
    """Names of the settings in which evaluations of one student differ."""
    found: dict[str, None] = {}
    for group in groups:
        by_seed: dict[int, list[Mapping[str, object]]] = {}
        for evaluation in group:
            by_seed.setdefault(evaluation.seed or 0, []).append(_condition_values(evaluation))
        for several in by_seed.values():
            for name in several[0]:
                if len({str(values.get(name)) for values in several}) > 1:
                    found[name] = None
    return list(found)


def _condition_values(evaluation: Evaluation) -> dict[str, object]:
    """Evaluation settings, by flat configuration key."""
    facts = evaluation.facts
    identity = flattened(evaluation.manifest.identity)
    settings = {
        name: value
        for name, value in identity.items()
        if name.partition(".")[0] not in NOT_CONDITIONS
    }
    return {
        **settings,
        "max_new_tokens": facts.max_new_tokens,
        "engine": facts.engine,
        "dtype": (facts.dtype or "").removeprefix("torch.") or None,
        "attention": facts.attention,
        "relay": facts.relay and relay_words(facts.relay),
        "strategy": strategy_words(evaluation.manifest.identity.get("strategy")),
    }


def _described(evaluation: Evaluation, names: Sequence[str]) -> str:
    values, words = _condition_values(evaluation), []
    for name in names:
        if values.get(name) is None:  # as it is by default
            continue
        if name == "samples" and (values.get("strategy") or values.get("temperature") == 0):
            continue  # of a strategy, or greedy: one
        if name == "temperature" and values.get("strategy") and not values[name]:
            continue
        value = str(values[name])[:LONG]
        plain = {"max_new_tokens": f"{value} tokens", "engine": value, "dtype": value}
        plain |= dict.fromkeys(("relay", "strategy"), str(values[name]))
        plain["temperature"] = "greedy" if values[name] == 0 else f"temperature {value}"
        plain["samples"] = "one sample" if values[name] == 1 else f"{value} samples"
        words.append(plain.get(name, f"{name.rpartition('.')[2]} {value}"))
    return ", ".join(dict.fromkeys(words))


def _order(arm: Arm) -> tuple[int, str, bool, tuple[str, ...], float, str, str]:
    ratio = -1.0 if arm.ratio is None else arm.ratio
    return (
        arm.size or 0,
        arm.model,
        arm.trained,
        tuple(str(getattr(arm.axes, axis) or "") for axis in AXES[1:-1]),
        ratio,
        _arm_key(arm.evaluations[0]),
        arm.condition,
    )
