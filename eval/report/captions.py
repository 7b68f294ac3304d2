"""The figures of a study: titles, captions as strong as their intervals, and their tables."""

from __future__ import annotations

from eval.report import contrast_captions, cost_captions
from eval.report.caption import Caption, nothing
from eval.report.csv_table import Table, Tables
from eval.report.findings import main_rows
from eval.report.group_names import short
from eval.report.phrases import count, counts, listed, pair_name, span
from eval.report.study import FEW, Study


def captions(study: Study, tables: Tables) -> list[Caption]:
    """Every figure in the order of the page."""
    ratio, scenario, compute, rewards = (
        tables[f"differences_{name}"] for name in ("ratio", "scenario", "compute", "rewards")
    )
    found = [
        *contrast_captions.verdicts(tables),
        _accuracy(study, tables),
        *_benchmarks(study),
        contrast_captions.forest(tables),
        *contrast_captions.gain_by_level(tables),
        *contrast_captions.more_seeds(tables),
        *_equal_cost(tables),
        _differences(
            ratio,
            "Difference of each ratio from the lowest",
            "No two ratios of a model are compared.",
            "differences_main",
            "truncated_answers",
            "needed",
        ),
        _differences(
            scenario,
            "Difference of each scenario from the mixed one",
            "No other scenario was trained beside the mixed one at the same ratio.",
        ),
    ]
    if compute.rows:
        found.append(_differences(compute, "Difference at equal training cost", ""))
    if rewards.rows:
        found.append(_differences(rewards, "Difference after rewards", ""))
    if (strategy := tables["differences_strategy"]).rows:
        ratios = "differences_ratio_strategy"
        found.append(_differences(strategy, "Difference with a test-time strategy", "", ratios))
    return [
        *found,
        cost_captions.front(tables, "training", "Accuracy against training FLOPs"),
        cost_captions.front(tables, "inference", "Accuracy against FLOPs per answer"),
        cost_captions.extra_tokens(tables),
        cost_captions.lengths(tables),
        cost_captions.budgets(tables),
        cost_captions.thinking(tables),
    ]


def _accuracy(study: Study, tables: Tables) -> Caption:
    title = "Accuracy by reasoning ratio"
    rows = [
        row
        for row in tables["accuracy"]
        if row["ratio"] is not None and row["equalize"] == "examples"
    ]
    names: tuple[str, ...] = ("accuracy", "accuracy_by_benchmark", "accuracy_by_seed", "chance")
    if not rows:
        return nothing("accuracy", title, "No arm has a single reasoning ratio.", *names)
    pairs = []
    for pair, of_pair in main_rows(tables).items():
        parts = []
        for conclusion, word in (("better", "higher"), ("worse", "lower")):
            if groups := [r["group"] for r in of_pair[:-1] if r["conclusion"] == conclusion]:
                parts.append(f"{word} in {listed(groups)}")
        effect = listed(parts) if parts else "inconclusive in every category"
        pairs.append(f"{pair_name(*pair)}: {effect}")
    over = "problems (one seed)" if study.max_seeds == 1 else "seeds and problems"
    alone = " (each taken alone; verdicts are above)" if pairs else ""
    sentences = [f"{'; '.join(pairs)}{alone}." if pairs else "Every line has one ratio."]
    sentences.append(
        f"Bands are 95 % intervals over {over}; dotted lines are untrained models. Scales differ "
        "between categories."
    )
    if study.max_seeds > 1:
        sentences.append("Points are single seeds.")
    if guessed := [row for row in tables["chance"] if row["chance"]]:
        levels = [f"{short(row['group'])} {100 * row['chance']:.0f} %" for row in guessed]
        sentences.append(f"Chance, by the answers that a question allows: {listed(levels)}.")
    if any(row["scenario"] != "mixed" for row in rows):
        sentences.append(
            "Scenarios coincide at ratios 0 and 1: lines without arms there end in the mixed ones."
        )
    if "published" in tables:
        sentences.append(_published(tables["published"]))
        names = (*names, "published")
    return Caption("accuracy", title, tuple(sentences), names)


def _benchmarks(study: Study) -> list[Caption]:
    """Of few arms alone."""
    if len(study.arms) > FEW:
        return []
    over = "problems" if study.max_seeds == 1 else "seeds and problems"
    sentences = (f"Marks are accuracies, lines their 95 % intervals over {over}.",)
    names = ("accuracy_by_benchmark", "differences_benchmark")
    return [Caption("benchmarks", "Accuracy by benchmark", sentences, names)]


def _published(table: Table) -> str:
    models = len(table.values("model"))
    if not models:
        return "None of these models has published accuracies."
    return (
        f"Hollow marks are published accuracies of {count(models, 'model')} of these "
        "(arXiv 2509.22193 v2, Table 1), with other data, token limits and graders."
    )


def _equal_cost(tables: Tables) -> list[Caption]:
    name, title = "accuracy_equal_cost", "Accuracy at equal training cost"
    rows = [
        row
        for row in tables["accuracy"]
        if row["ratio"] is not None and row["equalize"] not in (None, "examples")
    ]
    if not rows:
        reason = "No arm was trained at equal FLOPs or tokens (equalize=flops, equalize=tokens)."
        return [nothing(name, title, reason)]
    arms = count(len({row["arm"] for row in rows}), "arm")
    sentences = (
        f"{arms} trained for further epochs, up to the cost of the same problems with reasoning.",
        "At ratio 1 nothing is added: lines end in the usual arm. Bands and dotted lines as above.",
    )
    return [Caption(name, title, sentences, ("accuracy",))]


def _differences(table: Table, title: str, otherwise: str, *more: str) -> Caption:
    rows = list(table)
    if not rows:
        return nothing(table.name, title, otherwise)
    significant = sum(row["p_holm"] < 0.05 for row in rows)
    over = "problems (one seed)" if table.values("seeds") == [1] else "seeds and problems"
    sentences = [
        f"Of {count(len(rows), 'paired difference')}: {counts(rows)}; {significant} with "
        "p < 0.05 (Holm-adjusted for all).",
        f"Lines are 95 % intervals over {over}; hollow marks are inconclusive.",
    ]
    if pools := [row for row in rows if row["pooled"]]:
        sizes, freedoms = (span([row[name] for row in pools]) for name in ("pooled", "d0"))
        sentences.append(
            f"The variance between seeds is pooled over {sizes} comparisons of one answer format "
            f"({freedoms} degrees of freedom added); the columns …_alone do without."
        )
    return Caption(table.name, title, tuple(sentences), (table.name, *more))
