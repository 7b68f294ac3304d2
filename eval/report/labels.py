"""Short names of evaluations and arms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from eval.report.evaluations import Evaluation
from ratiocine.runs import EvalFacts, Relay, StudentInfo
from ratiocine.strategies import STRATEGIES


def label(facts: EvalFacts) -> str:
    """Short name of an evaluation: that of its arm, with the seed of a student of `rl`."""
    student = facts.student
    if student and student.rewarded:
        return f"{arm_label(facts)}, seed {student.seed}"
    return arm_label(facts)


def strategy_words(settings: object) -> str | None:
    """A strategy with its number of samples and what is not by default; None without one."""
    if not isinstance(settings, Mapping):
        return None
    name = str(settings["name"])
    fields = STRATEGIES[name].model_fields if name in STRATEGIES else {}
    shown = [
        f"{key}={value}"
        for key, value in settings.items()
        if key in ("n", "k")
        or (key != "name" and (key not in fields or fields[key].default != value))
    ]
    return " ".join([name, *shown])


def relay_words(relay: Relay) -> str:
    """What an evaluation went on from."""
    forced = ", answer forced" if relay.force_answer else ""
    return f"after {relay.at:g} of {relay.source[:6]} by {relay.by}{forced}"


def arm_label(facts: EvalFacts) -> str:
    """Short name of an arm: scenario and ratio, then objective and reward."""
    return training_label(facts.student) if facts.student else f"{facts.model} (untrained)"


def training_label(student: StudentInfo) -> str:
    """How a student was trained, in a few words: scenario, ratio, rewards."""
    if student.rewarded:
        start = training_label(student.parent) if student.parent else str(student.base)
        named = (
            f"{name} (changed)" if group in student.changed else str(name)
            for group, name in (("objective", student.objective), ("reward", student.reward))
        )
        return f"{start} + {' '.join(named)}{', rewards shuffled' * student.control}"
    words = [student.scenario] if student.scenario not in (None, "mixed") else []
    words += [] if student.ratio is None else [f"ratio {student.ratio:g}"]
    return " ".join(map(str, words))


def distinct_models(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """The evaluations; starting models of one name, but of other contents and paths, are named by
    the shortest ends of their paths that differ."""
    starts = [_start(evaluation) for evaluation in evaluations]
    ends = {name: _ends([one for one in starts if one.name == name]) for name, _, _ in starts}
    found = []
    for evaluation, start in zip(evaluations, starts, strict=True):
        if start.content in ends[start.name]:
            evaluation = replace(evaluation, model=ends[start.name][start.content])
            evaluation = replace(evaluation, label=label(evaluation.facts))
        found.append(evaluation)
    return found


class _Start(NamedTuple):
    """A starting model; None where a path or content hash is unknown."""

    name: str
    path: str | None
    content: str | None


def _start(evaluation: Evaluation) -> _Start:
    student = evaluation.student
    if student is None:
        path = (evaluation.config.get("model") or {}).get("path")
        return _Start(evaluation.facts.model, path, evaluation.manifest.inputs.get("model"))
    *_, first = student.ancestors()
    return _Start(str(first.base or evaluation.facts.model), first.base_path, first.base_hash)


def _ends(starts: Sequence[_Start]) -> dict[str | None, str]:
    """By content, the last parts of its path, at least two and as few as tell the paths apart; none
    where there is a single path."""
    parts: dict[str | None, tuple[str, ...]] = {
        one.content: tuple(part for part in one.path.split("/") if part not in ("", "."))
        for one in starts
        if one.content and one.path
    }
    n_paths = len(set(parts.values()))
    if n_paths + any(one.content and not one.path for one in starts) < 2:
        return {}
    for n in range(2, 1 + max(map(len, parts.values()), default=0)):
        ends = {content: "/".join(of[-n:]) for content, of in parts.items()}
        if len(set(ends.values())) == n_paths:
            return ends
    return {}
