"""The findings of a study in sentences, each as strong as its interval."""

from __future__ import annotations

from collections.abc import Sequence

from eval.report.csv_table import Row, Table, Tables
from eval.report.group_names import short
from eval.report.phrases import (
    CONCLUSIONS,
    count,
    counts,
    listed,
    pair_name,
    signed,
    span,
    support,
    with_interval,
)
from eval.report.study import FEW, FEW_PAIRS, Study
from eval.report.truncation import truncation_findings

MANY_PROBLEMS = 10_000  # beyond, more seeds are asked for
EFFECTS = {"better": "reasoning helped", "worse": "reasoning cost accuracy"}
HYPOTHESES = (("gain", "a gain from reasoning"), ("no_gain", "no gain"))
UNDECLARED = "No hypothesis was declared."
RATIO = (
    "The reasoning ratio is the share of training problems with a reasoning trace instead of the "
    "direct answer."
)


def findings(study: Study, tables: Tables) -> list[str]:
    """What to know without reading on."""
    found = [
        _evaluated(study),
        *_effects(study, tables),
        *truncation_findings(tables, few_arms=len(study.arms) <= FEW),
        *_decisive(tables),
        *_cost(tables),
        *_equal_cost(tables),
        *_rewards(tables),
        *_hypotheses(study, tables),
        *_scenarios(tables),
        *_strategies(tables),
        *_front(tables),
    ]
    return found


def _evaluated(study: Study) -> str:
    untrained = len(study.arms) - len(study.trained)
    parts = []
    if study.trained:
        trained = count(len(study.trained), "trained arm")
        parts.append(f"{trained} of {count(len(study.models), 'model')}")
    if untrained:
        parts.append(count(untrained, "untrained model"))
    found = (
        f"{listed(parts)} answered the same {count(len(study.keys), 'problem')} of "
        f"{count(len(study.benchmarks), 'benchmark')}"
    )
    numbers = sorted({len(arm.evaluations) for arm in study.trained})
    if not numbers:
        return f"{found}; the 95 % intervals are over problems."
    if numbers == [1]:
        return (
            f"{found}, with one seed each: the 95 % intervals are over problems alone and do not "
            f"cover other seeds. {RATIO}"
        )
    return (
        f"{found}, the trained arms with {span(numbers)} seeds each; the 95 % intervals are over "
        f"seeds and problems. {RATIO}"
    )


def main_rows(tables: Tables) -> dict[tuple[str, str], list[Row]]:
    """The main differences by pair of labels: a row per category, then that of all problems."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in tables["differences_main"]:
        found.setdefault((row["arm"], row["against"]), []).append(row)
    return found


def undeclared(study: Study, tables: Tables) -> bool:
    """Whether ratios are compared without a declared hypothesis."""
    return bool(main_rows(tables)) and not study.hypotheses


def _effects(study: Study, tables: Tables) -> list[str]:
    """Where reasoning helped, where it cost accuracy, and where the data are inconclusive."""
    if not main_rows(tables):
        return ["No two reasoning ratios of one model, otherwise trained alike, are compared."]
    first, *more = _observed(tables)
    return [f"{UNDECLARED} {first}" if undeclared(study, tables) else first, *more]


def _observed(tables: Tables) -> list[str]:
    pairs = main_rows(tables)
    if len(pairs) <= FEW_PAIRS:
        found = []
        for pair, rows in pairs.items():
            total = rows[-1]
            effect = {"better": "it helped", "worse": "it cost accuracy"}.get(
                total["conclusion"], "inconclusive"
            )
            overall = f"over all problems, {effect} ({with_interval(total)})"
            found.append(f"{pair_name(*pair)}: {by_effect(rows[:-1], 'group')}; {overall}.")
        return [*found, *_after_adjustment(tables["differences_main"])]
    by_category: dict[str, list[Row]] = {}
    for row in (row for rows in pairs.values() for row in rows[:-1]):
        by_category.setdefault(row["group"], []).append(row)
    categories = "; ".join(f"{group} {counts(rows)}" for group, rows in by_category.items())
    overall = by_effect([rows[-1] for rows in pairs.values()], "arm")
    return [
        f"The highest reasoning ratio against the lowest, over all problems: {overall}.",
        f"By category, of {len(pairs)} such comparisons: {categories}.",
        *_after_adjustment(tables["differences_main"]),
    ]


def _after_adjustment(table: Table) -> list[str]:
    """The conclusive comparisons after Holm's adjustment."""
    one_category = len(table.values("group")) == 2  # beside all problems, which are the same
    rows = [row for row in table if not (one_category and row["group"] == "all")]
    conclusive = [row for row in rows if row["conclusion"] != "inconclusive"]
    if not conclusive or len(rows) < 2:
        return []
    significant = sum(row["p_holm"] < 0.05 for row in conclusive)
    be, have = "is" if len(conclusive) == 1 else "are", "have" if significant > 1 else "has"
    sentence = (
        f"Taken alone, {len(conclusive)} of these {len(rows)} comparisons {be} conclusive; "
        f"after Holm's adjustment for their number, {significant or 'none'} {have} p < 0.05"
    )
    chance = [
        f"{row['arm']} in {short(row['group'])}" for row in conclusive if row["p_holm"] >= 0.05
    ]
    rest = f"; may be due to chance: {listed(chance)}." if chance else "."
    return [sentence + rest]


def by_effect(rows: Sequence[Row], name: str) -> str:
    """A clause for each conclusion, with the rows' groups or arms."""
    parts = []
    for conclusion in CONCLUSIONS:
        items = [
            f"{row[name]} ({with_interval(row)})" for row in rows if row["conclusion"] == conclusion
        ]
        if items:
            preposition = "in" if name == "group" else "for"
            effect = EFFECTS.get(conclusion, conclusion)
            parts.append(f"{effect} {preposition} {listed(items)}")
    return "; ".join(parts)


def _decisive(tables: Tables) -> list[str]:
    """The problems and seeds that would decide the largest inconclusive differences."""
    table = tables["needed"]
    rows = sorted(table, key=lambda row: -abs(row["difference"]))[:FEW_PAIRS]
    parts = []
    for row in rows:
        group = "all problems" if row["group"] == "all" else row["group"]
        several = len({other["model"] for other in table}) > 1
        where = f"{group} ({row['model']})" if several else group
        parts.append(f"{where}, {signed(row['difference'])} points: {_sample_size(row)}")
    if not parts:
        return []
    return [f"Sample sizes that would decide a difference of the size seen: {'; '.join(parts)}."]


def _sample_size(row: Row) -> str:
    """With the fewest seeds that need few enough problems, else with the fewest problems."""
    sizes = [
        (row["seeds"], row["problems"]),
        (5, row["problems_at_5_seeds"]),
        (10, row["problems_at_10_seeds"]),
    ]
    known = [(seeds, n) for seeds, n in sizes if n is not None and seeds >= row["seeds"]]
    if not known:
        return "more than 10 seeds, as they differ much"
    fewest = min(known, key=lambda size: (size[1], size[0]))
    seeds, n = next((size for size in known if size[1] <= MANY_PROBLEMS), fewest)
    unknown = ", with the variance between seeds unknown" if seeds == 1 else ""
    return f"{n:,} problems with {count(seeds, 'seed')}{unknown}"


def _cost(tables: Tables) -> list[str]:
    costs = {row["arm"]: row for row in tables["costs"]}
    parts = []
    for arm, against in main_rows(tables):
        before, after = costs[against], costs[arm]
        tokens = f"{before['tokens']:.0f} → {after['tokens']:.0f}"
        times = [f"{_times(after['tokens'], before['tokens'])} the tokens per answer ({tokens})"]
        for name, words in (
            ("inference_flops", "the FLOPs per answer"),
            ("training_flops", "the training FLOPs"),
        ):
            if before[name] and after[name]:
                times.append(f"{_times(after[name], before[name])} {words}")
        parts.append(f"{pair_name(arm, against)} takes {listed(times)}")
    return [f"Cost: {'; '.join(parts)}."] if parts else []


def _times(after: float, before: float) -> str:
    return f"{after / before:.1f} times" if before else "–"


def _equal_cost(tables: Tables) -> list[str]:
    rows = tables["differences_compute"].where(group="all")
    highest = {row["model"]: row for row in sorted(rows, key=lambda row: row["ratio"])}
    parts = [_compared(row) for row in highest.values()]
    return [f"At equal training cost, over all problems: {'; '.join(parts)}."] if parts else []


def _rewards(tables: Tables) -> list[str]:
    parts = [_compared(row) for row in tables["differences_rewards"].where(group="all")]
    if not parts:
        return []
    return [f"After rewards against before, over all problems: {'; '.join(parts)}."]


def _compared(row: Row) -> str:
    return f"{row['arm']} against {row['against']}, {row['conclusion']} ({with_interval(row)})"


def _hypotheses(study: Study, tables: Tables) -> list[str]:
    table, parts = tables["hypotheses"], []
    if not table.rows and study.hypotheses and len(study.trained) > 1:
        if main_rows(tables):
            return ["The declared hypotheses are on none of the problems compared."]
        return ["No declared hypothesis is tested, as no two reasoning ratios are compared."]
    for hypothesis, words in HYPOTHESES:
        rows = table.where(hypothesis=hypothesis)
        models = dict.fromkeys(row["model"] for row in rows)
        found = []
        for model in models:
            groups: dict[str, list[str]] = {}
            for row in (row for row in rows if row["model"] == model):
                shown = f"{row['group']} ({with_interval(row)})" if study.small else row["group"]
                groups.setdefault(row["verdict"].partition(" with ")[0], []).append(shown)
            verdicts = ", ".join(f"{one} in {listed(where)}" for one, where in groups.items())
            found.append(f"{model}: {verdicts}" if len(models) > 1 else verdicts)
        if found:
            parts.append(f"Hypothesis of {words}: {'; '.join(found)}.")
    return [" ".join(parts)] if parts else []


def _scenarios(tables: Tables) -> list[str]:
    against = "Other scenarios against the mixed one at the same ratio"
    return _conclusive(tables["differences_scenario"], against)


def _strategies(tables: Tables) -> list[str]:
    return _conclusive(tables["differences_strategy"], "With a strategy against asking once")


def _conclusive(table: Table, against: str) -> list[str]:
    rows = table.where(group="all")
    conclusive = [row for row in rows if row["conclusion"] != "inconclusive"]
    parts = [f"{row['arm']} {row['conclusion']} ({with_interval(row)})" for row in conclusive]
    if len(conclusive) < len(rows):
        parts.append(f"{len(rows) - len(conclusive)} of {len(rows)} inconclusive")
    if not rows:
        return []
    return [f"{against}, over all problems: {'; '.join(parts)}."]


def _front(tables: Tables) -> list[str]:
    rows = sorted(
        tables["pareto_training"].where(group="all", on_front=True), key=lambda row: row["flops"]
    )
    arms = [f"{row['arm']} ({support(row)})" for row in rows if not no_gain(row)]
    found = []
    if arms:
        found.append(
            "On the Pareto front of training FLOPs and accuracy over all problems (in brackets the "
            f"bootstrap support): {listed(arms)}."
        )
    found += without_gain(rows)
    return [" ".join(found)] if found else []


def no_gain(row: Row) -> bool:
    """Whether an arm is not shown to be better than its starting model; False where the latter was
    not evaluated."""
    return row["than_untrained"] in ("inconclusive", "worse")


def without_gain(rows: Sequence[Row]) -> list[str]:
    """A sentence that names the arms with `no_gain`, in a list; empty without such arms."""
    names = [f"{row['arm']} ({row['than_untrained']})" for row in rows if no_gain(row)]
    if not names:
        return []
    return [f"On the front, but not shown to be better than the untrained model: {listed(names)}."]
