"""A study in sentences, each as strong as its interval: what was found, and what every picture shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eval.study import Study, Table

Row = Mapping[str, Any]
Tables = Mapping[str, Table]
FEW = 3  # pairs that have a sentence each
MOST = 8  # sentences
MANY = 10_000  # problems, beyond which another seed is asked for
RATIO = "A ratio is the share of training problems that were taught with a reasoning trace, not with the plain answer."


@dataclass(frozen=True)
class Figure:
    """A picture's name, title and sentences, and the tables behind it; `drawn` is False where these have nothing to draw."""

    name: str
    title: str
    says: tuple[str, ...]
    tables: tuple[str, ...]
    drawn: bool = True


def findings(study: Study, tables: Tables) -> list[str]:
    """What a reader should know who reads no further."""
    found = [_asked(study), *_helped(tables), *_needed(tables), *_cost(tables), *_equal_cost(tables), *_rewards(tables)]
    return [*found, *_expected(tables), *_order(tables), *_front(tables)][:MOST]


def _asked(study: Study) -> str:
    ways = len(study.trained)
    told = f"{_count(ways, 'way')} of training {_count(len(study.models), 'model')}"
    if untrained := len(study.ways) - ways:
        told += f" and {_count(untrained, 'untrained model')}"
    told += f" answered the same {_count(len(study.keys), 'problem')} of {_count(len(study.benchmarks), 'benchmark')}"
    numbers = sorted({len(way.arms) for way in study.trained})
    if numbers in ([], [1]):
        return f"{told}, one seed each: the 95 % intervals are over problems alone, and another seed may say otherwise. {RATIO}"
    seeds = f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
    return f"{told}, {seeds} seeds each; the 95 % intervals are over seeds and problems. {RATIO}"


def _main(tables: Tables) -> dict[tuple[str, str], list[Row]]:
    """The rows of every category, and of all at last, by way and what it is compared with: the highest ratio and the lowest."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in tables["differences_main"]:
        found.setdefault((row["way"], row["against"]), []).append(row)
    return found


def _helped(tables: Tables) -> list[str]:
    """Where reasoning helped, where it cost accuracy and where neither is decided."""
    pairs = _main(tables)
    if not pairs:
        return ["No two reasoning ratios of one model are compared here."]
    if len(pairs) <= FEW:
        found = []
        for pair, rows in pairs.items():
            overall = f"over all problems, {_verb(rows[-1])} ({_told(rows[-1])})"
            found.append(f"{_pair(*pair)}: {_sorted(rows[:-1], 'group')}; {overall}.")
        return [*found, *_held(tables["differences_main"])]
    by_category: dict[str, list[Row]] = {}
    for row in (row for rows in pairs.values() for row in rows[:-1]):
        by_category.setdefault(row["group"], []).append(row)
    told = "; ".join(f"{group} {_counted(rows)}" for group, rows in by_category.items())
    return [
        f"The highest ratio of reasoning against the lowest, over all problems: "
        f"{_sorted([rows[-1] for rows in pairs.values()], 'way')}.",
        f"By category, of {len(pairs)} such comparisons: {told}.",
        *_held(tables["differences_main"]),
    ]


def _pair(way: str, against: str) -> str:
    """The two labels, what they share said once."""
    line, _, ratio = way.rpartition("ratio ")
    other, _, lower = against.rpartition("ratio ")
    if ratio != way and line == other:
        return f"{line.strip()}{', ' * bool(line)}ratio {ratio} against ratio {lower}"
    return f"{way} against {against}"


def _held(table: Table) -> list[str]:
    """What is left of the decided comparisons when they are adjusted for being many."""
    decided = [row for row in table if row["decided"] != "not decided"]
    if not decided or len(table.rows) < 2:
        return []
    kept = sum(row["p_holm"] < 0.05 for row in decided)
    alone = f"{len(decided)} of these {len(table.rows)} comparisons {'is' if len(decided) == 1 else 'are'} decided"
    return [
        f"Taken alone, {alone}; adjusted for their number (Holm), {kept or 'none'} {'have' if kept > 1 else 'has'} p < 0.05."
    ]


def _sorted(rows: Sequence[Row], name: str) -> str:
    """Rows as a clause for each of helped, cost and not decided."""
    parts = []
    for decided, words in (
        ("better", "reasoning helped"),
        ("worse", "reasoning cost accuracy"),
        ("not decided", "not decided"),
    ):
        told = [f"{row[name]} ({_told(row)})" for row in rows if row["decided"] == decided]
        if told:
            parts.append(f"{words} {'in' if name == 'group' else 'for'} {_listed(told)}")
    return "; ".join(parts)


def _verb(row: Row) -> str:
    return {"better": "it helped", "worse": "it cost accuracy", "not decided": "not decided"}[row["decided"]]


def _counted(rows: Iterable[Row]) -> str:
    counts = dict.fromkeys(("better", "worse", "not decided"), 0)
    for row in rows:
        counts[row["decided"]] += 1
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count)


def _needed(tables: Tables) -> list[str]:
    """What would decide the largest of the differences that are not decided."""
    rows = sorted(tables["needed"], key=lambda row: -abs(row["difference"]))[:FEW]
    told = []
    for row in rows:
        sizes = [(row["seeds"], row["problems"]), (5, row["problems_at_5_seeds"]), (10, row["problems_at_10_seeds"])]
        may = [(seeds, n) for seeds, n in sizes if n is not None and n <= MANY and seeds >= row["seeds"]]
        words = f"{may[0][1]:,} problems with {_count(may[0][0], 'seed')}" if may else "more than 10 seeds, as they differ much"
        where = _of(row, list(tables["needed"]), "all problems" if row["group"] == "all" else row["group"])
        told.append(f"{where}, {_points(row['difference'])} points: {words}")
    return [f"What would decide a difference as large as that seen: {'; '.join(told)}."] if told else []


def _cost(tables: Tables) -> list[str]:
    costs = {row["way"]: row for row in tables["costs"]}
    parts = []
    for way, against in _main(tables):
        one, other = costs[against], costs[way]
        told = [f"{_times(other['tokens'], one['tokens'])} the tokens an answer ({one['tokens']:.0f} → {other['tokens']:.0f})"]
        for name, words in (("inference_flops", "the FLOPs an answer"), ("training_flops", "the training FLOPs")):
            if one[name] and other[name]:
                told.append(f"{_times(other[name], one[name])} {words}")
        parts.append(f"{_pair(way, against)} takes {_listed(told)}")
    return [f"The cost: {'; '.join(parts)}."] if parts else []


def _times(after: float, before: float) -> str:
    return f"{after / before:.1f} times" if before else "–"


def _equal_cost(tables: Tables) -> list[str]:
    rows = tables["differences_compute"].where(group="all")
    highest = {row["model"]: row for row in sorted(rows, key=lambda row: row["ratio"])}
    told = [f"{row['way']} against {row['against']}, {row['decided']} ({_told(row)})" for row in highest.values()]
    return [f"At equal training cost, over all problems: {'; '.join(told)}."] if told else []


def _order(tables: Tables) -> list[str]:
    rows = tables["differences_scenario"].where(group="all")
    decided = [row for row in rows if row["decided"] != "not decided"]
    told = [f"{row['way']} {row['decided']} ({_told(row)})" for row in decided]
    if len(decided) < len(rows):
        told.append(f"{len(rows) - len(decided)} of {len(rows)} not decided")
    return [f"Other orders of teaching against mixed at the same ratio, over all problems: {'; '.join(told)}."] if rows else []


def _rewards(tables: Tables) -> list[str]:
    rows = tables["differences_rewards"].where(group="all")
    told = [f"{row['way']} against {row['against']}, {row['decided']} ({_told(row)})" for row in rows]
    return [f"After rewards against before, over all problems: {'; '.join(told)}."] if told else []


def _expected(tables: Tables) -> list[str]:
    parts = []
    for declared, words in (("gain", "to gain from reasoning"), ("no_gain", "not to gain")):
        rows = tables["expectations"].where(declared=declared)
        models = dict.fromkeys(row["model"] for row in rows)
        told = []
        for model in models:
            seen: dict[str, list[str]] = {}
            for row in (row for row in rows if row["model"] == model):
                seen.setdefault(row["verdict"].partition(" by ")[0], []).append(row["group"])
            verdicts = ", ".join(f"{verdict} in {_listed(where)}" for verdict, where in seen.items())
            told.append(f"{model}: {verdicts}" if len(models) > 1 else verdicts)
        if told:
            parts.append(f"{words}: {'; '.join(told)}")
    return [f"Declared before training {'. Declared '.join(parts)}."] if parts else []


def _of(row: Row, rows: Sequence[Row], name: str) -> str:
    """The name of a group of problems, with the model where there are several."""
    return f"{name} ({row['model']})" if len({other["model"] for other in rows}) > 1 else name


def _front(tables: Tables) -> list[str]:
    rows = sorted(tables["front_training"].where(group="all", front=True), key=lambda row: row["flops"])
    told = [f"{row['way']} ({_support(row)})" for row in rows]
    if not told:
        return []
    return [
        f"Worth their training FLOPs over all problems, in brackets how often a bootstrap of the study agrees: {_listed(told)}."
    ]


def _support(row: Row) -> str:
    return f"{100 * row['support']:.0f} %"


def figures(study: Study, tables: Tables) -> list[Figure]:
    """Every picture in the order of the page."""
    found = [
        _accuracy(study, tables), _matched(tables),
        _forest(tables["differences_ratio"], "What does each ratio change against the lowest?",
                "No two ratios of a model were compared.", "differences_main", "needed"),
        _forest(tables["differences_scenario"], "Does the order of teaching matter?",
                "No other order was taught beside mixed teaching at the same ratio."),
    ]  # fmt: skip
    if tables["differences_compute"].rows:
        found.append(
            _forest(tables["differences_compute"], "Is reasoning better than plain answers at equal training cost?", "")
        )
    if tables["differences_rewards"].rows:
        found.append(_forest(tables["differences_rewards"], "What did rewards change?", ""))
    training, inference = "Which models are worth their training?", "Which models are worth what an answer costs?"
    return [
        *found, _fronts(tables, "training", training), _fronts(tables, "inference", inference), _extra(tables),
        _lengths(tables), _budgets(tables), _modes(tables),
    ]  # fmt: skip


def _nothing(name: str, title: str, why: str, *tables: str) -> Figure:
    return Figure(name, title, (why,), tables, drawn=False)


def _accuracy(study: Study, tables: Tables) -> Figure:
    title = "Does accuracy rise with the share of reasoning?"
    rows = [row for row in tables["accuracy"] if row["ratio"] is not None and row["match"] == "examples"]
    shown: tuple[str, ...] = ("accuracy", "accuracy_by_benchmark", "accuracy_by_seed")
    if not rows:
        return _nothing("accuracy", title, "No way was taught at one reasoning ratio.", *shown)
    told = []
    for pair, own in _main(tables).items():
        parts = []
        for decided, word in (("better", "higher"), ("worse", "lower")):
            if names := [row["group"] for row in own[:-1] if row["decided"] == decided]:
                parts.append(f"{word} in {_listed(names)}")
        told.append(f"{_pair(*pair)}: {_listed(parts) if parts else 'not decided in any category'}")
    over = "problems alone, as there is one seed" if study.most_seeds == 1 else "seeds and problems"
    says = [f"{'; '.join(told)}." if told else "One ratio alone was taught in each line."]
    says.append(f"Bands are 95 % intervals over {over}, dotted lines models untrained here. Scales differ between categories.")
    if any(row["scenario"] != "mixed" for row in rows):
        says.append("At ratio 0 and 1 order makes no difference: there lines that have no way of their own join the mixed one.")
    if "published" in tables:
        says.append(_published(tables["published"]))
        shown = (*shown, "published")
    return Figure("accuracy", title, tuple(says), shown)


def _published(table: Table) -> str:
    named = len({row["model"] for row in table})
    if not named:
        return "None of these models is one with published accuracies."
    return (
        f"Hollow marks are the published accuracies of {_count(named, 'model')} of these (arXiv 2509.22193 v2, Table 1), of "
        "other data, budgets and graders."
    )


def _matched(tables: Tables) -> Figure:
    name, title = "accuracy_matched", "And at equal training cost?"
    rows = [row for row in tables["accuracy"] if row["ratio"] is not None and row["match"] not in (None, "examples")]
    if not rows:
        return _nothing(name, title, "No way was trained at equal FLOPs or tokens (match=flops, match=tokens).")
    ways = len({row["way"] for row in rows})
    says = (
        f"{_count(ways, 'way')} went on for further epochs until training had cost what the same problems cost with reasoning.",
        "At ratio 1 that changes nothing: lines end in the usual way. Bands and dotted lines as above.",
    )
    return Figure(name, title, says, ("accuracy",))


def _forest(table: Table, title: str, nothing: str, *more: str) -> Figure:
    rows = list(table)
    if not rows:
        return _nothing(table.name, title, nothing)
    kept = sum(row["p_holm"] < 0.05 for row in rows)
    over = "problems alone (one seed)" if {row["seeds"] for row in rows} == {1} else "seeds and problems"
    says = (
        f"Of {_count(len(rows), 'paired difference')}: {_counted(rows)}; {kept} with p < 0.05 when Holm-adjusted for all.",
        f"Lines are 95 % intervals over {over}; hollow marks are not decided.",
    )
    return Figure(table.name, title, says, (table.name, *more))


def _fronts(tables: Tables, kind: str, title: str) -> Figure:
    name = f"front_{kind}"
    rows = tables[name].where(group="all")
    if not rows:
        return _nothing(name, title, f"The {kind} FLOPs of no model are known.")
    best = sorted((row for row in rows if row["front"]), key=lambda row: row["flops"])
    says = [f"{_count(len(best), 'way')} of {len(rows)} make the front over all problems: no other is as cheap and better."]
    if sure := [row["way"] for row in best if row["support"] >= 0.95]:
        says.append(f"Sure of their place, in 95 % or more of bootstrap resamples: {_listed(sure)}.")
    if unsure := [f"{row['way']} ({_support(row)})" for row in best if row["support"] < 0.95]:
        says.append(f"Not decided: {_listed(unsure)}.")
    if fitted := [row["group"] for row in tables[f"{name}_fits"]]:
        says.append(
            f"Dashed: the saturating curve through fronts of five points or more ({_listed(fitted)}), a description only."
        )
    else:
        says.append("No front has the five points that a saturating curve would need.")
    if kind == "training":
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
        parts = [f"{words} in {_listed(names)}" for words, names in (("a gain", gained), ("a loss", lost)) if names]
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
        return _nothing("lengths", title, "No way has both right and wrong answers.", "lengths")
    longer, shorter = sum(row["low"] > 1 for row in rows), sum(row["high"] < 1 for row in rows)
    says = [
        f"Wrong answers are longer than right ones in {longer} of {_count(len(rows), 'way')}, shorter in {shorter}, and "
        f"{len(rows) - longer - shorter} are not decided (95 % bootstrap interval of the ratio, over problems).",
        "Wrong answers are often to harder problems, which take longer.",
    ]  # fmt: skip
    within = [row for row in rows if row["within_levels"] is not None]
    if within:
        moved = [f"{row['way']} ×{row['wrong_to_right']:.2f} → ×{row['within_levels']:.2f}" for row in _longest(within)]
        says.append(f"Compared within levels of difficulty: {_listed(moved)}; all ways are in the table.")
    else:
        says.append("These problems have no levels by which that could be held apart.")
    more = ("lengths_by_level",) if tables["lengths_by_level"].rows else ()
    return Figure("lengths", title, tuple(says), ("lengths", *more))


def _longest(rows: Sequence[Row]) -> list[Row]:
    """Of each model the way with the longest answers."""
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
        if best["accuracy"] and (not firsts or firsts[-1][0] != best["way"]):
            firsts.append((best["way"], cap))
    told = [f"{way} from {cap}" for way, cap in (firsts[:1] + firsts[-2:] if len(firsts) > 3 else firsts)]
    leads = f"Most answered right within a budget, the point alone: {_listed(told)} tokens" if told else "Nothing was right"
    says = (
        f"{leads}; the evaluations had {max(row['tokens'] for row in rows)}.",
        "Exact but for answers boxed before the cut: one that is longer counts as none, though it may have boxed an answer by "
        "then (python -m eval.budgets cuts the texts).",
    )  # fmt: skip
    return Figure("budgets", "How many tokens until an answer is right?", says, ("budgets",))


def _modes(tables: Tables) -> Figure:
    title = "When does a student that was taught both ways think?"
    lines: dict[str, list[Row]] = {}
    for row in tables["thinking"]:
        if row["ratio"] is not None:
            lines.setdefault(row["line"], []).append(row)
    if not lines:
        return _nothing("thinking", title, "No way was taught at one reasoning ratio.", "thinking")
    told = []
    for line, own in lines.items():
        often = sorted((row for row in own if row["low"] > 0.5), key=lambda row: row["ratio"])
        first = f"from ratio {often[0]['ratio']:g} ({100 * often[0]['thought']:.0f} %)" if often else "decided at no ratio"
        told.append(f"{line} {first}")
    says = (
        f"More than half of the completions think: {'; '.join(told)}.",
        "Where a student thinks as often as it was taught to, its line is the diagonal.",
    )
    return Figure("thinking", title, says, ("thinking",))


def _told(row: Row) -> str:
    """A difference in points with its interval."""
    value, low, high = (_points(row[name]) for name in ("difference", "low", "high"))
    return f"{value} points, {low} to {high}"


def _points(share: float) -> str:
    return f"{100 * share:+.0f}".replace("-", "−")


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'s' * (n != 1)}"


def _listed(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
