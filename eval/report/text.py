"""A study in sentences, each as strong as its interval."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from eval.report.study import Study, Table

Row = Mapping[str, Any]
Tables = Mapping[str, Table]
FEW = 3  # pairs that have a sentence each
MOST = 8  # sentences
MANY = 10_000  # problems, beyond which another seed is asked for
RATIO = "A ratio is the share of training problems that were taught with a reasoning trace, not with the plain answer."


def findings(study: Study, tables: Tables) -> list[str]:
    """What a reader should know who reads no further."""
    found = [
        _asked(study),
        *_helped(tables),
        *_needed(tables),
        *_cost(tables),
        *_equal_cost(tables),
        *_rewards(tables),
    ]
    return [*found, *_expected(tables), *_order(tables), *_front(tables)][:MOST]


def _asked(study: Study) -> str:
    arms = len(study.trained)
    told = f"{number_of(arms, 'arm')} of training {number_of(len(study.models), 'model')}"
    if untrained := len(study.arms) - arms:
        told += f" and {number_of(untrained, 'untrained model')}"
    told += f" answered the same {number_of(len(study.keys), 'problem')} of {number_of(len(study.benchmarks), 'benchmark')}"
    numbers = sorted({len(arm.evaluations) for arm in study.trained})
    if numbers in ([], [1]):
        return f"{told}, one seed each: the 95 % intervals are over problems alone, and another seed may say otherwise. {RATIO}"
    seeds = f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
    return f"{told}, {seeds} seeds each; the 95 % intervals are over seeds and problems. {RATIO}"


def main_rows(tables: Tables) -> dict[tuple[str, str], list[Row]]:
    """The rows of every category, and of all at last, by arm and what it is compared with: the highest ratio and the lowest."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in tables["differences_main"]:
        found.setdefault((row["arm"], row["against"]), []).append(row)
    return found


def _helped(tables: Tables) -> list[str]:
    """Where reasoning helped, where it cost accuracy and where neither is decided."""
    pairs = main_rows(tables)
    if not pairs:
        return [
            "No two reasoning ratios of one model, taught alike but for that, are compared here."
        ]
    if len(pairs) <= FEW:
        found = []
        for pair, rows in pairs.items():
            overall = f"over all problems, {verdict_said(rows[-1])} ({with_interval(rows[-1])})"
            found.append(f"{pair_named(*pair)}: {by_verdict(rows[:-1], 'group')}; {overall}.")
        return [*found, *_held(tables["differences_main"])]
    by_category: dict[str, list[Row]] = {}
    for row in (row for rows in pairs.values() for row in rows[:-1]):
        by_category.setdefault(row["group"], []).append(row)
    told = "; ".join(f"{group} {counted(rows)}" for group, rows in by_category.items())
    return [
        f"The highest ratio of reasoning against the lowest, over all problems: "
        f"{by_verdict([rows[-1] for rows in pairs.values()], 'arm')}.",
        f"By category, of {len(pairs)} such comparisons: {told}.",
        *_held(tables["differences_main"]),
    ]


def pair_named(arm: str, against: str) -> str:
    """The two labels, what they share said once."""
    line, _, ratio = arm.rpartition("ratio ")
    other, _, lower = against.rpartition("ratio ")
    if ratio != arm and line == other:
        return f"{line.strip()}{', ' * bool(line)}ratio {ratio} against ratio {lower}"
    return f"{arm} against {against}"


def _held(table: Table) -> list[str]:
    """What is left of the decided comparisons when they are adjusted for being many."""
    decided = [row for row in table if row["decided"] != "not decided"]
    if not decided or len(table.rows) < 2:
        return []
    kept = sum(row["p_holm"] < 0.05 for row in decided)
    alone = f"{len(decided)} of these {len(table.rows)} comparisons {'is' if len(decided) == 1 else 'are'} decided"
    return [
        f"Taken alone, {alone}; adjusted for their number (Holm), {kept or 'none'} {'have' if kept > 1 else 'has'} p < 0.05"
        + (
            "."
            if kept == len(decided)
            else ": that chance made the others look so is not ruled out."
        )
    ]


def by_verdict(rows: Sequence[Row], name: str) -> str:
    """Rows as a clause for each of helped, cost and not decided."""
    parts = []
    for decided, words in (
        ("better", "reasoning helped"),
        ("worse", "reasoning cost accuracy"),
        ("not decided", "not decided"),
    ):
        told = [f"{row[name]} ({with_interval(row)})" for row in rows if row["decided"] == decided]
        if told:
            parts.append(f"{words} {'in' if name == 'group' else 'for'} {listed(told)}")
    return "; ".join(parts)


def verdict_said(row: Row) -> str:
    return {"better": "it helped", "worse": "it cost accuracy", "not decided": "not decided"}[
        row["decided"]
    ]


def counted(rows: Iterable[Row]) -> str:
    counts = dict.fromkeys(("better", "worse", "not decided"), 0)
    for row in rows:
        counts[row["decided"]] += 1
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count)


def _needed(tables: Tables) -> list[str]:
    """What would decide the largest of the differences that are not decided."""
    rows = sorted(tables["needed"], key=lambda row: -abs(row["difference"]))[:FEW]
    told = []
    for row in rows:
        where = group_named(
            row, list(tables["needed"]), "all problems" if row["group"] == "all" else row["group"]
        )
        told.append(f"{where}, {signed(row['difference'])} points: {_enough(row)}")
    return (
        [f"What would decide a difference as large as that seen: {'; '.join(told)}."]
        if told
        else []
    )


def _enough(row: Row) -> str:
    """The fewest seeds with which not too many problems do; the fewest problems where all are too many."""
    sizes = [
        (row["seeds"], row["problems"]),
        (5, row["problems_at_5_seeds"]),
        (10, row["problems_at_10_seeds"]),
    ]
    known = [(seeds, n) for seeds, n in sizes if n is not None and seeds >= row["seeds"]]
    if not known:
        return "more than 10 seeds, as they differ much"
    seeds, n = next(
        (size for size in known if size[1] <= MANY), min(known, key=lambda size: (size[1], size[0]))
    )
    alone = ", though nothing is known of how seeds differ" if seeds == 1 else ""
    return f"{n:,} problems with {number_of(seeds, 'seed')}{alone}"


def _cost(tables: Tables) -> list[str]:
    costs = {row["arm"]: row for row in tables["costs"]}
    parts = []
    for arm, against in main_rows(tables):
        one, other = costs[against], costs[arm]
        told = [
            f"{times_as(other['tokens'], one['tokens'])} the tokens an answer ({one['tokens']:.0f} → {other['tokens']:.0f})"
        ]
        for name, words in (
            ("inference_flops", "the FLOPs an answer"),
            ("training_flops", "the training FLOPs"),
        ):
            if one[name] and other[name]:
                told.append(f"{times_as(other[name], one[name])} {words}")
        parts.append(f"{pair_named(arm, against)} takes {listed(told)}")
    return [f"The cost: {'; '.join(parts)}."] if parts else []


def times_as(after: float, before: float) -> str:
    return f"{after / before:.1f} times" if before else "–"


def _equal_cost(tables: Tables) -> list[str]:
    rows = tables["differences_compute"].where(group="all")
    highest = {row["model"]: row for row in sorted(rows, key=lambda row: row["ratio"])}
    told = [
        f"{row['arm']} against {row['against']}, {row['decided']} ({with_interval(row)})"
        for row in highest.values()
    ]
    return [f"At equal training cost, over all problems: {'; '.join(told)}."] if told else []


def _order(tables: Tables) -> list[str]:
    rows = tables["differences_scenario"].where(group="all")
    decided = [row for row in rows if row["decided"] != "not decided"]
    told = [f"{row['arm']} {row['decided']} ({with_interval(row)})" for row in decided]
    if len(decided) < len(rows):
        told.append(f"{len(rows) - len(decided)} of {len(rows)} not decided")
    return (
        [
            f"Other orders of teaching against mixed at the same ratio, over all problems: {'; '.join(told)}."
        ]
        if rows
        else []
    )


def _rewards(tables: Tables) -> list[str]:
    rows = tables["differences_rewards"].where(group="all")
    told = [
        f"{row['arm']} against {row['against']}, {row['decided']} ({with_interval(row)})"
        for row in rows
    ]
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
            verdicts = ", ".join(f"{verdict} in {listed(where)}" for verdict, where in seen.items())
            told.append(f"{model}: {verdicts}" if len(models) > 1 else verdicts)
        if told:
            parts.append(f"{words}: {'; '.join(told)}")
    return [f"Declared before training {'. Declared '.join(parts)}."] if parts else []


def group_named(row: Row, rows: Sequence[Row], name: str) -> str:
    """The name of a group of problems, with the model where there are several."""
    return f"{name} ({row['model']})" if len({other["model"] for other in rows}) > 1 else name


def _front(tables: Tables) -> list[str]:
    rows = sorted(
        tables["front_training"].where(group="all", front=True), key=lambda row: row["flops"]
    )
    told = [f"{row['arm']} ({support_said(row)})" for row in rows if not not_better(row)]
    found = []
    if told:
        agreed = "in brackets how often a bootstrap of the study agrees"
        found.append(f"Worth their training FLOPs over all problems, {agreed}: {listed(told)}.")
    found += said_not_better(rows)
    return [" ".join(found)] if found else []


def not_better(row: Row) -> bool:
    """Whether a arm on the front of training costs was not found to be better than its model untrained, where that is known."""
    return row["than_untrained"] in ("not decided", "worse")


def said_not_better(rows: Sequence[Row]) -> list[str]:
    """Those arms in a sentence."""
    names = [f"{row['arm']} ({row['than_untrained']})" for row in rows if not_better(row)]
    return (
        [f"Best for their cost, but not found better than their model untrained: {listed(names)}."]
        if names
        else []
    )


def support_said(row: Row) -> str:
    return f"{100 * row['support']:.0f} %"


def with_interval(row: Row) -> str:
    """A difference in points with its interval."""
    value, low, high = (signed(row[name]) for name in ("difference", "low", "high"))
    return f"{value} points, {low} to {high}"


def signed(share: float) -> str:
    whole = round(100 * share)
    return f"{whole:+d}".replace("-", "−") if whole else "0"


def number_of(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'s' * (n != 1)}"


def listed(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
