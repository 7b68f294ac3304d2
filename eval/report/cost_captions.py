"""Captions of the figures of cost, lengths and thinking."""

from __future__ import annotations

from collections.abc import Sequence

from eval.report.caption import Caption, nothing
from eval.report.csv_table import Row, Tables
from eval.report.findings import without_gain
from eval.report.group_names import short
from eval.report.phrases import count, listed, support

SURE = 0.95  # support


def front(tables: Tables, kind: str, title: str) -> Caption:
    name = f"pareto_{kind}"
    rows = tables[name].where(group="all")
    if not rows:
        return nothing(name, title, f"No {kind} FLOPs are known.")
    best = sorted((row for row in rows if row["on_front"]), key=lambda row: row["flops"])
    sentences = [f"{len(best)} of {count(len(rows), 'arm')} on the Pareto front over all problems."]
    if sure := [row["arm"] for row in best if row["support"] >= SURE]:
        sentences.append(f"With a bootstrap support of at least 95 %: {listed(sure)}.")
    if unsure := [f"{row['arm']} ({support(row)})" for row in best if row["support"] < SURE]:
        sentences.append(f"Inconclusive: {listed(unsure)}.")
    fits = tables[f"{name}_fits"]
    if fitted := [short(row["group"]) for row in fits.where(passes=True)]:
        sentences.append(
            "Dashed: the saturating curve through fronts of at least five points "
            f"({listed(fitted)}), as a description."
        )
    if missed := [short(row["group"]) for row in fits.where(passes=False)]:
        sentences.append(
            f"No curve is drawn in {listed(missed)}: the best one misses the interval of a point."
        )
    if not fits.rows:
        sentences.append("No front has the five points that a saturating curve needs.")
    if kind == "training":
        sentences += without_gain(best)
        sentences.append("FLOPs: published formula (see Setup); untrained models are not shown.")
    else:
        sentences.append("FLOPs: necessary matmuls (see Setup), the mean over answers.")
    return Caption(name, title, tuple(sentences), (name, f"{name}_fits", "costs"))


def extra_tokens(tables: Tables) -> Caption:
    name, title = "extra_tokens", "Accuracy gained by extra tokens, by benchmark"
    rows = list(tables[name])
    if not rows:
        return nothing(name, title, "No two ratios of a model are compared.")
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


def lengths(tables: Tables) -> Caption:
    title = "Tokens of right and of wrong answers"
    rows = [row for row in tables["lengths"] if row["wrong_to_right"] is not None]
    if not rows:
        return nothing("lengths", title, "No arm has both right and wrong answers.", "lengths")
    longer, shorter = sum(row["low"] > 1 for row in rows), sum(row["high"] < 1 for row in rows)
    sentences = [
        f"Of {count(len(rows), 'arm')} with both right and wrong answers, wrong ones are longer in "
        f"{longer}, shorter in {shorter} and not told apart in {len(rows) - longer - shorter} "
        "(95 % bootstrap interval of the ratio, over problems).",
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


def budgets(tables: Tables) -> Caption:
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


def thinking(tables: Tables) -> Caption:
    title = "Share of completions that think"
    names = ("thinking", "generation")
    lines: dict[str, list[Row]] = {}
    for row in tables["thinking"]:
        if row["ratio"] is not None:
            lines.setdefault(row["line"], []).append(row)
    if not lines:
        return nothing("thinking", title, "No arm has a single reasoning ratio.", *names)
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
