"""Tables of all contrasts, of their seeds, and of the main ones by level of difficulty."""

from __future__ import annotations

from collections.abc import Sequence

from eval.report.arms import counterparts
from eval.report.csv_table import Table, rounded_table
from eval.report.evaluations import answer_formats
from eval.report.pairings import CONTRASTS, Comparisons, Pair, difference, is_tested
from eval.report.study import FEW_PROBLEMS, Study
from eval.report.verdict_tables import lead_pairs
from ratiocine.stats import pooled

MOST_LEVELS = 8  # beyond, neighbouring levels are joined
NAMES = {
    "ratio": "highest ratio against lowest",
    "rewards": "after rewards against before",
    "scenario": "another scenario against mixed",
    "training_flops": "equal training FLOPs",
    "inference_flops": "equal inference FLOPs",
    "strategy": "with a strategy against without",
}


def contrasts(study: Study, comparisons: Comparisons, hypotheses: Table) -> list[Table]:
    """Every contrast and the difference at each of its seeds: the main ones by category, the others
    over all problems, and those of declared hypotheses wherever they are declared."""
    rows, by_seed = [], []
    for kind, group, pair in _listed(study):
        base, arm = pair
        d = comparisons.of(pair, group)
        names = (kind, group, arm.label, base.label)
        wanted = {"contrast": kind, "group": group, "arm": arm.label, "against": base.label}
        declared = next(iter(hypotheses.where(**wanted)), None)
        stated = (declared["hypothesis"], declared["verdict"]) if declared else (None, None)
        seen = (d.n, d.seeds, d.difference, d.low, d.high, d.p, d.conclusion)
        rows.append((*names, arm.model, *seen, *stated))
        seeds = [other.seed if other.student else one.seed for one, other in counterparts(*pair)]
        by_seed += [(*names, *one) for one in zip(seeds, d.by_seed, strict=True)]
    names = ("contrast", "group", "arm", "against")
    columns = (
        *(*names, "model", "n", "seeds", "difference", "low", "high", "p", "conclusion"),
        *("hypothesis", "verdict"),
    )
    caption = "All contrasts: intervals and p-values of each taken alone"
    of_seeds = "The difference at every seed"
    return [
        rounded_table("contrasts", caption, columns, rows),
        rounded_table("contrasts_by_seed", of_seeds, (*names, "seed", "difference"), by_seed),
    ]


def _listed(study: Study) -> list[tuple[str, str, Pair]]:
    found: dict[tuple[str, str, str, str], tuple[str, str, Pair]] = {}

    def add(kind: str, group: str, pair: Pair) -> None:
        found.setdefault((kind, group, pair[0].label, pair[1].label), (kind, group, pair))

    for kind, pairs in CONTRASTS.items():
        declared = [one for one in study.hypotheses if one.contrast == kind]
        for pair in pairs(study):
            for group in study.groups if kind in ("ratio", "rewards") else ("all",):
                add(kind, group, pair)
            for one in declared:
                if is_tested(one, study, pair):
                    add(kind, one.group, pair)
    return list(found.values())


def gain_by_level(study: Study) -> Table:
    """The main contrasts by level of difficulty, in every category with several levels of more
    than `FEW_PROBLEMS` problems; the variance between seeds is pooled over those of one answer
    format."""
    names, found, formats = [], [], []
    for group, keys in study.groups.items():
        levels = _levels(study, keys) if group != "all" else {}
        for base, arm in lead_pairs(study) if len(levels) > 1 else ():
            for level, of_level in levels.items():
                names.append((group, arm.label, base.label, arm.model, level))
                found.append(difference((base, arm), of_level))
                formats.append(answer_formats(study.evaluations[0], of_level))
    rows = [
        (*one, d.n, d.seeds, d.base, d.accuracy, d.difference, d.low, d.high)
        for one, d in zip(names, pooled(found, formats), strict=True)
    ]
    columns = (
        *("group", "arm", "against", "model", "level", "n", "seeds"),
        *("accuracy_against", "accuracy_of_arm", "difference", "low", "high"),
    )
    caption = "Main contrasts by level of difficulty, each taken alone"
    return rounded_table("gain_by_level", caption, columns, rows)


def _levels(study: Study, keys: Sequence[str]) -> dict[str, list[str]]:
    """Problems by level, from easy to hard; of more than `MOST_LEVELS` levels, neighbours are
    joined."""
    first, found = study.evaluations[0], dict[str, list[str]]()
    for key in keys:
        if (level := first.level(key)) is not None:
            found.setdefault(level, []).append(key)
    ordered = sorted(found, key=_depth)
    joined: dict[str, list[str]] = {}
    step = max(1, -(-len(ordered) // MOST_LEVELS))
    for at in range(0, len(ordered), step):
        some = ordered[at : at + step]
        name = some[0] if len(some) == 1 else f"{some[0]}–{some[-1]}"
        joined[name] = [key for level in some for key in found[level]]
    return {name: of for name, of in joined.items() if len(of) > FEW_PROBLEMS}


def _depth(level: str) -> tuple[float, str]:
    """Numbers by value, then words."""
    try:
        return float(level), level
    except ValueError:
        return float("inf"), level
