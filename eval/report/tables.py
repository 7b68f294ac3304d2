"""A study's tables: accuracy, differences, cost and length over ratio × scenario × model × seed. Pure functions of its arms.

Intervals are of 95 %, over training seeds and problems; the p-values of a table are Holm-adjusted for all its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from eval.report import scored
from eval.report.arms import Arm, counterparts
from eval.report.scored import Difference, Evaluation, Row
from eval.report.study import (
    DECIDED,
    NAMED,
    Compared,
    Pair,
    Study,
    Table,
    compared,
    compute_pairs,
    main_pairs,
    named,
    ratio_pairs,
    reward_pairs,
    rounded_table,
    scenario_pairs,
)
from ratiocine import cost
from ratiocine.stats import holm, macro_average, needed, over_seeds, pareto

COMPARED = (
    "n",
    "seeds",
    "discordant",
    "seed_sd",
    "difference",
    "low",
    "high",
    "p",
    "p_holm",
    "decided",
)
SMALLEST = 0.005  # a difference below half a point is not worth the problems that would decide it
MORE = (5, 10)  # seeds that a larger study might have
LEVELS = 33  # token budgets of a curve
RESAMPLES = 2000


def accuracy(study: Study) -> Table:
    return _accuracy(study, "accuracy", "Accuracy by category", study.groups)


def accuracy_by_benchmark(study: Study) -> Table:
    return _accuracy(study, "accuracy_by_benchmark", "Accuracy by benchmark", study.benchmarks)


def _accuracy(study: Study, name: str, caption: str, groups: Mapping[str, Sequence[str]]) -> Table:
    rows = [
        (group, *named(arm), len(keys), *over_seeds(arm.table(keys)))
        for group, keys in groups.items()
        for arm in study.arms
    ]
    return rounded_table(name, caption, ("group", *NAMED, "n", "accuracy", "low", "high"), rows)


def accuracy_by_seed(study: Study) -> Table:
    rows = [
        (group, arm.label, seed if arm.trained else None, len(keys), fmean(values))
        for group, keys in study.groups.items()
        for arm in study.arms
        for seed, values in zip(arm.seeds, arm.table(keys), strict=True)
    ]
    return rounded_table(
        "accuracy_by_seed",
        "Accuracy of every seed",
        ("group", "arm", "seed", "n", "accuracy"),
        rows,
    )


def differences(
    name: str, caption: str, pairs: Sequence[Pair], groups: Mapping[str, Sequence[str]]
) -> Table:
    """Every pair in every group: arm minus the one it is compared with."""
    found = [
        (group, base, arm, compared((base, arm), keys))
        for group, keys in groups.items()
        for base, arm in pairs
    ]
    rows = []
    for (group, base, arm, c), adjusted in zip(found, holm([c.p for *_, c in found]), strict=True):
        numbers = (
            c.n,
            c.seeds,
            c.spread.discordant,
            c.spread.seed_sd,
            c.difference,
            c.low,
            c.high,
            c.p,
            adjusted,
            c.decided,
        )
        rows.append((group, arm.label, base.label, arm.model, arm.ratio, *numbers))
    return rounded_table(
        name, caption, ("group", "arm", "against", "model", "ratio", *COMPARED), rows
    )


def undecided(study: Study) -> Table:
    """For main pairs whose difference is not decided: how many problems would find a true one as large as that seen, with a
    power of 80 %, with the seeds there are and with more. None where no number would, as seeds differ too much, and for more
    seeds where one is all there is."""
    rows = []
    for base, arm in main_pairs(study):
        for group, keys in study.groups.items():
            c = compared((base, arm), keys)
            if c.decided == DECIDED[0] and abs(c.difference) >= SMALLEST:
                wanted = [_needed(c, seeds) for seeds in (c.seeds, *MORE)]
                rows.append(
                    (
                        group,
                        arm.label,
                        base.label,
                        arm.model,
                        c.n,
                        c.seeds,
                        c.difference,
                        c.low,
                        c.high,
                        *wanted,
                    )
                )
    columns = (
        "group",
        "arm",
        "against",
        "model",
        "n",
        "seeds",
        "difference",
        "low",
        "high",
        "problems",
    )
    caption = "Problems that would find, four times in five, a difference as large as the one seen: with these seeds, with 5 and 10"
    return rounded_table(
        "needed", caption, (*columns, *(f"problems_at_{seeds}_seeds" for seeds in MORE)), rows
    )


def _needed(c: Compared, seeds: int) -> int | None:
    if seeds > 1 and c.spread.seed_sd is None:
        return None  # one seed says nothing of how much seeds differ
    discordant = max(c.spread.discordant, abs(c.difference))
    common = {} if c.spread.common is None else {"common": c.spread.common}
    return needed(
        c.difference,
        min(1.0, discordant),
        c.spread.seed_sd or 0.0,
        seeds,
        varying=c.varying,
        **common,
    )


def expectations(study: Study) -> Table:
    """What was declared of benchmarks before training, and what the main pairs show."""
    declared: Mapping[str, str] = study.evaluations[0].manifest.get("hypotheses") or {}
    tested = {name: keys for name, keys in study.benchmarks.items() if name in declared}
    found = differences(
        "expectations",
        "What was expected before training, and what was seen",
        main_pairs(study),
        tested,
    )
    rows = []
    for row in found:
        numbers = (row[name] for name in ("n", "difference", "low", "high", "p", "p_holm"))
        verdict = scored.verdict(
            declared[row["group"]], Difference(row["group"], row["arm"], row["against"], *numbers)
        )
        rows.append((declared[row["group"]], *row.values(), verdict))
    return rounded_table(found.name, found.caption, ("declared", *found.columns, "verdict"), rows)


def flops(arm: Arm, keys: Sequence[str]) -> float | None:
    """Mean FLOPs of an answer to these problems; None where the model's shape is not known."""
    shape = arm.evaluations[0].manifest.get("shape")
    if not shape:
        return None
    made = cost.Shape(**shape)
    rows = [
        row for evaluation in arm.evaluations for key in keys for row in evaluation.answers[key]
    ]
    return fmean(cost.exact_generation(made, row["n_prompt"], row["n_completion"]) for row in rows)


def costs(study: Study) -> Table:
    """What training and answering took, measured times apart."""
    rows = []
    for arm in study.arms:
        training = [float(evaluation.student.get("tokens") or 0) for evaluation in arm.evaluations]
        tokens = [arm.mean(field, study.keys) for field in ("n_completion", "n_think")]
        rows.append(
            (*named(arm), fmean(training), arm.train_flops, *tokens, flops(arm, study.keys))
        )
    columns = (
        *NAMED,
        "training_tokens",
        "training_flops",
        "tokens",
        "thinking_tokens",
        "inference_flops",
    )
    return rounded_table("costs", "What training and an answer cost", columns, rows)


def front(study: Study, kind: str) -> Table:
    """Accuracy over training or inference FLOPs, a row a arm and category: whether the arm is on the front, that no other is
    as cheap and better than, and in which share of bootstrap resamples; of training also, whether the arm is better than its
    model untrained, where that was evaluated."""
    rows: list[tuple[Any, ...]] = []
    untrained = (
        {arm.model: arm for arm in study.arms if not arm.trained} if kind == "training" else {}
    )
    for group, keys in study.groups.items():
        paid = {
            arm.label: arm.train_flops if kind == "training" else flops(arm, keys)
            for arm in study.arms
        }
        arms = [arm for arm in study.arms if paid[arm.label]]
        price = [paid[arm.label] or 0.0 for arm in arms]
        told = [over_seeds(arm.table(keys)) for arm in arms]
        best = set(pareto.front(price, [mean for mean, _, _ in told]))
        support = pareto.support(price, [arm.table(keys) for arm in arms]) if arms else []
        for at, arm in enumerate(arms):
            base = untrained.get(arm.model)
            gained = [base and compared((base, arm), keys).decided] if kind == "training" else []
            rows.append(
                (
                    group,
                    *named(arm),
                    len(keys),
                    price[at],
                    *told[at],
                    at in best,
                    support[at],
                    *gained,
                )
            )
    own = ("than_untrained",) if kind == "training" else ()
    columns = ("group", *NAMED, "n", "flops", "accuracy", "low", "high", "front", "support", *own)
    return rounded_table(f"front_{kind}", f"Accuracy against {kind} FLOPs", columns, rows)


def fits(table: Table, ceiling: float) -> Table:
    """The saturating curve through the points of each front that has five or more."""
    rows = []
    for group in dict.fromkeys(row["group"] for row in table):
        points = table.where(group=group, front=True)
        fit = pareto.saturating(
            [row["flops"] for row in points], [row["accuracy"] for row in points], ceiling
        )
        if fit is not None:
            costs = [row["flops"] for row in points]
            told = (fit.alpha, fit.beta, fit.gamma * max(costs) ** fit.delta, fit.delta, fit.error)
            rows.append((group, len(points), ceiling, min(costs), max(costs), *told))
    columns = (
        "group",
        "points",
        "ceiling",
        "from_flops",
        "to_flops",
        "alpha",
        "beta",
        "gamma",
        "delta",
        "error",
    )
    caption = (
        "Fits of alpha + beta (1 − exp(−gamma x^delta)) to the points of the front, x being FLOPs in units of to_flops; error: "
        "mean absolute"
    )
    return rounded_table(f"{table.name}_fits", caption, columns, rows)


def extra_tokens(study: Study) -> Table:
    """What the main pairs gain in each benchmark, and how many tokens an answer that takes, with its interval over problems."""
    rows: list[tuple[Any, ...]] = []
    for pair in main_pairs(study):
        for benchmark, keys in study.benchmarks.items():
            both = counterparts(*pair)
            spent = [
                [fmean(_tokens(evaluations[side], key) for evaluations in both) for key in keys]
                for side in (0, 1)
            ]
            extra, low, high = macro_average([[b - a for a, b in zip(*spent, strict=True)]])
            c = compared(pair, keys)
            category = pair[0].evaluations[0].first(keys[0])["category"]
            rows.append(
                (
                    pair[1].model,
                    benchmark,
                    category,
                    pair[1].label,
                    pair[0].label,
                    len(keys),
                    c.seeds,
                    *map(fmean, spent),
                    extra,
                    low,
                    high,
                    c.difference,
                    c.low,
                    c.high,
                )
            )
    columns = (
        "model",
        "benchmark",
        "category",
        "arm",
        "against",
        "n",
        "seeds",
        "tokens_against",
        "tokens",
        "extra",
        "extra_low",
        "extra_high",
        "gain",
        "gain_low",
        "gain_high",
    )
    return rounded_table(
        "extra_tokens", "Extra tokens an answer and accuracy gained, by benchmark", columns, rows
    )


def _tokens(evaluation: Evaluation, key: str) -> float:
    return fmean(row["n_completion"] for row in evaluation.answers[key])


def lengths(study: Study) -> Table:
    """Mean tokens of right and of wrong answers and the ratio of the two, with its bootstrap interval over problems; and that
    ratio within levels, where problems have them: the right answers' lengths weighted by the levels of the wrong ones."""
    rows = []
    for arm in study.arms:
        answers = [
            row
            for evaluation in arm.evaluations
            for key in study.keys
            for row in evaluation.answers[key]
        ]
        rows.append((*named(arm), *_lengths(answers), _within_levels(answers)))
    columns = (
        *NAMED,
        "n_right",
        "n_wrong",
        "right",
        "wrong",
        "wrong_to_right",
        "low",
        "high",
        "within_levels",
    )
    return rounded_table("lengths", "Tokens of right and of wrong answers", columns, rows)


def lengths_by_level(study: Study) -> Table:
    rows = []
    for arm in study.arms:
        answers = [
            row
            for evaluation in arm.evaluations
            for key in study.keys
            for row in evaluation.answers[key]
        ]
        for level in sorted({row["level"] for row in answers if row["level"] is not None}):
            rows.append(
                (*named(arm), level, *_lengths([row for row in answers if row["level"] == level]))
            )
    columns = (
        *NAMED,
        "level",
        "n_right",
        "n_wrong",
        "right",
        "wrong",
        "wrong_to_right",
        "low",
        "high",
    )
    return rounded_table(
        "lengths_by_level",
        "Tokens of right and of wrong answers, by level of difficulty",
        columns,
        rows,
    )


def _lengths(answers: Sequence[Row]) -> tuple[float | None, ...]:
    """Numbers of right and of wrong answers, their mean tokens, and the ratio of these with its interval."""
    import numpy as np

    problems = {key: at for at, key in enumerate(dict.fromkeys(row["key"] for row in answers))}
    sums = np.zeros(
        (len(problems), 4)
    )  # of a problem: right answers and their tokens, wrong ones and theirs
    for row in answers:
        at = 0 if row["verdict"] == "right" else 2
        sums[problems[row["key"]], at : at + 2] += 1, row["n_completion"]
    n_right, right, n_wrong, wrong = (float(value) for value in sums.sum(axis=0))
    if not n_right or not n_wrong:
        means = [total / n if n else None for total, n in ((right, n_right), (wrong, n_wrong))]
        return int(n_right), int(n_wrong), *means, None, None, None
    drawn = (
        np.random.default_rng(0).multinomial(
            len(sums), np.full(len(sums), 1 / len(sums)), size=RESAMPLES
        )
        @ sums
    )
    whole = drawn[(drawn[:, 0] > 0) & (drawn[:, 1] > 0) & (drawn[:, 2] > 0)]
    ratios = whole[:, 3] / whole[:, 2] / (whole[:, 1] / whole[:, 0])
    low, high = (float(value) for value in np.quantile(ratios, [0.025, 0.975]))
    return (
        int(n_right),
        int(n_wrong),
        right / n_right,
        wrong / n_wrong,
        wrong / n_wrong / (right / n_right),
        low,
        high,
    )


def _within_levels(answers: Sequence[Row]) -> float | None:
    by_level: dict[str, tuple[list[int], list[int]]] = {}
    for row in answers:
        if row["level"] is not None:
            by_level.setdefault(row["level"], ([], []))[row["verdict"] != "right"].append(
                row["n_completion"]
            )
    both = [(right, wrong) for right, wrong in by_level.values() if right and wrong]
    if not both:
        return None
    return sum(sum(wrong) for _, wrong in both) / sum(
        len(wrong) * fmean(right) for right, wrong in both
    )


def budgets(study: Study) -> Table:
    """The share of problems answered right within so many tokens, up to the smallest budget of an evaluation."""
    import numpy as np

    most = min(int(evaluation.manifest["max_new_tokens"]) for evaluation in study.evaluations)
    lengths = [
        row["n_completion"]
        for evaluation in study.evaluations
        for key in study.keys
        for row in evaluation.answers[key]
    ]
    least = max(1, min(*lengths, most))
    caps = sorted({round(float(cap)) for cap in np.geomspace(least, most, LEVELS)})
    rows = []
    for arm in study.arms:
        within = np.zeros(len(caps))
        for evaluation in arm.evaluations:
            for key in study.keys:
                answers = evaluation.answers[key]
                taken = [row["n_completion"] for row in answers if row["verdict"] == "right"]
                within += np.searchsorted(np.sort(taken), caps, side="right") / len(answers)
        shares = within / len(arm.evaluations) / len(study.keys)
        rows += [(*named(arm), cap, float(share)) for cap, share in zip(caps, shares, strict=True)]
    return rounded_table(
        "budgets", "Answered right within so many tokens", (*NAMED, "tokens", "accuracy"), rows
    )


def thinking(study: Study) -> Table:
    """The share of completions that thought, and of those in the other mode than asked for or taught."""
    rows = []
    for arm in study.arms:
        thought = [
            [fmean(row["thought"] for row in evaluation.answers[key]) for key in study.keys]
            for evaluation in arm.evaluations
        ]
        answers = [
            row
            for evaluation in arm.evaluations
            for key in study.keys
            for row in evaluation.answers[key]
        ]
        asked = [
            row["thought"] != row["expected"] for row in answers if row.get("expected") is not None
        ]
        rows.append(
            (*named(arm), len(study.keys), *over_seeds(thought), fmean(asked) if asked else None)
        )
    return rounded_table(
        "thinking",
        "Completions that thought",
        (*NAMED, "n", "thought", "low", "high", "other_mode"),
        rows,
    )


def taught(study: Study) -> Table:
    """What each arm is."""
    rows = []
    for arm in study.arms:
        student = arm.student
        told = (
            student.get(name)
            for name in ("lr_policy", "data", "reward", "objective", "lora", "steps", "lr")
        )
        seeds = " ".join(map(str, arm.seeds)) if arm.trained else None
        rows.append((*named(arm)[:-1], seeds, arm.size, *told))
    columns = (*NAMED, "weights", "lr_policy", "data", "reward", "objective", "lora", "steps", "lr")
    return rounded_table("arms", "The arms of training that are compared", columns, rows)


def runs(study: Study) -> Table:
    """What differs from machine to machine: names of runs, times and versions."""
    rows = []
    for arm in study.arms:
        for evaluation in arm.evaluations:
            m, student = evaluation.manifest, evaluation.student
            versions = " ".join(
                f"{name} {version}" for name, version in sorted(m["versions"].items())
            )
            facts = (
                m.get("engine"),
                m.get("dtype"),
                m.get("attention"),
                m.get("grader"),
                m["revision"],
                versions,
            )
            times = (student.get("seconds"), m["seconds"])
            rows.append(
                (arm.label, student.get("seed"), student.get("hash"), m["hash"], *times, *facts)
            )
    columns = (
        "arm",
        "seed",
        "training",
        "evaluation",
        "training_seconds",
        "evaluation_seconds",
        "engine",
        "dtype",
        "attention",
        "grader",
        "revision",
        "versions",
    )
    return rounded_table("runs", "Runs, times and versions", columns, rows)


def all_tables(study: Study, ceiling: float = 1.0) -> dict[str, Table]:
    """Every table of the study by name."""
    pairs: tuple[
        tuple[str, str, Callable[[Study], list[Pair]], Mapping[str, Sequence[str]]], ...
    ] = (
        ("differences_main", "The highest ratio against the lowest", main_pairs, study.groups),
        (
            "differences_ratio",
            "Each ratio against the lowest of its model",
            ratio_pairs,
            study.groups,
        ),
        (
            "differences_benchmark",
            "The highest ratio against the lowest, by benchmark",
            main_pairs,
            study.benchmarks,
        ),
        (
            "differences_scenario",
            "Other scenarios against mixed teaching at the same ratio",
            scenario_pairs,
            study.groups,
        ),
        (
            "differences_compute",
            "Each ratio against ratio 0 at equal training cost",
            compute_pairs,
            study.groups,
        ),
        ("differences_rewards", "After rewards against before", reward_pairs, study.groups),
    )
    found = [taught(study), accuracy(study), accuracy_by_benchmark(study), accuracy_by_seed(study)]
    found += [
        differences(name, caption, choose(study), groups) for name, caption, choose, groups in pairs
    ]
    found += [
        undecided(study),
        expectations(study),
        costs(study),
        extra_tokens(study),
        lengths(study),
        lengths_by_level(study),
    ]
    for kind in ("training", "inference"):
        points = front(study, kind)
        found += [points, fits(points, ceiling)]
    found += [budgets(study), thinking(study), runs(study)]
    return {table.name: table for table in found}
