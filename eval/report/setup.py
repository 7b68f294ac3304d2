"""Who, what, how: the facts of a study, as far as its runs recorded them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from eval.report.comparability import revisions, short_revision
from eval.report.csv_table import Tables
from eval.report.evaluations import Evaluation
from eval.report.group_names import introduced
from eval.report.html import short_number
from eval.report.phrases import count, listed, span
from eval.report.study import Study
from ratiocine.runs import PairSource, StudentInfo

FORMULAS = (
    "Two formulas, never mixed. Training FLOPs (also those held equal between arms) are by the "
    "published formula of arXiv 2509.22193, pretraining excluded, for comparison with other work. "
    "FLOPs per answer count the matmuls that the model needs; by the published formula they are in "
    "the column inference_flops_published of the table costs alone."
)


@dataclass(frozen=True)
class Fact:
    """A row of the section Setup."""

    label: str
    text: str


def facts(study: Study, tables: Tables) -> list[Fact]:
    """Those that are known, in the order of the page."""
    students = _students(study)
    found = [
        Fact("Models", _models(study)),
        Fact("Traces", _traces(study)),
        Fact("Training", _training(study, students)),
        Fact("Problems", _problems(study, tables)),
        Fact("Answers", _answers(study)),
        Fact("Statistics", _statistics(study)),
        Fact("FLOPs", FORMULAS),
        Fact("Time", _time(study, students)),
        Fact("Code", _code(study, students)),
    ]
    return [fact for fact in found if fact.text]


def _students(study: Study) -> list[StudentInfo]:
    """Every student and those it was trained from, once."""
    found: dict[object, StudentInfo] = {}
    for evaluation in study.evaluations:
        for one in evaluation.student.ancestors() if evaluation.student else ():
            found.setdefault(one.hash or id(one), one)
    return list(found.values())


def sources(study: Study) -> list[PairSource]:
    """Every set of pairs that was taught, once."""
    return list(dict.fromkeys(source for one in _students(study) for source in one.sources))


def _models(study: Study) -> str:
    parts = []
    for model in study.models:
        arms = [arm for arm in study.arms if arm.model == model]
        facts = [one.facts for arm in arms if not arm.trained for one in arm.evaluations]
        students = [one for arm in arms for e in arm.evaluations if (one := e.student)]
        firsts = [[*one.ancestors()][-1] for one in students]
        size = next((arm.size for arm in arms if arm.size), None)
        pruned = _first(one.pruned for group in (facts, firsts) for one in group)
        license = _first(one.license for group in (facts, firsts) for one in group)
        words = [f"{size:,} weights"] if size else []
        own = f"{model}, "  # in runs of earlier releases
        if pruned is not None and pruned.startswith(own):
            words.append(f"pruned to {pruned.removeprefix(own)}")
        elif pruned is not None:
            words.append(f"pruned from {pruned}")
        words += [f"license {license}"] if license else []
        parts.append(f"{model} ({', '.join(words)})" if words else model)
    return f"{listed(parts)}."


def _first(values: Iterable[str | None]) -> str | None:
    return next((value for value in values if value), None)


def _traces(study: Study) -> str:
    """Who wrote the pairs, at what cost."""
    return " ".join(_source(source) for source in sources(study))


def _source(source: PairSource) -> str:
    if source.is_model:
        license = f" (license {source.teacher_license})" if source.teacher_license else ""
        who = f"Written by the model {source.teacher}{license}"
    else:
        who = {
            "oracle": "Written by a program that solves the problems (oracle), not by a model",
            "reference": "The worked solutions of the data set (reference), not of a model",
            "published": "Both answers as published with the data set",
        }.get(source.teacher, f"Written by {source.teacher}")
    words = [f"{who}."]
    if source.n:
        license = f"; license of the problems: {source.license}" if source.license else ""
        words.append(f"{count(source.n, 'pair')}{license}.")
    if source.tokens:
        money = f", cost {source.money:,.2f}" if source.money else ""
        words.append(
            f"The teacher took {source.tokens:,} tokens{money}; no FLOPs of this page include them."
        )
    elif not source.is_model:
        words.append("They cost no teacher's tokens.")
    return " ".join(words)


def _training(study: Study, students: Sequence[StudentInfo]) -> str:
    numbers = [one.problems for one in students if one.problems]
    words = []
    if numbers:
        words.append(f"{span(numbers)} training problems per student.")
    if len(study.trained):
        seeds = sorted({len(arm.evaluations) for arm in study.trained})
        trained = count(len(study.trained), "trained arm")
        words.append(f"{trained}, {span(seeds)} seed{'s' * (seeds != [1])} each.")
    kinds = {one.lora for one in students if one.lora is not None and not one.rewarded}
    if len(kinds) == 1:
        words.append("LoRA adapters, merged." if kinds == {True} else "All weights are trained.")
    rates: dict[str, set[str]] = {}
    for arm in study.trained:
        if not arm.rewarded and (rate := arm.fact("lr")) is not None:
            rates.setdefault(f"{float(rate):g}", set()).add(arm.model)
    if len(rates) == 1:
        words.append(f"Peak learning rate {next(iter(rates))}.")
    elif rates:
        of_each = [f"{rate} ({', '.join(sorted(of))})" for rate, of in sorted(rates.items())]
        words.append(f"Peak learning rates {listed(of_each)}.")
    return " ".join(words)


def _problems(study: Study, tables: Tables) -> str:
    chance = {row["group"]: row["chance"] for row in tables["chance"]}
    parts = []
    for group, keys in study.groups.items():
        if group != "all":
            first = study.evaluations[0]
            names = list(dict.fromkeys(first.benchmark(key) for key in keys))
            known = f", chance {100 * chance[group]:.0f} %" if group in chance else ""
            parts.append(f"{introduced(group)}: {', '.join(names)}, n = {len(keys):,}{known}")
    return f"{'; '.join(parts)}."


def _answers(study: Study) -> str:
    kinds = Counter(map(_decoding, study.evaluations))
    how = next(iter(kinds))
    if len(kinds) > 1:
        how = ", ".join(f"{n} {words}" for words, n in kinds.items())
    limits = [evaluation.facts.max_new_tokens for evaluation in study.evaluations]
    return (
        f"{count(len(study.evaluations), 'evaluation')}, {how}, at most {span(limits)} new tokens; "
        f"all are compared on the {len(study.keys):,} problems with a gradable answer in each of "
        "them."
    )


def _decoding(evaluation: Evaluation) -> str:
    if evaluation.manifest.identity.get("strategy") is not None:
        return "with a strategy"
    decoding = evaluation.facts.decoding
    if not decoding.temperature:
        return "greedy"
    samples = count(decoding.samples, "sample")
    return f"{samples} at temperature {round(decoding.temperature, 3):g}"


def _statistics(study: Study) -> str:
    over = (
        "problems alone: other seeds are not covered"
        if study.max_seeds == 1
        else "training seeds and problems"
    )
    return (
        f"95 % intervals are over {over}. Comparisons are paired, problem by problem. Main "
        "contrasts: Holm's correction over all of them (5 % for any false gain or cost); tests of "
        "no gain and declared hypotheses are corrected apart, with 5 % each."
    )


def _time(study: Study, students: Sequence[StudentInfo]) -> str:
    training = sum(one.seconds or 0.0 for one in students)
    answering = sum(evaluation.facts.seconds for evaluation in study.evaluations)
    words = [f"{_hours(training)} of training and " if training else "", _hours(answering)]
    machines = dict.fromkeys(
        machine
        for machine in (
            *(one.machine for one in students),
            *(evaluation.manifest.machine for evaluation in study.evaluations),
        )
        if machine
    )
    where = f", on {listed(list(machines))}" if machines else ""
    return f"{''.join(words)} of evaluation, summed over runs{where}."


def _hours(seconds: float) -> str:
    if seconds < 3600:
        return f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"
    return f"{short_number(seconds / 3600)} hours"


def _code(study: Study, students: Sequence[StudentInfo]) -> str:
    found = revisions(study.evaluations)
    shown = [short_revision(one) for one in found]
    grader = {one.facts.grader for one in study.evaluations}
    words = [f"Revision {listed(shown)}."] if shown else []
    words += [f"Grader {one[:16]}." for one in grader if one] if len(grader) == 1 else []
    return " ".join(words)
