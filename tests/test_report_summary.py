"""What a report says first: verdicts, five lines, facts, flags and what more seeds would decide."""

import json
from collections.abc import Callable
from dataclasses import replace
from math import exp
from pathlib import Path

import grid
import pytest
from conftest import done
from grid import Point

from eval.report.captions import captions
from eval.report.comparability import study_warnings
from eval.report.cost_figures import _flops_ticks
from eval.report.csv_table import Table
from eval.report.flag_tables import flag_warnings
from eval.report.hypotheses import Declared, Rounds
from eval.report.loading import load_all
from eval.report.pairings import Comparisons
from eval.report.setup import facts
from eval.report.study import Study
from eval.report.summary import summary
from eval.report.tables import all_tables
from eval.report.verdict_tables import lead_pairs
from ratiocine.records import ScoredCompletion
from ratiocine.runs import Decoding, EvalFacts, PairSource, StudentInfo
from ratiocine.stats import PairedDifference, pooled, problems_needed
from ratiocine.stats.sample_size import power_over_seeds

ARMS = [Point("small", ratio, seed=seed) for ratio in (0.0, 1.0) for seed in range(3)]


def gains(point: Point, benchmark: str, number: int) -> bool:
    """Reasoning gains in sums, costs in names, and changes nothing at all in spans; angles are
    noise."""
    if benchmark == "angles":
        return grid.noise(point, benchmark, number)
    right = {"sums": 40 + 75 * (point.ratio or 0), "names": 115 - 75 * (point.ratio or 0)}
    return number < right.get(benchmark, 75) + (point.seed if benchmark != "spans" else 0)


def found(
    root: Path, changed: Callable[[EvalFacts], EvalFacts] | None = None
) -> tuple[Study, dict[str, Table]]:
    """The study of a folder, with changed facts of its evaluations, and its tables."""
    evaluations = load_all([root])
    if changed:
        evaluations = [
            replace(one, manifest=grid.manifest(changed(one.facts), str(at)))
            for at, one in enumerate(evaluations)
        ]
    study = Study.of(evaluations)
    return study, all_tables(study)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("gains")
    return grid.study(root, ARMS, gains, problems=150, hypotheses={})


def text_of(study: Study, tables: dict[str, Table]) -> dict[str, str]:
    return {line.label: line.text for line in summary(study, tables)}


def test_verdicts_are_those_of_the_corrected_tests(made: Path) -> None:
    study, tables = found(made)
    verdicts = {row["group"]: row for row in tables["verdicts"]}
    assert {group: row["verdict"] for group, row in verdicts.items()} == {
        "general-mc": "cost",
        "general-oe": "no gain shown",
        "math-mc": "inconclusive",
        "math-oe": "gain",
        "all": "inconclusive",
    }
    assert {group: row["margin"] for group, row in verdicts.items() if row["margin"]} == {
        "general-oe": 0.05
    }
    chance = {row["group"]: row["chance"] for row in tables["chance"]}
    for group, row in verdicts.items():
        both = tables["accuracy"].where(group=group)
        both = [one for one in both if one["arm"] in (row["arm"], row["against"])]
        guess, near_zero = chance[group], all(one["accuracy"] <= 0.02 for one in both)
        guessed = guess > 0.02 and all(one["low"] <= guess <= one["high"] for one in both)
        floor = "both near 0" if near_zero else "both at chance" if guessed else None
        assert row["floor"] == floor, group
    holm = {row["group"]: row["p_holm"] for row in tables["differences_main"]}
    for group, row in verdicts.items():
        assert row["p_holm"] == holm[group]
        assert (row["verdict"] in ("gain", "cost")) == (row["p_holm"] < 0.05)
    assert verdicts["all"]["tokens_times"] == pytest.approx(
        _tokens(study, 1.0) / _tokens(study, 0.0), rel=1e-5
    )
    lines = text_of(study, tables)
    assert list(lines) == ["Compared", "Decided", "Not decided", "Cost", "Next round"]
    assert (
        "(ratio 1) against none (ratio 0); 3 seeds, on the same 600 problems" in lines["Compared"]
    )
    assert "Gain in math-oe (+50 points" in lines["Decided"]
    assert "cost in general-mc (−50 points" in lines["Decided"]
    assert "no gain beyond 5 points in general-oe" in lines["Decided"]
    assert "after Holm's correction for 5 comparisons" in lines["Decided"]
    assert "No hypothesis was declared." in lines["Decided"]
    assert lines["Not decided"].startswith("2 of 5 comparisons: math-mc and all problems.")


def test_the_chances_of_more_seeds_are_at_holms_level(made: Path) -> None:
    """Of five contrasts two are decided, so that the next one has 0.05 / 3."""
    study, tables = found(made)
    comparisons = Comparisons(study)
    pairs = {(arm.label, base.label): (base, arm) for base, arm in lead_pairs(study)}
    assert tables["more_seeds"].rows
    for row in tables["more_seeds"]:
        d = comparisons.of(pairs[row["arm"], row["against"]], row["group"])
        assert row["power"] == pytest.approx(d.power(row["with_seeds"], 0.05 / 3), rel=1e-4)


def test_verdicts_pay_for_looks_after_each_round(made: Path) -> None:
    """Seeds in rounds: p-values are those of all looks, none smaller than that of the last."""
    rounds = Declared(rounds=Rounds(first=2, most=6))
    plain, study = found(made)[1], Study.of(load_all([made]), rounds)
    tables = all_tables(study)
    for before, after in zip(plain["verdicts"], tables["verdicts"], strict=True):
        assert after["p_holm"] >= before["p_holm"]
        assert after["p_no_gain"] >= before["p_no_gain"]
    assert (
        tables["verdicts"].where(group="math-oe")[0]["p_holm"]
        > 1.1 * (plain["verdicts"].where(group="math-oe")[0]["p_holm"])
    )
    lines = text_of(study, tables)
    assert "5 comparisons and the looks after each round of seeds" in lines["Decided"]
    assert lines["Next round"].startswith("6 seeds instead of 3")


def _tokens(study: Study, ratio: float) -> float:
    (arm,) = [arm for arm in study.arms if arm.ratio == ratio]
    tokens = arm.mean("n_completion", study.keys)
    assert tokens is not None
    return tokens


@pytest.mark.long
def test_five_lines_lead_everywhere(made: Path, tmp_path: Path) -> None:
    words = ("--completions", "0", "--out", str(tmp_path / "report.html"))
    shown = done("eval.report", str(made), *words).splitlines()
    lines = summary(*found(made))
    assert len(lines) <= 5
    assert shown[: len(lines)] == [f"{line.label}: {line.text}" for line in lines]
    page = (tmp_path / "report.html").read_text().replace("\u00a0", " ").replace("&#39;", "'")
    body = page[page.index("<h1>") :]
    places = [body.index("<svg"), *(body.index(f"<dd>{line.text}</dd>") for line in lines)]
    assert places == sorted(places)
    assert places[-1] < body.index("<h2>Setup") < body.index("All findings in sentences")
    text = (tmp_path / "report.md").read_text()
    assert text.index("figures/verdicts.svg") < text.index("**Compared.**") < text.index("## ")
    for line in lines:
        assert f"- **{line.label}.** {line.text}" in text.replace("\\", "")
    assert body.index("general questions, open-ended") < body.index("<h2>Results")


@pytest.mark.long
def test_few_problems_decide_nothing(tmp_path: Path) -> None:
    """Of two problems no table prints a difference, and the picture names no gain."""
    grid.study(tmp_path, ARMS, lambda point, *_: point.ratio == 1, problems=2)
    tables = found(tmp_path)[1]
    verdicts = {row["group"]: row["verdict"] for row in tables["verdicts"]}
    assert verdicts["math-oe"] == "too few problems"
    assert "contrasts" in tables and tables["gain_by_level"].rows == ()
    done("eval.report", str(tmp_path), "--out", str(tmp_path / "r.html"))
    page = (tmp_path / "r.html").read_text()
    assert page.count(">too few<") > 20
    assert "too few problems" in page


def with_answers(point: Point, row: ScoredCompletion) -> dict[str, object]:
    """The references vary; ratio 0 always answers "<b>" in names and never stops in spans, and
    ratio 0.5 thinks always, ratio 1 never."""
    letter = "abcd"[int(row.id) % 4]
    return {
        "reference": letter,
        "extracted": " <B>" if point.ratio == 0 and row.benchmark == "names" else letter,
        "stop": "length" if point.ratio == 0 and row.benchmark == "spans" else "stop",
        "thought": point.ratio == 0.5,
    }


@pytest.mark.long
def test_flags_stand_beside_the_numbers(tmp_path: Path) -> None:
    points = [Point("small", ratio) for ratio in (0.0, 0.5, 1.0)]
    grid.study(tmp_path, points, problems=8, mended=with_answers)
    tables = found(tmp_path)[1]
    assert {(row["arm"], row["group"], row["flag"]) for row in tables["flags"]} == {
        ("ratio 0", "names", "always answers “<b>”"),
        ("ratio 0", "spans", "never stops"),
        ("ratio 0.5", "all", "always thinks"),
        ("ratio 1", "all", "rarely thinks, though taught traces alone"),
    }
    (sentence,) = flag_warnings(tables["flags"])
    assert sentence == (
        "Answers that do not vary as expected (table flags): ratio 0: one answer to most problems "
        "at some seed in names, never stops in spans; ratio 0.5: always thinks; ratio 1: rarely "
        "thinks, though taught traces alone."
    )
    shown = done("eval.report", str(tmp_path), "--out", str(tmp_path / "r.html"))
    assert f"warning: {sentence}" in shown.splitlines()
    page = (tmp_path / "r.html").read_text().replace("<wbr>", "")
    matrix = page[page.index("Accuracy by category, with") :]
    assert matrix.index("⚑ always answers “&lt;b&gt;” in names") < matrix.index("</table>")
    assert "<b>" not in page
    constant = {"extracted": "1", "reference": "1"}
    grid.study(tmp_path / "same", points, problems=8, mended=lambda *_: constant)
    assert "always answers" not in found(tmp_path / "same")[1]["flags"].csv()


def test_facts_are_those_that_were_recorded(made: Path) -> None:
    study, tables = found(made)
    shown = {fact.label: fact.text for fact in facts(study, tables)}
    assert "pruned from large, 2 layers" in shown["Models"]
    assert "a program that solves the problems (oracle), not by a model" in shown["Traces"]
    assert "600 training problems" in shown["Training"]
    assert (
        "math-mc (mathematics, multiple choice): angles, n = 150, chance 20 %" in shown["Problems"]
    )
    assert "on 2 CPU cores" in shown["Time"]
    chance = {row["group"]: row["chance"] for row in tables["chance"]}
    assert chance == {
        "general-mc": 0.25,
        "general-oe": 0,
        "math-mc": 0.2,
        "math-oe": 0,
        "all": 0.1125,
    }


def test_facts_that_are_unknown_are_left_out(made: Path) -> None:
    def unknown(one: EvalFacts) -> EvalFacts:
        bare = {"sources": (), "problems": None, "license": None, "pruned": None, "machine": None}
        student = replace(student_of(one), **bare)
        return replace(one, student=student, chance={}, license=None, pruned=None, size=None)

    study, tables = found(made, unknown)
    shown = {fact.label: fact.text for fact in facts(study, tables)}
    assert ("Traces" not in shown and "Code" not in shown) or "Revision" not in shown["Code"]
    assert shown["Models"] == "small."
    assert "None" not in "".join(shown.values()) and "chance" not in shown["Problems"]
    assert not tables["chance"].rows


def test_a_teacher_has_its_cost_and_code_its_revisions(made: Path) -> None:
    model = PairSource("teach-7b", True, 9, "mit", tokens=1234, money=5.0)

    def taught(one: EvalFacts) -> EvalFacts:
        student = student_of(one)
        revision = "a" * 40 if student.ratio else "b" * 40 + "+"
        return replace(one, student=replace(student, sources=(model,), revision=revision))

    study, tables = found(made, taught)
    shown = {fact.label: fact.text for fact in facts(study, tables)}
    assert "Written by the model teach-7b (license mit). 9 pairs." in shown["Traces"]
    assert "took 1,234 tokens, cost 5.00" in shown["Traces"]
    assert "the teacher took 1,234 tokens for the pairs" in text_of(study, tables)["Cost"]
    assert (
        "Students were trained by 2 revisions of the code, which may be what differs between arms "
        "(aaaaaaaaaa: ratio 1; bbbbbbbbbb with changed files: ratio 0)." in study_warnings(study)
    )


def student_of(one: EvalFacts) -> StudentInfo:
    assert one.student is not None
    return one.student


def test_more_seeds_decide_more(made: Path) -> None:
    tables = found(made)[1]
    rows = tables["more_seeds"].where(group="all")
    assert [row["with_seeds"] for row in rows] == list(range(2, 13))
    powers = [row["power"] for row in rows]
    assert powers == sorted(powers) and 0 <= powers[0] < powers[-1] <= 1
    assert set(tables["more_seeds"].values("group")) == {"math-mc", "all"}


def test_one_seed_shows_no_variance_between_seeds(tmp_path: Path) -> None:
    arms = [Point("small", 0.0), Point("small", 1.0)]
    study, tables = found(grid.study(tmp_path, arms, grid.noise, problems=10))
    assert not tables["more_seeds"].rows
    assert "train two more seeds" in text_of(study, tables)["Next round"]


def test_the_power_of_seeds_is_that_of_sample_sizes() -> None:
    """At the number of problems that is needed for 80 %; pooled degrees of freedom add to it."""
    n = problems_needed(0.1, 0.3, 0.02, 3, common=0.5)
    assert n is not None
    known = (0.1, 0.3, 2 * 0.02**2, 3, 0.05, 0.5)
    assert power_over_seeds(*known, n - 1) < 0.8 <= power_over_seeds(*known, n)
    assert power_over_seeds(*known, n, freedom=10) > power_over_seeds(*known, n) + 0.02


def test_the_power_of_a_difference_counts_what_is_pooled() -> None:
    def table(seed: int, gain: float) -> list[list[float]]:
        return [[float(grid.chance(seed, s, n) < 0.4 + gain) for n in range(60)] for s in range(3)]

    alone = [PairedDifference.of(table(k, 0.0), table(100 + k, 0.12)) for k in range(8)]
    together = pooled(alone)
    assert all(one.pool is not None for one in together)
    gains = [
        (after.power(3, 0.01) or 0) - (before.power(3, 0.01) or 0)
        for before, after in zip(alone, together, strict=True)
    ]
    assert sum(gains) > 0
    one_seed = PairedDifference.of(table(1, 0.0)[:1], table(2, 0.1)[:1])
    assert one_seed.power(3, 0.05) is None


@pytest.mark.parametrize("decades", [0.53, 0.7, 1.2, 2.5, 6])
def test_an_axis_of_flops_has_three_to_five_ticks(decades: float) -> None:
    low = 1.7e12
    ticks = _flops_ticks(low, low * 10**decades)
    assert 3 <= len(ticks) <= 5
    assert all(low <= tick <= low * 10**decades for tick in ticks)


def test_a_curve_that_misses_its_points_is_not_drawn(tmp_path: Path) -> None:
    """Points near the floor and a jump: no saturating curve passes through both."""
    points = [Point("small", number / 6) for number in range(7)]
    grid.study(
        tmp_path,
        points,
        lambda p, benchmark, number: number < (57 if p.ratio == 1 else 1 + 6 * (p.ratio or 0)),
        problems=60,
    )
    study, tables = found(tmp_path)
    fits = tables["pareto_training_fits"].where(passes=False)
    assert "math-oe" in {fit["group"] for fit in fits}
    for fit in tables["pareto_training_fits"]:
        front = tables["pareto_training"].where(group=fit["group"], on_front=True)
        missed = 0
        for row in front:
            scaled = fit["gamma"] * (row["flops"] / fit["to_flops"]) ** fit["delta"]
            predicted = fit["alpha"] + fit["beta"] * (1 - exp(-scaled))
            missed += not row["low"] - 1e-5 <= predicted <= row["high"] + 1e-5
        assert bool(missed) == (not fit["passes"])
    shown = captions(study, tables)
    (caption,) = [one for one in shown if one.name == "pareto_training"]
    assert any(one.startswith("No curve is drawn in ") for one in caption.sentences)


def test_one_category_is_one_comparison(tmp_path: Path) -> None:
    """All problems are those of the category: no correction for a test that is made twice."""
    root = grid.study(
        tmp_path, ARMS, gains, problems=40, mended=lambda point, row: {"category": "math-oe"}
    )
    study, tables = found(root)
    assert tables["verdicts"].values("group") == ["math-oe"]
    one, total = tables["differences_main"]
    assert (one["group"], total["group"]) == ("math-oe", "all")
    assert one["p"] == one["p_holm"] == total["p"] == total["p_holm"]
    assert "correction" not in text_of(study, tables)["Decided"]
    assert "the tokens" in text_of(study, tables)["Cost"]
    names = sorted(str(folder) for folder in root.iterdir())
    shown = done("eval.compare", *names[3:], "--against", *names[:3])
    assert "and over" not in shown and "math-oe" not in shown and "\nall " in shown


def with_votes(root: Path, seeds: int, ratios: tuple[float, ...] = (0.0, 1.0)) -> list[Path]:
    """Folders of evaluations of these arms: greedy, samples, and a vote over these samples."""
    points = [Point("small", ratio, seed=seed) for ratio in ratios for seed in range(seeds)]
    drawn = Decoding(temperature=0.7, top_p=1.0, samples=1)
    arms = (("greedy", grid.GREEDY, 120), ("samples", drawn, 150), ("vote", drawn, 180))
    for name, decoding, characters in arms:
        grid.study(
            root / name,
            points,
            grid.believable if name == "vote" else gains,
            problems=40,
            characters=characters,
            decoding=decoding,
        )
    for folder in (inner for name, *_ in arms for inner in (root / name).iterdir()):
        read = json.loads((folder / "manifest.json").read_text())
        drawn_at = read["decoding"]["temperature"]
        own = f"{folder.parent.name[0]}{read['hash'][1:]}"
        changes = {"identity": read["identity"] | {"temperature": drawn_at}, "hash": own}
        if folder.parent.name == "vote":
            changes["identity"]["strategy"] = {"name": "self_consistency", "n": 4}
            taken = json.loads((root / "samples" / folder.name / "manifest.json").read_text())
            (written,) = (one for name, one in taken["outputs"].items() if "completions" in name)
            changes["inputs"] = read["inputs"] | {"samples": written}
        grid.rewrite_manifest(folder, **changes)
    return [root / name for name, *_ in arms]


def test_strategies_are_compared_with_asking_once_and_with_each_other(tmp_path: Path) -> None:
    study = Study.of(load_all(with_votes(tmp_path, 1)))
    assert len(study.arms) == 4, "samples are no arm"
    assert [arm.condition for arm in study.plain] == ["greedy", "greedy"]
    tables = all_tables(study)
    assert len(tables["verdicts"].rows) == 5
    asked_once = {(row["arm"], row["against"]) for row in tables["differences_strategy"]}
    assert {pair for pair in asked_once if "self_consistency" not in pair[0]} == set()
    assert {against for _, against in asked_once} == {"ratio 0, greedy", "ratio 1, greedy"}
    ((high, low),) = {(row["arm"], row["against"]) for row in tables["differences_ratio_strategy"]}
    assert high.startswith("ratio 1") and low.startswith("ratio 0")
    assert "self_consistency" in high and "self_consistency" in low


def test_strategies_change_nothing_of_the_main_contrasts(tmp_path: Path) -> None:
    """Neither correction nor pooled variance: they are the same students again."""
    greedy, *others = with_votes(tmp_path, 3, (0.0, 0.25, 0.5, 0.75, 1.0))
    alone, both = (
        [
            {name: row[name] for name in ("group", "low", "high", "p", "p_holm", "pooled", "d0")}
            for row in all_tables(Study.of(load_all(folders)))["differences_ratio"]
        ]
        for folders in ([greedy], [greedy, *others])
    )
    assert both == alone
    assert any(row["pooled"] for row in alone), "else nothing is tested"


@pytest.mark.parametrize(
    ("verdict", "p", "told"),
    [
        ("gain", {"p_holm": 0.2}, True),
        ("gain", {"p_holm": 0.01}, False),
        ("no gain shown", {"p_holm": 1.0, "p_no_gain": 0.2}, True),
        ("no gain shown", {"p_holm": 1.0, "p_no_gain": 0.01}, False),
        ("inconclusive", {"p_holm": 0.2, "p_no_gain": 0.2}, False),
    ],
)
def test_verdicts_of_declared_hypotheses_alone_are_told(
    made: Path, verdict: str, p: dict[str, float], told: bool
) -> None:
    """Correction of the table does not stand behind a verdict that a declaration decides."""
    study, tables = found(made)
    columns = tables["verdicts"].columns
    changed = {"verdict": verdict, "p_no_gain": 1.0, "margin": None, **p}
    sure = {"verdict": "cost", "p_holm": 0.001, "p_no_gain": 1.0, "margin": None}
    first, *others = (dict(row) for row in tables["verdicts"])
    rows = [first | changed, *(row | sure for row in others)]
    verdicts = replace(
        tables["verdicts"], rows=tuple(tuple(row[name] for name in columns) for row in rows)
    )
    text = text_of(study, {**tables, "verdicts": verdicts})["Decided"]
    assert ("or as declared" in text) == told
