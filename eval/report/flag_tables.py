"""Flags of arms whose numbers mean something else than they seem to: one answer to nearly all
problems, completions that do not end, thinking contrary to the training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean

from eval.report.arms import Arm
from eval.report.csv_table import Table, rounded_table
from eval.report.html import visible
from eval.report.phrases import listed_some
from eval.report.study import Study
from eval.report.truncation import truncated_share

ONE_ANSWER = 0.8  # share of a benchmark's problems
NEVER_STOPS = 0.5  # share of truncated completions
RARELY = 0.02  # share of completions that think where a mixture was taught
FEW = 5  # problems of a benchmark, below which nothing is flagged
NAMED = 4  # flags in a sentence
LONG = 12  # characters of an answer
CAPTION = (
    "Flags: one answer to at least 80 % of a benchmark's problems, at least 50 % truncated, or "
    "thinking contrary to the ratio"
)


def flags(study: Study) -> Table:
    """A row per flag, in a benchmark or in `all`; `share` is that of completions."""
    rows = []
    for arm in study.arms:
        for benchmark, keys in study.benchmarks.items():
            if len(keys) >= FEW:
                rows += [(arm.label, benchmark, *one) for one in _of_benchmark(arm, keys)]
        rows += [(arm.label, "all", *one) for one in _of_thinking(arm, study.keys)]
    return rounded_table("flags", CAPTION, ("arm", "group", "flag", "share"), rows)


def _of_benchmark(arm: Arm, keys: Sequence[str]) -> Iterator[tuple[str, float]]:
    answers = arm.answers(keys)
    if (cut := truncated_share(answers)) >= NEVER_STOPS:
        yield "never stops" if cut == 1 else "mostly truncated", cut
    by_seed = [[row for key in keys for row in one.answers[key]] for one in arm.evaluations]
    most = [_commonest(row.extracted for row in rows) for rows in by_seed]
    usual = _commonest(row.reference for row in answers)
    constant = [one for one in most if one[1] >= ONE_ANSWER]
    if constant and usual[1] < ONE_ANSWER:
        answer, share = max(constant, key=lambda one: one[1])
        some = f" at {len(constant)} of {len(most)} seeds" if len(constant) < len(most) else ""
        yield f"always answers “{visible(answer)[:LONG]}”{some}", share


def _commonest(texts: Iterable[str | None]) -> tuple[str, float]:
    """The most common text and its share; none is no text."""
    every = [None if text is None else text.strip().casefold() for text in texts]
    known = Counter(text for text in every if text is not None)
    if not known:
        return "", 0.0
    text, n = min(known.items(), key=lambda item: (-item[1], item[0]))
    return text, n / len(every)


def _of_thinking(arm: Arm, keys: Sequence[str]) -> Iterator[tuple[str, float]]:
    if arm.ratio is None or len(keys) < FEW:
        return
    thought = fmean(row.thought for row in arm.answers(keys))
    if arm.ratio == 0:
        contrary = "thinks, though taught to answer directly" if thought >= 0.5 else None
    elif arm.ratio == 1:
        contrary = "rarely thinks, though taught traces alone" if thought <= 0.5 else None
    else:
        never, always = thought <= RARELY, thought >= 1 - RARELY
        contrary = "never thinks" if never else "always thinks" if always else None
    if contrary:
        yield contrary, thought


def flags_of(table: Table, benchmarks: Sequence[str], arm: str, group: str) -> list[str]:
    """The flags beside a number of an arm: of a benchmark, or, for a category, of the benchmarks
    in it."""
    found = []
    for row in table.where(arm=arm):
        if row["group"] == group or row["group"] in benchmarks:
            where = "" if row["group"] == group else f" in {row['group']}"
            found.append(f"{row['flag']}{where}")
    return found


def flag_warnings(table: Table) -> list[str]:
    """One sentence that names the flags of a few arms, of many their number."""
    if not table.rows:
        return []
    groups: dict[str, list[str]] = {}
    for row in table:
        where = row["flag"] if row["group"] == "all" else f"{row['flag']} in {row['group']}"
        groups.setdefault(where, []).append(f"{row['arm']} ({100 * row['share']:.0f} %)")
    parts = [f"{where}: {listed_some(arms, 'arm')}" for where, arms in groups.items()]
    more = f"; {len(parts) - NAMED} more in the table flags" if len(parts) > NAMED else ""
    return [f"Answers that do not vary as expected: {'; '.join(parts[:NAMED])}{more}."]
