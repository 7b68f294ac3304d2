"""Tables of accuracy: by category, by benchmark, by seed, macro-averages and repeated sampling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from eval.report.arms import Arm
from eval.report.csv_table import Table, rounded_table
from eval.report.evaluations import Evaluation
from eval.report.study import ARM_COLUMNS, Study, described
from eval.report.truncation import truncated_share
from ratiocine.scores import majorities, sampled
from ratiocine.stats import macro_average, over_seeds


def accuracy(study: Study) -> Table:
    return _accuracy(study, "accuracy", "Accuracy by category", study.groups)


def accuracy_by_benchmark(study: Study) -> Table:
    return _accuracy(study, "accuracy_by_benchmark", "Accuracy by benchmark", study.benchmarks)


def _accuracy(study: Study, name: str, caption: str, groups: Mapping[str, Sequence[str]]) -> Table:
    rows = [
        (
            *(group, *described(arm), len(keys), *over_seeds(arm.table(keys))),
            truncated_share(arm, keys),
        )
        for group, keys in groups.items()
        for arm in study.arms
    ]
    columns = ("group", *ARM_COLUMNS, "n", "accuracy", "low", "high", "truncated")
    return rounded_table(name, caption, columns, rows)


def accuracy_by_seed(study: Study) -> Table:
    rows = [
        (group, arm.label, seed, len(keys), fmean(values))
        for group, keys in study.groups.items()
        for arm in study.arms
        for seed, values in zip(arm.seeds, arm.table(keys), strict=True)
    ]
    columns = ("group", "arm", "seed", "n", "accuracy")
    return rounded_table("accuracy_by_seed", "Accuracy of every seed", columns, rows)


def chance(study: Study) -> Table:
    """The accuracy of guesses by category and over all problems, of benchmarks for which it
    was recorded; 0 for open questions."""
    rows = []
    for group, keys in study.groups.items():
        found = [share for key in keys if (share := chance_of(study.evaluations, key)) is not None]
        if len(found) == len(keys):
            rows.append((group, len(keys), fmean(found)))
    caption = "Accuracy of guesses among the answers that a question allows"
    return rounded_table("chance", caption, ("group", "n", "chance"), rows)


def chance_of(evaluations: Sequence[Evaluation], key: str) -> float | None:
    """The chance that a guess at a problem of these evaluations is right: that of its benchmark, or
    of its category there; None where it was not recorded."""
    benchmark = evaluations[0].benchmark(key)
    for one in evaluations:
        for name in (f"{benchmark}/{evaluations[0].category(key)}", benchmark):
            if name in one.facts.chance:
                return one.facts.chance[name]
    return None


def macro_averages(study: Study) -> Table:
    """Of every category, and of all problems, with more than one benchmark."""
    rows: list[tuple[object, ...]] = []
    for group, keys in study.groups.items():
        wanted = set(keys)
        benchmarks = [
            inside
            for of in study.benchmarks.values()
            if (inside := [key for key in of if key in wanted])
        ]
        if len(benchmarks) > 1:
            for arm in study.arms:
                groups = [_problem_means(arm, inside) for inside in benchmarks]
                rows.append((group, arm.label, len(benchmarks), *macro_average(groups)))
    columns = ("group", "arm", "benchmarks", "accuracy", "low", "high")
    caption = "Macro-averages: every benchmark has the same weight (bootstrap over problems)"
    return rounded_table("macro_averages", caption, columns, rows)


def _problem_means(arm: Arm, keys: Sequence[str]) -> list[float]:
    """The mean over seeds for every problem."""
    return [fmean(column) for column in zip(*arm.table(keys), strict=True)]


def sampling(study: Study) -> Table:
    """pass@k and the majority vote, where problems were answered several times."""
    found = []
    for arm in study.arms:
        for evaluation in arm.evaluations:
            of, at = evaluation.columns, evaluation.at(study.keys)
            samples, pass_at = sampled(of, at)
            if samples:
                names = (arm.label, evaluation.seed, samples)
                found.append((names, pass_at or {}, fmean(majorities(of, at))))
    ks = sorted({int(k) for _, pass_at, _ in found for k in pass_at})
    rows = [
        (*names, *(pass_at.get(str(k)) for k in ks), majority) for names, pass_at, majority in found
    ]
    columns = ("arm", "seed", "samples", *(f"pass@{k}" for k in ks), "majority")
    caption = "Repeated sampling: the chance that one of k samples is right, and the majority vote"
    return rounded_table("sampling", caption, columns, rows)
