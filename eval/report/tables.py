"""All tables of a study, and those that describe its arms and runs.

Intervals are of 95 %, over training seeds and problems; the p-values of a table are Holm-adjusted
for all its rows.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from eval.report import (
    accuracy_tables,
    contrast_tables,
    cost_tables,
    flag_tables,
    length_tables,
    pairings,
    verdict_tables,
)
from eval.report.csv_table import Table, rounded_table
from eval.report.difference_tables import differences, hypotheses, needed
from eval.report.study import ARM_COLUMNS, Study, described
from eval.report.truncation import truncated_answers
from ratiocine.executors import num_cpus

ARM_FACTS = ("lr_policy", "data", "reward", "objective", "lora", "steps", "lr")


def all_tables(study: Study, ceiling: float = 1.0) -> dict[str, Table]:
    """Every table by name; `ceiling` bounds the fits to the Pareto fronts."""
    comparisons = pairings.Comparisons(study)
    declared = hypotheses(study, comparisons)
    verdicts = verdict_tables.verdicts(study, comparisons, declared)
    with ThreadPoolExecutor(num_cpus()) as threads:  # numpy resamples without the global lock
        extra = threads.submit(cost_tables.extra_tokens, study, comparisons)
        fronts = [
            threads.submit(cost_tables.pareto_front, study, kind, comparisons)
            for kind in ("training", "inference")
        ]
    found = [
        verdicts,
        verdict_tables.more_seeds(study, comparisons, verdicts),
        *contrast_tables.contrasts(study, comparisons, declared),
        contrast_tables.gain_by_level(study),
        flag_tables.flags(study),
        arms(study),
        accuracy_tables.accuracy(study),
        accuracy_tables.accuracy_by_benchmark(study),
        accuracy_tables.accuracy_by_seed(study),
        accuracy_tables.chance(study),
        accuracy_tables.macro_averages(study),
        accuracy_tables.sampling(study),
        *_all_differences(study, comparisons),
        truncated_answers(study, comparisons),
        needed(study, comparisons),
        declared,
        cost_tables.costs(study),
        extra.result(),
        length_tables.lengths(study),
        length_tables.lengths_by_level(study),
    ]
    for front in fronts:
        found += [front.result(), cost_tables.fits(front.result(), ceiling)]
    found += [
        cost_tables.budgets(study),
        length_tables.thinking(study),
        length_tables.generation(study),
        runs(study),
    ]
    return {table.name: table for table in found}


def _all_differences(study: Study, comparisons: pairings.Comparisons) -> list[Table]:
    categories, benchmarks = study.groups, study.benchmarks
    main = pairings.main_pairs(study)
    baseline = pairings.baseline_pairs(study)
    each = baseline if study.small else []
    tables = {
        "main": ("The highest ratio against the lowest", main, categories),
        "ratio": (
            "Each ratio against the lowest of its model",
            pairings.ratio_pairs(study),
            categories,
        ),
        "benchmark": ("The highest ratio against the lowest, by benchmark", main, benchmarks),
        "scenario": (
            "Other scenarios against the mixed one at the same ratio",
            pairings.scenario_pairs(study),
            categories,
        ),
        "compute": (
            "Each ratio against ratio 0 at equal training cost",
            pairings.compute_pairs(study),
            categories,
        ),
        "inference": (
            "Each ratio against ratio 0 of another model at equal inference cost",
            pairings.inference_flops_pairs(study),
            categories,
        ),
        "strategy": (
            "With a strategy against asking once",
            pairings.strategy_pairs(study),
            categories,
        ),
        "ratio_strategy": (
            "Each ratio against the lowest, with the same strategy",
            pairings.ratio_pairs_with_strategies(study),
            categories,
        ),
        "rewards": ("After rewards against before", pairings.reward_pairs(study), categories),
        "baseline": ("Each arm against the baseline", baseline, categories),
        "baseline_benchmark": ("Each arm against the baseline, by benchmark", each, benchmarks),
    }
    return [
        differences(f"differences_{name}", *table, comparisons) for name, table in tables.items()
    ]


def arms(study: Study) -> Table:
    rows = []
    for arm in study.arms:
        facts = [None if arm.student is None else getattr(arm.student, name) for name in ARM_FACTS]
        seeds = " ".join(str(seed) for seed in arm.seeds) if arm.trained else None
        rows.append((*described(arm)[:-1], seeds, arm.size, *facts))
    columns = (*ARM_COLUMNS, "weights", *ARM_FACTS)
    return rounded_table("arms", "The arms and their training", columns, rows)


def runs(study: Study) -> Table:
    """What differs between machines: names of runs, times and versions."""
    rows = []
    for arm in study.arms:
        for evaluation in arm.evaluations:
            manifest, facts, student = evaluation.manifest, evaluation.facts, evaluation.student
            versions = " ".join(
                f"{name} {version}" for name, version in sorted(manifest.versions.items())
            )
            trained = (student.hash, student.seconds) if student else (None, None)
            code = (student and student.machine, manifest.machine, student and student.revision)
            rows.append(
                (
                    *(arm.label, evaluation.seed, trained[0], manifest.hash),
                    *(trained[1], facts.seconds, facts.engine, facts.dtype, facts.attention),
                    *(*code, facts.grader, manifest.revision, versions),
                )
            )
    columns = (
        *("arm", "seed", "training", "evaluation", "training_seconds", "evaluation_seconds"),
        *("engine", "dtype", "attention", "training_machine", "evaluation_machine"),
        *("training_revision", "grader", "revision", "versions"),
    )
    return rounded_table("runs", "Runs, times and versions", columns, rows)
