"""The figures of a study: titles, captions as strong as their intervals, and their tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eval.report.csv_table import Row, Table, Tables
from eval.report.findings import (
    count,
    counts,
    listed,
    main_rows,
    pair_name,
    support,
    without_gain,
)
from eval.report.study import FEW, Study

SURE = 0.95  # support


@dataclass(frozen=True)
class Caption:
    """A figure's name, title, sentences and tables."""

    name: str
    title: str
    sentences: tuple[str, ...]
    tables: tuple[str, ...]
    drawn: bool = True
    """False where there is nothing to draw."""


def captions(study: Study, tables: Tables) -> list[Caption]:
    """Every figure in the order of the page."""
    ratio, scenario, compute, rewards = (
        tables[f"differences_{name}"] for name in ("ratio", "scenario", "compute", "rewards")
    )
    found = [
        _accuracy(study, tables),
        *_benchmarks(study),
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
    return [
        *found,
        _front(tables, "training", "Accuracy against training FLOPs"),
        _front(tables, "inference", "Accuracy against FLOPs per answer"),
        _extra_tokens(tables),
        _lengths(tables),
        _budgets(tables),
        _thinking(tables),
    ]


def _nothing(name: str, title: str, reason: str, *tables: str) -> Caption:
    return Caption(name, title, (reason,), tables, drawn=False)


def _accuracy(study: Study, tables: Tables) -> Caption:
    title = "Accuracy by reasoning ratio"
    rows = [
        row
        for row in tables["accuracy"]
        if row["ratio"] is not None and row["equalize"] == "examples"
    ]
    names: tuple[str, ...] = ("accuracy", "accuracy_by_benchmark", "accuracy_by_seed")
    if not rows:
        return _nothing("accuracy", title, "No arm has a single reasoning ratio.", *names)
    pairs = []
    for pair, of_pair in main_rows(tables).items():
        parts = []
        for conclusion, word in (("better", "higher"), ("worse", "lower")):
            if groups := [r["group"] for r in of_pair[:-1] if r["conclusion"] == conclusion]:
                parts.append(f"{word} in {listed(groups)}")
        effect = listed(parts) if parts else "inconclusive in every category"
        pairs.append(f"{pair_name(*pair)}: {effect}")
    over = "problems (one seed)" if study.max_seeds == 1 else "seeds and problems"
    sentences = [f"{'; '.join(pairs)}." if pairs else "Every line has one ratio."]
    sentences.append(
        f"Bands are 95 % intervals over {over}; dotted lines are untrained models. Scales differ "
        "between categories."
    )
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
        return [_nothing(name, title, reason)]
    arms = count(len({row["arm"] for row in rows}), "arm")
    sentences = (
        f"{arms} trained for further epochs, up to the cost of the same problems with reasoning.",
        "At ratio 1 nothing is added: lines end in the usual arm. Bands and dotted lines as above.",
    )
    return [Caption(name, title, sentences, ("accuracy",))]


def _differences(table: Table, title: str, nothing: str, *more: str) -> Caption:
    rows = list(table)
    if not rows:
        return _nothing(table.name, title, nothing)
    significant = sum(row["p_holm"] < 0.05 for row in rows)
    over = "problems (one seed)" if table.values("seeds") == [1] else "seeds and problems"
    sentences = [
        f"Of {count(len(rows), 'paired difference')}: {counts(rows)}; {significant} with "
        "p < 0.05 (Holm-adjusted for all).",
        f"Lines are 95 % intervals over {over}; hollow marks are inconclusive.",
    ]
    if pools := [row for row in rows if row["pooled"]]:
        sizes, freedoms = (_range([row[name] for row in pools]) for name in ("pooled", "d0"))
        sentences.append(
            f"The variance between seeds is pooled over {sizes} comparisons of one answer format "
            f"({freedoms} degrees of freedom added); columns `…_alone` are without."
        )
    return Caption(table.name, title, tuple(sentences), (table.name, *more))


def _range(values: Sequence[float]) -> str:
    least, most = min(values), max(values)
    return f"{least:g}" if least == most else f"{least:g} to {most:g}"


def _front(tables: Tables, kind: str, title: str) -> Caption:
    name = f"pareto_{kind}"
    rows = tables[name].where(group="all")
    if not rows:
        return _nothing(name, title, f"No {kind} FLOPs are known.")
    best = sorted((row for row in rows if row["on_front"]), key=lambda row: row["flops"])
    sentences = [f"{len(best)} of {count(len(rows), 'arm')} on the Pareto front over all problems."]
    if sure := [row["arm"] for row in best if row["support"] >= SURE]:
        sentences.append(f"With a bootstrap support of at least 95 %: {listed(sure)}.")
    if unsure := [f"{row['arm']} ({support(row)})" for row in best if row["support"] < SURE]:
        sentences.append(f"Inconclusive: {listed(unsure)}.")
    if fitted := tables[f"{name}_fits"].values("group"):
        sentences.append(
            "Dashed: the saturating curve through fronts of at least five points "
            f"({listed(fitted)}), as a description."
        )
    else:
        sentences.append("No front has the five points that a saturating curve needs.")
    if kind == "training":
        sentences += without_gain(best)
        sentences.append("FLOPs by the published formula; untrained models are not shown.")
    else:
        sentences.append("FLOPs of the necessary matmuls, the mean over answers.")
    return Caption(name, title, tuple(sentences), (name, f"{name}_fits", "costs"))


def _extra_tokens(tables: Tables) -> Caption:
    name, title = "extra_tokens", "Accuracy gained by extra tokens, by benchmark"
    rows = list(tables[name])
    if not rows:
        return _nothing(name, title, "No two ratios of a model are compared.")
    models = []
    for model in tables[name].values("model"):
        of_model = tables[name].where(model=model)
        gained = [row["benchmark"] for row in of_model if row["gain_low"] > 0]
        lost = [row["benchmark"] for row in of_model if row["gain_high"] < 0]
        parts = [
            f"{words} in {listed(names)}"
            for words, names in (("a gain", gained), ("a loss", lost))
            if names
        ]
        rest = len(of_model) - len(gained) - len(lost)
        parts += [f"{rest} of {len(of_model)} inconclusive"] if rest else []
        models.append(f"{model}, {', '.join(parts)}")
    least, most = min(row["extra"] for row in rows), max(row["extra"] for row in rows)
    sentences = (
        f"The highest ratio against the lowest, for {least:+.0f} to {most:+.0f} tokens per answer: "
        f"{'; '.join(models)}.",
        "Vertical lines are 95 % intervals of the gain, horizontal ones of the extra tokens (over "
        "problems).",
    )
    return Caption(name, title, sentences, (name, "differences_benchmark"))


def _lengths(tables: Tables) -> Caption:
    title = "Tokens of right and of wrong answers"
    rows = [row for row in tables["lengths"] if row["wrong_to_right"] is not None]
    if not rows:
        return _nothing("lengths", title, "No arm has both right and wrong answers.", "lengths")
    longer, shorter = sum(row["low"] > 1 for row in rows), sum(row["high"] < 1 for row in rows)
    sentences = [
        f"Wrong answers are longer in {longer} of {count(len(rows), 'arm')}, shorter in {shorter}; "
        f"{len(rows) - longer - shorter} are inconclusive (95 % bootstrap interval of the ratio, "
        "over problems).",
        "Wrong answers are often to harder problems, which take longer.",
    ]
    within = [row for row in rows if row["within_levels"] is not None]
    if within:
        ratios = [
            f"{row['arm']} ×{row['wrong_to_right']:.2f} → ×{row['within_levels']:.2f}"
            for row in _longest(within)
        ]
        sentences.append(f"Within levels of difficulty: {listed(ratios)}; the table has all arms.")
    else:
        sentences.append("These problems have no levels of difficulty to compare within.")
    more = ("lengths_by_level",) if tables["lengths_by_level"].rows else ()
    return Caption("lengths", title, tuple(sentences), ("lengths", *more))


def _longest(rows: Sequence[Row]) -> list[Row]:
    """Of each model the arm with the longest wrong answers."""
    found: dict[str, Row] = {}
    for row in rows:
        if row["model"] not in found or row["wrong"] > found[row["model"]]["wrong"]:
            found[row["model"]] = row
    return list(found.values())


def _budgets(tables: Tables) -> Caption:
    table = tables["budgets"]
    leaders: list[tuple[str, int]] = []
    for cap in sorted(table.values("tokens")):
        best = max(table.where(tokens=cap), key=lambda row: row["accuracy"])
        if best["accuracy"] and (not leaders or leaders[-1][0] != best["arm"]):
            leaders.append((best["arm"], cap))
    parts = [f"{arm} from {cap}" for arm, cap in leaders]
    if len(parts) > 3:
        parts = [f"first {parts[0]}", f"after {len(parts) - 2} others last {parts[-1]}"]
    leading = (
        f"Most right answers within a budget: {listed(parts)} tokens"
        if parts
        else "No answer was right"
    )
    sentences = (
        f"{leading}; max_new_tokens was {max(table.values('tokens'))}.",
        "Exact but for answers boxed before the cap: a longer completion counts as wrong, though "
        "it may have boxed its answer by then (python -m eval.budgets truncates the texts).",
    )
    return Caption("budgets", "Right answers within a token budget", sentences, ("budgets",))


def _thinking(tables: Tables) -> Caption:
    title = "Share of completions that think"
    names = ("thinking", "generation")
    lines: dict[str, list[Row]] = {}
    for row in tables["thinking"]:
        if row["ratio"] is not None:
            lines.setdefault(row["line"], []).append(row)
    if not lines:
        return _nothing("thinking", title, "No arm has a single reasoning ratio.", *names)
    parts = []
    for line, of_line in lines.items():
        often = sorted((row for row in of_line if row["low"] > 0.5), key=lambda row: row["ratio"])
        first = (
            f"from ratio {often[0]['ratio']:g} ({100 * often[0]['thought']:.0f} %)"
            if often
            else "conclusive at no ratio"
        )
        parts.append(f"{line} {first}")
    sentences = (
        f"More than half of the completions think: {'; '.join(parts)}.",
        "A student that thinks as often as it was taught to lies on the diagonal.",
    )
    return Caption("thinking", title, sentences, names)
