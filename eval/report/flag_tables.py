"""Flags of arms whose numbers mean something else than they seem to: one answer to nearly all
problems, completions that do not end, thinking contrary to the training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from eval.report.arms import Arm
from eval.report.csv_table import Table, rounded_table
from eval.report.evaluations import Evaluation
from eval.report.html import visible
from eval.report.phrases import listed_some
from eval.report.study import Study
from eval.report.truncation import truncated_share
from ratiocine.columns import NONE

ONE_ANSWER = 0.8  # share of a benchmark's problems
NEVER_STOPS = 0.5  # share of truncated completions
RARELY = 0.02  # share of completions that think where a mixture was taught
FEW = 5  # problems of a benchmark, below which nothing is flagged
NAMED = 4  # flags in a sentence
LONG = 12  # characters of an answer
ONE = "one answer to most problems at some seed"
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
    if (cut := truncated_share(arm, keys)) >= NEVER_STOPS:
        yield "never stops" if cut == 1 else "mostly truncated", cut
    most = [(one, *_commonest_answer(one, keys)) for one in arm.evaluations]
    constant = [one for one in most if one[2] >= ONE_ANSWER]
    if constant and _share_of_commonest_reference(arm, keys) < ONE_ANSWER:
        evaluation, row, share = max(constant, key=lambda one: one[2])
        answer = (evaluation.row(row).extracted or "").strip().casefold()
        some = f" at {len(constant)} of {len(most)} seeds" if len(constant) < len(most) else ""
        yield f"always answers “{visible(answer)[:LONG]}”{some}", share


def _commonest_answer(evaluation: Evaluation, keys: Sequence[str]) -> tuple[int, float]:
    """The number of a completion with the most common answer, and the share of that."""
    import numpy as np

    texts = evaluation.columns.text[evaluation.columns.rows(evaluation.at(keys))]
    counts = np.bincount(texts[texts != NONE], minlength=1)
    return int(counts.argmax()), float(counts.max() / len(texts))


def _share_of_commonest_reference(arm: Arm, keys: Sequence[str]) -> float:
    """Over the arm's completions."""
    import numpy as np

    first = arm.evaluations[0]
    references = np.array(first.columns.problems.references)[first.at(keys)]
    n = np.sum([one.columns.sums("one")[one.at(keys)] for one in arm.evaluations], axis=0)
    known = references != NONE
    return float(np.bincount(references[known], n[known], minlength=1).max() / n.sum())


def _of_thinking(arm: Arm, keys: Sequence[str]) -> Iterator[tuple[str, float]]:
    if arm.ratio is None or len(keys) < FEW:
        return
    thought = arm.share("thought", keys)
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
    """One sentence that names the flagged benchmarks of each arm, trained arms first; of many arms
    the first."""
    if not table.rows:
        return []
    arms: dict[str, dict[str, list[str]]] = {}
    for row in table:
        kind = ONE if row["flag"].startswith("always answers") else row["flag"]
        arms.setdefault(row["arm"], {}).setdefault(kind, []).append(row["group"])
    parts = []
    for arm in sorted(arms, key=lambda name: name.endswith("(untrained)")):
        told = [
            kind if where == ["all"] else f"{kind} in {listed_some(where, 'benchmark')}"
            for kind, where in arms[arm].items()
        ]
        parts.append(f"{arm}: {', '.join(told)}")
    more = f"; {len(parts) - NAMED} more arms" if len(parts) > NAMED else ""
    listed = "; ".join(parts[:NAMED])
    return [f"Answers that do not vary as expected (table flags): {listed}{more}."]
