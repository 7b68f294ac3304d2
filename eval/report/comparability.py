"""Warnings: what makes evaluations less comparable than they look."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from eval.report.evaluations import Evaluation, shared_keys
from eval.report.pairings import ratio_pairs
from eval.report.phrases import listed_some
from eval.report.study import Study
from ratiocine.runs import AXES

NAMES = {
    "model": "base model",
    "seed": "training seed",
    "lora": "LoRA",
    "lr": "peak learning rate",
    "lr_policy": "learning rate policy",
    "settings": "other settings",
}
SETTINGS: Mapping[str, Callable[[Evaluation], object]] = {
    "max_new_tokens": lambda one: one.facts.max_new_tokens,
    "decoding": lambda one: one.facts.decoding,
    "engine": lambda one: one.facts.engine,
    "num_fewshot": lambda one: dict(one.facts.num_fewshot),
    "seed": lambda one: one.manifest.seed,
    "dtype": lambda one: one.facts.dtype,
    "attention": lambda one: one.facts.attention,
}


def study_warnings(study: Study) -> list[str]:
    """The warnings of a report, which names evaluations by their arms."""
    names = {id(evaluation): arm.label for arm in study.arms for evaluation in arm.evaluations}
    return [
        *_other_differences(study),
        *_revisions(study),
        *warnings(study.evaluations, names),
    ]


def revisions(evaluations: Sequence[Evaluation]) -> list[str]:
    """Commits of the code that trained and evaluated."""
    found: set[str | None] = set()
    for evaluation in evaluations:
        found.add(evaluation.manifest.revision)
        if evaluation.student:
            found |= {one.revision for one in evaluation.student.ancestors()}
    return sorted(one for one in found if one)


def _revisions(study: Study) -> list[str]:
    """Students that different code has trained, and evaluations that different code has made."""
    trained: dict[str, list[str]] = {}
    evaluated: dict[str, list[str]] = {}
    for arm in study.arms:
        for one in arm.evaluations:
            if one.student and one.student.revision:
                trained.setdefault(one.student.revision, []).append(arm.label)
            if one.manifest.revision:
                evaluated.setdefault(one.manifest.revision, []).append(arm.label)
    found = []
    for what, arms in (("Students were trained", trained), ("Evaluations were made", evaluated)):
        if len(arms) > 1:
            parts = [
                f"{short_revision(revision)}: {listed_some(list(dict.fromkeys(labels)), 'arm')}"
                for revision, labels in sorted(arms.items())
            ]
            found.append(
                f"{what} by {len(arms)} revisions of the code, which may be what differs between "
                f"arms ({'; '.join(parts)})."
            )
    return found


def short_revision(revision: str) -> str:
    """Ten digits of a commit, and whether files had changed since."""
    changed = revision.endswith("+")
    return f"{revision.rstrip('+')[:10]}{' with changed files' if changed else ''}"


def _other_differences(study: Study) -> list[str]:
    """Arms that differ in more than their ratio: in training settings (`runs.FACTS`), and in axes
    where no ratios can be compared."""
    arms = [arm for arm in study.trained if not arm.rewarded]
    if len({arm.ratio for arm in arms}) < 2:
        return []
    found = study.differences_beside_ratio(*(AXES if ratio_pairs(study) else ()))
    values = "; ".join(f"{NAMES.get(name, name)}: {', '.join(v)}" for name, v in found.items())
    return [f"Arms differ in more than their reasoning ratio ({values})."] if found else []


def warnings(
    evaluations: Sequence[Evaluation], names: Mapping[int, str] | None = None
) -> list[str]:
    """Differing settings, differing learning rates and unshared problems; `names` maps `id()` of an
    evaluation object to the name to print instead of its label."""
    found = []
    for key, value in SETTINGS.items():
        of_each = (  # a server tells neither its dtype nor its attention
            value(one)
            for one in evaluations
            if key != "decoding" or one.manifest.identity.get("strategy") is None  # that is an arm
        )
        values = {_shown(one) for one in of_each if one is not None}
        if len(values) > 1:
            found.append(f"Evaluations differ in {key}: {', '.join(sorted(values))}.")
    found += _learning_rates(evaluations, names or {})
    n = len(shared_keys(evaluations))
    if any(len(evaluation.answers) != n for evaluation in evaluations):
        everywhere = set(evaluations[0].answers).intersection(*(one.answers for one in evaluations))
        which = "" if len(everywhere) == n else "with a gradable answer "
        found.append(f"Only the {n} problems {which}in every evaluation are compared.")
    return found


def _shown(value: object) -> str:
    return str(value).removeprefix("Decoding")


def _learning_rates(evaluations: Sequence[Evaluation], names: Mapping[int, str]) -> list[str]:
    """Within each model, as each has a best learning rate of its own."""
    by_model: dict[str | None, dict[str, set[str]]] = {}
    for evaluation in evaluations:
        student = evaluation.student
        if student is not None and not student.rewarded and student.lr is not None:
            rates = by_model.setdefault(student.base, {})
            name = names.get(id(evaluation), evaluation.label)
            rates.setdefault(f"{student.lr:.2g}", set()).add(name)
    found = []
    for rates in by_model.values():
        if len(rates) > 1:
            listed = "; ".join(
                f"{rate}: {', '.join(sorted(of))}" for rate, of in sorted(rates.items())
            )
            found.append(
                f"Students differ in their peak learning rate ({listed}), not in the format alone."
            )
    return found
