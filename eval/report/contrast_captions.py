"""Captions of the figures of contrasts: verdicts, forest plot, levels and further seeds."""

from __future__ import annotations

from eval.report.caption import Caption, nothing
from eval.report.contrast_tables import NAMES
from eval.report.csv_table import Tables
from eval.report.group_names import short
from eval.report.hypotheses import MARGIN
from eval.report.phrases import count, listed, signed
from eval.report.study import FEW_PROBLEMS

WITHIN = f"±{100 * MARGIN:g} points"


def verdicts(tables: Tables) -> list[Caption]:
    table = tables["verdicts"]
    if not table.rows:
        return []
    sentences = [
        "Gain and cost: p < 0.05 after Holm's correction for all cells. Inconclusive: neither, nor "
        f"is a difference beyond {WITHIN} excluded; it is not evidence of no effect.",
    ]
    if table.where(verdict="no gain shown"):
        sentences.append(
            "No gain: a difference beyond the margin, in either direction, is excluded. The margin "
            f"is the declared one where its hypothesis is shown, else {WITHIN}, corrected among "
            "these tests. At chance, near 0: neither arm knows more than a guess, so that nothing "
            "can differ."
        )
    sentences.append(
        "In brackets the 95 % interval of each cell alone, which may leave out 0 in an "
        "inconclusive cell. Tokens and FLOPs: of an answer, times those of the arm compared "
        "against."
    )
    title = "Verdict by category and model"
    return [Caption("verdicts", title, tuple(sentences), ("verdicts", "hypotheses"))]


def forest(tables: Tables) -> Caption:
    title, table = "All contrasts", tables["contrasts"]
    rows = [row for row in table if row["n"] > FEW_PROBLEMS]
    if not rows:
        why = f"share more than {FEW_PROBLEMS} problems" if table.rows else "are compared"
        return nothing("forest", title, f"No two arms {why}.")
    kinds = listed([NAMES[kind] for kind in dict.fromkeys(row["contrast"] for row in rows)])
    sentences = [
        f"{count(len(rows), 'contrast')} ({kinds}), each with the 95 % interval that it has alone; "
        "where nothing differs, one in twenty such intervals leaves out 0.",
    ]
    if any(row["hypothesis"] for row in rows):
        sentences.append(
            "Diamonds: hypotheses declared before training; their verdicts, corrected among "
            "themselves, are in the table."
        )
    if len(table.rows) > len(rows):
        few = len(table.rows) - len(rows)
        sentences.append(f"Left out: {few} with at most {FEW_PROBLEMS} problems.")
    names = ("contrasts", "contrasts_by_seed", "hypotheses", "differences_inference")
    return Caption("forest", title, tuple(sentences), names)


def gain_by_level(tables: Tables) -> list[Caption]:
    table = tables["gain_by_level"]
    if not table.rows:
        return []
    sentences = (
        "The main contrasts among problems of one level (the benchmark's own; levels of different "
        f"benchmarks are not the same), where it has more than {FEW_PROBLEMS} problems.",
        "Lines are 95 % intervals, not corrected for the number of levels: a trend over "
        "neighbouring levels says more than one of them.",
    )
    return [Caption("gain_by_level", "Gain by level of difficulty", sentences, ("gain_by_level",))]


def more_seeds(tables: Tables) -> list[Caption]:
    table = tables["more_seeds"]
    if not table.rows:
        return []
    last = max(table.values("with_seeds"))
    never = [
        f"{short(row['group'])} ({row['model']}, {signed(row['difference'])} points: "
        f"{100 * row['power']:.0f} %)"
        for row in table.where(with_seeds=last)
        if row["power"] < 0.5
    ]
    level = 0.05 / sum(row["verdict"] not in ("gain", "cost") for row in tables["verdicts"])
    sentences = [
        "The chance that an inconclusive contrast is decided with so many seeds and the same "
        f"problems, at p < {level:.2g} (0.05 over those without a gain or cost), if the true "
        "difference is the one seen. That one is uncertain itself, and mostly too large where it "
        "was chosen for its size. Looks at fewer seeds in between cost further power.",
    ]
    if never:
        sentences.append(f"More seeds alone do not decide {listed(never)}.")
    names = ("more_seeds", "needed")
    return [Caption("more_seeds", "What more seeds would decide", tuple(sentences), names)]
