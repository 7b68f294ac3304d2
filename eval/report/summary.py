"""The first lines of a report: what was compared, what is decided and at what cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from eval.report.csv_table import Row, Table, Tables
from eval.report.group_names import short
from eval.report.phrases import (
    MANY,
    count,
    listed,
    listed_some,
    pair_name,
    times,
    with_interval,
)
from eval.report.setup import sources
from eval.report.study import FEW_PAIRS, Study
from eval.report.verdict_tables import PROBABLE, next_round

NO_GAIN = "no gain shown"
DECIDED = ("gain", "cost", NO_GAIN)


@dataclass(frozen=True)
class Line:
    """A line at the head of the page."""

    label: str
    text: str


def summary(study: Study, tables: Tables) -> list[Line]:
    """At most five lines; without contrasts, what was evaluated alone."""
    lines = [Line("Compared", _compared(study, tables))]
    if tables["verdicts"].rows:
        lines += [
            Line("Decided", _decided(study, tables)),
            Line("Not decided", _not_decided(tables)),
            Line("Cost", _cost(study, tables)),
            Line("Next round", _next_round(study, tables)),
        ]
    return [line for line in lines if line.text]


def _compared(study: Study, tables: Tables) -> str:
    pairs = list(dict.fromkeys((row["arm"], row["against"]) for row in tables["verdicts"]))
    categories = len(study.groups) - 1
    among = f" in {categories} categories" if categories > 1 else ""
    problems = f"the same {count(len(study.keys), 'problem')}{among}"
    if not pairs:
        arms = listed_some([arm.label for arm in study.arms], "arm")
        why = "No two reasoning ratios of one model, otherwise trained alike, are compared."
        return f"{arms}, on {problems}. {why}"
    seeds = sorted({row["seeds"] for row in tables["verdicts"]})
    several = f"{seeds[0]} to {seeds[-1]} seeds" if len(seeds) > 1 else count(seeds[0], "seed")
    return f"{_lead(study, tables, pairs)}; {several}, on {problems}."


def _lead(study: Study, tables: Tables, pairs: Sequence[tuple[str, str]]) -> str:
    arms = {arm.label: arm for arm in study.arms}
    ratios = {(arms[arm].ratio, arms[against].ratio) for arm, against in pairs}
    models = list(dict.fromkeys(row["model"] for row in tables["verdicts"]))
    rewarded = any(arms[arm].rewarded for arm, _ in pairs)
    if len(ratios) == 1 and len(models) == len(pairs) and not rewarded:
        high, low = next(iter(ratios))
        taught = (
            "with a reasoning trace for every training problem (ratio 1) against none (ratio 0)"
            if (high, low) == (1, 0)
            else f"with a reasoning trace for {high:g} of the training problems against {low:g}"
        )
        return f"{listed_some(models, 'model')}, trained {taught}"
    return listed_some([pair_name(*pair) for pair in pairs], "contrast")


def _decided(study: Study, tables: Tables) -> str:
    table = tables["verdicts"]
    shown = {(row["verdict"], row["margin"]): None for row in table if row["verdict"] in DECIDED}
    found = [
        f"{_verdict_words(verdict, margin)} in "
        f"{_by_group(rows, with_interval if margin is None else None, table)}"
        for verdict, margin in sorted(shown, key=lambda one: DECIDED.index(one[0]))
        if (rows := table.where(verdict=verdict, margin=margin))
    ]
    corrected, n = "", len(table.rows)
    if n > 1:
        looks = " and the looks after each round of seeds" if study.rounds else ""
        corrected = f", after Holm's correction for {n} comparisons{looks}"
    if found:
        also = ""
        if any(row["p_no_gain"] < 0.05 for row in table.where(verdict=NO_GAIN)):
            also = ", another 5 % of any false no gain"
        between = " between these students" if max(table.values("seeds")) == 1 else ""
        corrected += f" (5 % chance of any false gain or cost{between}{also})"
        if any(_by_declaration(row) for row in table):
            corrected += ", or as declared"
    main = f"{'; '.join(found) if found else 'nothing'}{corrected}."
    lines = [main[0].upper() + main[1:], *_hypotheses(study, tables)]
    return " ".join([*lines, *_floors(table)])


def _by_declaration(row: Row) -> bool:
    """Whether a verdict is that of a declared hypothesis alone."""
    if row["verdict"] == NO_GAIN:
        return bool(row["p_no_gain"] >= 0.05)
    return row["verdict"] in DECIDED and bool(row["p_holm"] >= 0.05)


def _verdict_words(verdict: str, margin: float | None) -> str:
    return f"no gain beyond {100 * margin:g} points" if margin is not None else verdict


def _floors(table: Table) -> list[str]:
    """Comparisons of arms of which neither knows more than a guess."""
    found = []
    for floor, words in (
        ("both at chance", "at the level of guessing"),
        ("both near 0", "near 0 %"),
    ):
        rows = [row for row in table.where(floor=floor) if row["verdict"] not in ("gain", "cost")]
        if rows := [row for row in rows if row["group"] != "all"]:
            found.append(f"{_by_group(rows, None, table)} (both arms {words})")
    if not found:
        return []
    return [f"Nothing was learned that could differ in {'; '.join(found)}."]


def _hypotheses(study: Study, tables: Tables) -> list[str]:
    table = tables["hypotheses"]
    if not table.rows:
        if study.hypotheses:
            return []
        return ["No hypothesis was declared."]
    primary = [row for row in table if row["primary"]]
    first = primary or list(table)
    missed = [row for row in first if row["p_adjusted"] >= 0.05]
    kind = "primary hypothesis" if primary else "hypothesis"
    shown = f"{len(first) - len(missed)} of {count(len(first), kind)} shown"
    found = f"{shown} (5 % chance of any false one among these)"
    names = (("gain", "gain"), ("no_gain", "no gain"))
    words = [
        f"{name} in {_by_group(rows, None, table)}"
        for one, name in names
        if (rows := [row for row in missed if row["hypothesis"] == one])
    ]
    without = f"; not shown: {'; '.join(words)}" if words else ""
    rest = ""
    if n := len(table.rows) - len(first):
        others = sum(row["p_adjusted"] < 0.05 for row in table if not row["primary"])
        rest = f"; of the {n} tested after these {others or 'none'}"
    return [f"Declared before training: {found}{without}{rest}."]


def _by_group(rows: Sequence[Row], detail: Callable[[Row], str] | None, table: Table) -> str:
    """Rows of a table, such as: math-oe for small (+32 points, +19 to +46) and large (…); without
    details, groups with the same names are joined, such as: math-mc and all problems for small and
    large; of many arms their numbers."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["group"], []).append(row)
    names = _names(table)
    if detail is None and len({row["arm"] for row in rows}) > FEW_PAIRS:
        return listed([f"{short(group)} ({count(len(of), 'arm')})" for group, of in groups.items()])
    if detail is None or len(rows) > 2 * MANY:
        joined: dict[str, list[str]] = {}
        for group, of_group in groups.items():
            named = [names[pair] for row in of_group if (pair := _pair(row)) in names]
            joined.setdefault(listed(named) if named else "", []).append(short(group))
        return listed(
            [f"{listed(of)} for {named}" if named else listed(of) for named, of in joined.items()]
        )
    parts = []
    for group, of_group in groups.items():
        details = [f"{names.get(_pair(row), '')} ({detail(row)})".strip() for row in of_group]
        parts.append(f"{short(group)}{' for' if names else ''} {listed(details)}")
    return "; ".join(parts)


def _pair(row: Row) -> tuple[str, str]:
    return row["arm"], row["against"]


def _names(table: Table) -> dict[tuple[str, str], str]:
    """Of the contrasts of a table: their models, where these tell them apart; none of a single
    contrast."""
    models = {_pair(row): row["model"] for row in table}
    if len(models) == 1:
        return {}
    if len(set(models.values())) == len(models):
        return models
    return {pair: pair_name(*pair) for pair in models}


def _not_decided(tables: Tables) -> str:
    table = tables["verdicts"]
    rows = [row for row in table if row["verdict"] not in DECIDED]
    if not rows:
        return "Nothing: every comparison is decided."
    where = _by_group(rows, None, table)
    found = [f"{len(rows)} of {count(len(table.rows), 'comparison')}: {where}."]
    alone = [row for row in rows if row["alone"] != "inconclusive"]
    if alone and len(table.rows) > 1:
        named = _by_group(alone, None, table)
        found.append(
            f"Taken alone, the interval leaves out 0 in {named}; among {len(table.rows)} "
            "comparisons that may be chance."
        )
    limited = [row for row in table if row["token_limit_may_decide"]]
    if limited:
        where = _by_group(limited, None, table)
        found.append(f"Truncated answers could change the verdict in {where}.")
    return " ".join(found)


def _cost(study: Study, tables: Tables) -> str:
    table = tables["verdicts"]
    rows, names = table.where(group="all") or list(table), _names(table)
    if set(names.values()) <= set(study.models) or len(rows) > FEW_PAIRS:
        parts = [_times(rows)]
    else:
        parts = [f"{names[_pair(row)]}, {_times([row])}" for row in rows]
    tokens = sum(one.tokens or 0 for one in sources(study))
    teacher = f"; the teacher took {tokens:,} tokens for the pairs" if tokens else ""
    return f"{'; '.join(parts)}, over all problems{teacher}."


def _times(rows: Sequence[Row]) -> str:
    parts = []
    for name, words in (
        ("tokens_times", "the tokens"),
        ("flops_times", "the FLOPs per answer"),
        ("training_times", "the training FLOPs"),
    ):
        if values := [row[name] for row in rows if row[name]]:
            parts.append(f"{times(min(values), max(values))} {words}")
    return listed(parts) if parts else "unknown"


def _next_round(study: Study, tables: Tables) -> str:
    undecided = tables["verdicts"].where(verdict="inconclusive")
    if not undecided:
        return ""
    table = tables["more_seeds"]
    now = max(row["seeds"] for row in undecided)
    if not table.rows and now > 1:
        return "No difference was seen that more seeds would show to be a gain or a cost."
    if not table.rows:
        return (
            f"With {count(now, 'seed')} nothing is known of the variance between seeds, and these "
            "intervals do not cover it: train two more seeds before anything else."
        )
    rows = [row for row in table if row["with_seeds"] == next_round(study, row["seeds"])]
    likely = [row for row in rows if row["power"] >= PROBABLE]
    seeds = listed([f"{n} seeds" for n in dict.fromkeys(row["with_seeds"] for row in rows)])
    lead = f"{seeds} instead of {now} on the same problems"
    if likely:
        named = _by_group(likely, _chance, table)
        rest = "; the rest probably not" if len(likely) < len(undecided) else ""
        return f"{lead} would decide {named}, if the true difference is the one seen{rest}."
    best = max(rows, key=lambda row: row["power"])
    name = _by_group([best], _chance, table)
    return (
        f"{lead} would probably show no further gain or cost, if the true differences are those "
        f"seen (at best {name})."
    )


def _chance(row: Row) -> str:
    return f"{100 * row['power']:.0f} % chance"
