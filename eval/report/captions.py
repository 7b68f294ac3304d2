"""What every picture of a study shows, in sentences as strong as their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eval.report.study import Study, Table
from eval.report.text import (
    Row,
    Tables,
    counted,
    listed,
    main_rows,
    number_of,
    pair_named,
    said_not_better,
    support_said,
)


@dataclass(frozen=True)
class Figure:
    """A picture's name, title and sentences, and the tables behind it; `drawn` is False where these have nothing to draw."""

    name: str
    title: str
    says: tuple[str, ...]
    tables: tuple[str, ...]
    drawn: bool = True


def figures(study: Study, tables: Tables) -> list[Figure]:
    """Every picture in the order of the page."""
    found = [
        _accuracy(study, tables),
        _matched(tables),
        _forest(
            tables["differences_ratio"],
            "What does each ratio change against the lowest?",
            "No two ratios of a model were compared.",
            "differences_main",
            "needed",
        ),
        _forest(
            tables["differences_scenario"],
            "Does the order of teaching matter?",
            "No other order was taught beside mixed teaching at the same ratio.",
        ),
    ]
    if tables["differences_compute"].rows:
        found.append(
            _forest(
                tables["differences_compute"],
                "Is reasoning better than plain answers at equal training cost?",
                "",
            )
        )
    if tables["differences_rewards"].rows:
        found.append(_forest(tables["differences_rewards"], "What did rewards change?", ""))
    training, inference = (
        "Which models are worth their training?",
        "Which models are worth what an answer costs?",
    )
    return [
        *found,
        _fronts(tables, "training", training),
        _fronts(tables, "inference", inference),
        _extra(tables),
        _lengths(tables),
        _budgets(tables),
        _modes(tables),
    ]


def _nothing(name: str, title: str, why: str, *tables: str) -> Figure:
    return Figure(name, title, (why,), tables, drawn=False)


def _accuracy(study: Study, tables: Tables) -> Figure:
    title = "Does accuracy rise with the share of reasoning?"
    rows = [
        row
        for row in tables["accuracy"]
        if row["ratio"] is not None and row["equalize"] == "examples"
    ]
    shown: tuple[str, ...] = ("accuracy", "accuracy_by_benchmark", "accuracy_by_seed")
    if not rows:
        return _nothing("accuracy", title, "No arm was taught at one reasoning ratio.", *shown)
    told = []
    for pair, own in main_rows(tables).items():
        parts = []
        for decided, word in (("better", "higher"), ("worse", "lower")):
            if names := [row["group"] for row in own[:-1] if row["decided"] == decided]:
                parts.append(f"{word} in {listed(names)}")
        told.append(
            f"{pair_named(*pair)}: {listed(parts) if parts else 'not decided in any category'}"
        )
    over = "problems alone, as there is one seed" if study.most_seeds == 1 else "seeds and problems"
    says = [f"{'; '.join(told)}." if told else "One ratio alone was taught in each line."]
    says.append(
        f"Bands are 95 % intervals over {over}, dotted lines models untrained here. Scales differ between categories."
    )
    if any(row["scenario"] != "mixed" for row in rows):
        says.append(
            "At ratio 0 and 1 order makes no difference: there lines that have no arm of their own join the mixed one."
        )
    if "published" in tables:
        says.append(_published(tables["published"]))
        shown = (*shown, "published")
    return Figure("accuracy", title, tuple(says), shown)


def _published(table: Table) -> str:
    named = len({row["model"] for row in table})
    if not named:
        return "None of these models is one with published accuracies."
    return (
        f"Hollow marks are the published accuracies of {number_of(named, 'model')} of these (arXiv 2509.22193 v2, Table 1), of "
        "other data, budgets and graders."
    )


def _matched(tables: Tables) -> Figure:
    name, title = "accuracy_matched", "And at equal training cost?"
    rows = [
        row
        for row in tables["accuracy"]
        if row["ratio"] is not None and row["equalize"] not in (None, "examples")
    ]
    if not rows:
        return _nothing(
            name,
            title,
            "No arm was trained at equal FLOPs or tokens (equalize=flops, equalize=tokens).",
        )
    arms = number_of(len({row["arm"] for row in rows}), "arm")
    says = (
        f"{arms} went on for further epochs until training had cost what the same problems cost with reasoning.",
        "At ratio 1 that changes nothing: lines end in the usual arm. Bands and dotted lines as above.",
    )
    return Figure(name, title, says, ("accuracy",))


def _forest(table: Table, title: str, nothing: str, *more: str) -> Figure:
    rows = list(table)
    if not rows:
        return _nothing(table.name, title, nothing)
    kept = sum(row["p_holm"] < 0.05 for row in rows)
    over = (
        "problems alone (one seed)"
        if {row["seeds"] for row in rows} == {1}
        else "seeds and problems"
    )
    says = (
        f"Of {number_of(len(rows), 'paired difference')}: {counted(rows)}; {kept} with p < 0.05 when Holm-adjusted for all.",
        f"Lines are 95 % intervals over {over}; hollow marks are not decided.",
    )
    return Figure(table.name, title, says, (table.name, *more))


def _fronts(tables: Tables, kind: str, title: str) -> Figure:
    name = f"front_{kind}"
    rows = tables[name].where(group="all")
    if not rows:
        return _nothing(name, title, f"The {kind} FLOPs of no model are known.")
    best = sorted((row for row in rows if row["front"]), key=lambda row: row["flops"])
    says = [
        f"{number_of(len(best), 'arm')} of {len(rows)} make the front over all problems: no other is as cheap and better."
    ]
    if sure := [row["arm"] for row in best if row["support"] >= 0.95]:
        says.append(f"Sure of their place, in 95 % or more of bootstrap resamples: {listed(sure)}.")
    if unsure := [f"{row['arm']} ({support_said(row)})" for row in best if row["support"] < 0.95]:
        says.append(f"Not decided: {listed(unsure)}.")
    if fitted := [row["group"] for row in tables[f"{name}_fits"]]:
        says.append(
            f"Dashed: the saturating curve through fronts of five points or more ({listed(fitted)}), a description only."
        )
    else:
        says.append("No front has the five points that a saturating curve would need.")
    if kind == "training":
        says += said_not_better(best)
        says.append("FLOPs by the published form; models that were not trained here are not shown.")
    else:
        says.append("FLOPs of the matrix products needed, the mean over answers.")
    return Figure(name, title, tuple(says), (name, f"{name}_fits", "costs"))


def _extra(tables: Tables) -> Figure:
    name, title = "extra_tokens", "What do extra tokens buy, benchmark by benchmark?"
    rows = list(tables[name])
    if not rows:
        return _nothing(name, title, "No two ratios of a model were compared.")
    told = []
    for model in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == model]
        gained = [row["benchmark"] for row in own if row["gain_low"] > 0]
        lost = [row["benchmark"] for row in own if row["gain_high"] < 0]
        parts = [
            f"{words} in {listed(names)}"
            for words, names in (("a gain", gained), ("a loss", lost))
            if names
        ]
        rest = len(own) - len(gained) - len(lost)
        parts += [f"{rest} of {len(own)} not decided"] if rest else []
        told.append(f"{model}, {', '.join(parts)}")
    least, most = min(row["extra"] for row in rows), max(row["extra"] for row in rows)
    says = (
        f"The highest ratio against the lowest, for {least:+.0f} to {most:+.0f} tokens an answer: {'; '.join(told)}.",
        "Vertical lines are 95 % intervals of the gain, horizontal ones of the extra tokens (over problems).",
    )
    return Figure(name, title, says, (name, "differences_benchmark"))


def _lengths(tables: Tables) -> Figure:
    title = "Are wrong answers longer?"
    rows = [row for row in tables["lengths"] if row["wrong_to_right"] is not None]
    if not rows:
        return _nothing("lengths", title, "No arm has both right and wrong answers.", "lengths")
    longer, shorter = sum(row["low"] > 1 for row in rows), sum(row["high"] < 1 for row in rows)
    says = [
        f"Wrong answers are longer than right ones in {longer} of {number_of(len(rows), 'arm')}, shorter in {shorter}, and "
        f"{len(rows) - longer - shorter} are not decided (95 % bootstrap interval of the ratio, over problems).",
        "Wrong answers are often to harder problems, which take longer.",
    ]
    within = [row for row in rows if row["within_levels"] is not None]
    if within:
        moved = [
            f"{row['arm']} ×{row['wrong_to_right']:.2f} → ×{row['within_levels']:.2f}"
            for row in _longest(within)
        ]
        says.append(
            f"Compared within levels of difficulty: {listed(moved)}; all arms are in the table."
        )
    else:
        says.append("These problems have no levels by which that could be held apart.")
    more = ("lengths_by_level",) if tables["lengths_by_level"].rows else ()
    return Figure("lengths", title, tuple(says), ("lengths", *more))


def _longest(rows: Sequence[Row]) -> list[Row]:
    """Of each model the arm with the longest answers."""
    found: dict[str, Row] = {}
    for row in rows:
        if row["model"] not in found or row["wrong"] > found[row["model"]]["wrong"]:
            found[row["model"]] = row
    return list(found.values())


def _budgets(tables: Tables) -> Figure:
    rows = list(tables["budgets"])
    firsts: list[tuple[str, int]] = []
    for cap in sorted({row["tokens"] for row in rows}):
        best = max((row for row in rows if row["tokens"] == cap), key=lambda row: row["accuracy"])
        if best["accuracy"] and (not firsts or firsts[-1][0] != best["arm"]):
            firsts.append((best["arm"], cap))
    told = [f"{arm} from {cap}" for arm, cap in firsts]
    if len(told) > 3:
        told = [f"at first {told[0]}", f"after {len(told) - 2} others at last {told[-1]}"]
    leads = (
        f"Most answered right within a budget, the point alone: {listed(told)} tokens"
        if told
        else "Nothing was right"
    )
    says = (
        f"{leads}; the evaluations had {max(row['tokens'] for row in rows)}.",
        "Exact but for answers boxed before the cut: one that is longer counts as none, though it may have boxed an answer by "
        "then (python -m eval.budgets cuts the texts).",
    )
    return Figure("budgets", "How many tokens until an answer is right?", says, ("budgets",))


def _modes(tables: Tables) -> Figure:
    title = "When does a student that was taught both arms think?"
    lines: dict[str, list[Row]] = {}
    for row in tables["thinking"]:
        if row["ratio"] is not None:
            lines.setdefault(row["line"], []).append(row)
    if not lines:
        return _nothing("thinking", title, "No arm was taught at one reasoning ratio.", "thinking")
    told = []
    for line, own in lines.items():
        often = sorted((row for row in own if row["low"] > 0.5), key=lambda row: row["ratio"])
        first = (
            f"from ratio {often[0]['ratio']:g} ({100 * often[0]['thought']:.0f} %)"
            if often
            else "decided at no ratio"
        )
        told.append(f"{line} {first}")
    says = (
        f"More than half of the completions think: {'; '.join(told)}.",
        "Where a student thinks as often as it was taught to, its line is the diagonal.",
    )
    return Figure("thinking", title, says, ("thinking",))
