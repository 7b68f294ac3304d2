"""The report of a study through the real command, over synthetic evaluations with known effects."""

import csv
import json
import math
import re
import shutil
import unicodedata
from collections import Counter
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import grid
import pytest
import yaml
from conftest import command, done
from grid import Point
from hypothesis import given
from hypothesis import strategies as st

from eval.report import (
    Evaluation,
    counterparts,
    find_evaluations,
    gather,
    load_all,
    load_evaluations,
    varying,
    visible,
)
from eval.report.captions import captions
from eval.report.cost_captions import budgets
from eval.report.csv_table import Table
from eval.report.explorer import as_script, completions
from eval.report.figures import DRAWN, picture
from eval.report.findings import _decisive, findings
from eval.report.pairings import difference
from eval.report.published import published_table
from eval.report.study import Study
from eval.report.tables import all_tables
from ratiocine.errors import BadInput
from ratiocine.runs import StudentInfo, lineage, read_manifest

SMALL = [
    *(Point(model, None) for model in grid.SHAPES),
    *(
        Point(model, ratio, seed=seed)
        for model in grid.SHAPES
        for ratio in (0.0, 0.5, 1.0)
        for seed in (0, 1)
    ),
    *(Point("small", 0.5, "sequential", seed=seed) for seed in (0, 1)),
    *(Point("small", 0.0, equalize="flops", seed=seed) for seed in (0, 1)),
]


def counted(point: Point, benchmark: str, number: int) -> bool:
    """Of 20 problems the first so many; of each seed two more or fewer."""
    if point.ratio is None:
        return number < 2
    right = {
        "sums": 4 + 12 * point.ratio,
        "angles": 10,
        "names": 14 - 8 * point.ratio,
        "spans": 12,
    }[benchmark]
    right += 2 * (point.scenario == "sequential") + 4 * (point.equalize == "flops")
    return number < right + (1 if point.seed else -1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A small study's folder, and the folder with its report."""
    root, out = tmp_path_factory.mktemp("study"), tmp_path_factory.mktemp("out")
    grid.study(root, SMALL, counted, problems=20)
    done("eval.report", str(root), "--out", str(out / "report.html"))
    return root, out


def rows(out: Path, name: str, **wanted: str) -> list[dict[str, str]]:
    with open(out / "tables" / f"{name}.csv", newline="") as file:
        return [
            row
            for row in csv.DictReader(file)
            if all(row[key] == value for key, value in wanted.items())
        ]


def row(out: Path, name: str, **wanted: str) -> dict[str, str]:
    (found,) = rows(out, name, **wanted)
    return found


def study_of(root: Path) -> Study:
    return Study.of(load_evaluations(find_evaluations(root)))


def found_in(root: Path) -> tuple[str, dict[str, Table]]:
    """Findings and tables of a study's folder, without figures."""
    study = study_of(root)
    tables = all_tables(study)
    return " ".join(findings(study, tables)), tables


def trained_with(root: Path, **facts: Any) -> list[Evaluation]:
    """The evaluations of a folder, as if their students had been trained otherwise."""
    name = " ".join(map(str, facts.values()))
    return [
        with_student(
            evaluation,
            name,
            replace(student_of(evaluation), arm=f"{student_of(evaluation).arm} {name}", **facts),
        )
        for evaluation in load_evaluations(find_evaluations(root))
    ]


def student_of(evaluation: Evaluation) -> StudentInfo:
    assert evaluation.student is not None
    return evaluation.student


def with_student(evaluation: Evaluation, name: str, student: StudentInfo) -> Evaluation:
    manifest = replace(
        evaluation.manifest,
        hash=f"{evaluation.manifest.hash} {name}",
        facts={**evaluation.manifest.facts, "student": asdict(student)},
    )
    return replace(evaluation, label=f"{evaluation.label} {name}", manifest=manifest)


def rewarded(
    evaluations: list[Evaluation], reward: str, *, control: bool = False, present: bool = True
) -> list[Evaluation]:
    """The same evaluations, as if rewards had trained these students further; `present` states that
    these are the parents."""
    name, found = f"{reward} {control}", []
    for evaluation in evaluations:
        before = student_of(evaluation)
        student = StudentInfo(
            reward=reward,
            objective="grpo",
            control=control,
            seed=before.seed,
            base=before.base,
            lr=1e-6,
            steps=9,
            train_flops=1e9,
            arm=f"{before.arm} {name}",
            hash=f"{before.hash} {name}",
            parent=before if present else replace(before, hash="of another run"),
        )
        found.append(with_student(evaluation, name, student))
    return found


def pairs(tables: dict[str, Table], name: str) -> set[tuple[str, str]]:
    return {(row["arm"], row["against"]) for row in tables[name]}


ENDS = [Point("small", ratio, seed=seed) for ratio in (0.0, 1.0) for seed in (0, 1)]


@pytest.mark.parametrize(
    ("one", "other", "word"),
    [
        ({"lora": False}, {"lora": True}, "lora True"),
        ({"lr_policy": "matched"}, {"lr_policy": "matched", "lr": 3e-4}, "lr 0.0003"),
        ({"steps": 100}, {"steps": 50}, "steps 50"),
        ({"settings": "a"}, {"settings": "b"}, "(2)"),
    ],
)
def test_arms_are_compared_that_differ_in_one_thing(
    one: dict, other: dict, word: str, tmp_path: Path
) -> None:
    """Ratios of students that differ in something else too are not compared."""
    root = grid.study(tmp_path, ENDS, counted, problems=4)
    both = Study.of([*trained_with(root, **one), *trained_with(root, **other)])
    tables = all_tables(both)
    for name in ("differences_ratio", "differences_main"):
        assert len(pairs(tables, name)) == 2
        assert all((word in arm) == (word in against) for arm, against in pairs(tables, name))
    assert pairs(tables, "differences_scenario") == set()
    assert len({arm.line for arm in both.arms}) == 2, (
        "a line joins arms that differ in the ratio alone"
    )
    low, high = (
        [evaluation for evaluation in trained_with(root, **facts) if evaluation.ratio == ratio]
        for facts, ratio in ((one, 0), (other, 1))
    )
    crossed = Study.of([*low, *high])
    tables = all_tables(crossed)
    found = {name for name, one in tables.items() if name.startswith("differences") and one.rows}
    assert found == {"differences_baseline"}, "which compares all arms with the first"
    assert "No two reasoning ratios of one model, otherwise trained alike, are" in " ".join(
        findings(crossed, tables)
    )


@pytest.mark.parametrize(
    ("key", "value", "differs"),
    [("ratio", 0.25, ["ratio"]), ("seed", 7, []), ("batch_size", 3, ["settings"])],
)
def test_lineage_tells_what_students_differ_in(
    key: str,
    value: Any,
    differs: list[str],
    student: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        lineage, "check_finished", read_manifest
    )  # the configuration is not the one that was written
    other = shutil.copytree(student, tmp_path / "other")
    config = yaml.safe_load((other / "config.yaml").read_text())
    assert config[key] != value
    (other / "config.yaml").write_text(yaml.safe_dump({**config, key: value}))
    identity = json.loads((other / "manifest.json").read_text())["identity"]
    grid.rewrite_manifest(other, identity={**identity, key: value})
    known = [lineage.student(str(folder / "model")) for folder in (student, other)]
    assert known[0] and known[1]
    assert lineage.differing(*known) == differs


def test_what_follows_from_an_axis_is_no_other_difference(tmp_path: Path) -> None:
    """Rates by format, steps of further epochs at equal cost, and a last batch for every stage."""
    points = [
        *ENDS,
        Point("small", 0.0, equalize="flops"),
        Point("small", 0.5),
        Point("small", 0.5, "sequential"),
    ]
    evaluations = []
    for evaluation in load_evaluations(
        find_evaluations(grid.study(tmp_path, points, counted, problems=4))
    ):
        student = student_of(evaluation)
        steps = 100 + (student.scenario != "mixed") + 500 * (student.equalize == "flops")
        changed = replace(student, lr=1e-4 * (1 + (student.ratio or 0)), steps=steps)
        evaluations.append(with_student(evaluation, "", changed))
    tables = all_tables(Study.of(evaluations))
    assert len(pairs(tables, "differences_ratio")) == 3
    assert len(pairs(tables, "differences_scenario")) == 1
    assert len(pairs(tables, "differences_compute")) == 3


def test_a_control_of_rewards_is_no_order_of_teaching(tmp_path: Path) -> None:
    evaluations = trained_with(grid.study(tmp_path, ENDS[2:], counted, problems=4))
    tables = all_tables(
        Study.of(
            [
                *evaluations,
                *rewarded(evaluations, "e2h"),
                *rewarded(evaluations, "e2h", control=True),
            ]
        )
    )
    assert pairs(tables, "differences_scenario") == set()
    assert len(pairs(tables, "differences_rewards")) == 2


def of_seeds(evaluations: list[Evaluation], *seeds: int) -> list[Evaluation]:
    return [evaluation for evaluation in evaluations if evaluation.seed in seeds]


def test_seeds_are_paired_as_far_as_they_match(tmp_path: Path) -> None:
    """A base that stands alone goes with all where it was not trained, or where all began with
    it."""
    points = [
        Point("small"),
        *(Point("small", ratio, seed=seed) for ratio in (0.0, 1.0) for seed in (0, 1, 2)),
    ]
    evaluations = load_evaluations(
        find_evaluations(grid.study(tmp_path, points, counted, problems=4))
    )
    untrained, *rest = sorted(
        evaluations, key=lambda evaluation: -1 if evaluation.ratio is None else evaluation.ratio
    )
    low, high = rest[:3], rest[3:]

    def seeds(*gathered: Evaluation) -> list[tuple[int | None, int | None]]:
        pair = tuple(gather(gathered))
        assert len(pair) == 2
        both = counterparts(*pair)
        assert difference(pair, list(evaluations[0].answers)).seeds == len(both)
        assert [(a.label, b.label) for b, a in counterparts(*pair[::-1])] == [
            (a.label, b.label) for a, b in both
        ]
        return [(one.seed, other.seed) for one, other in both]

    assert seeds(*low, *high) == [(0, 0), (1, 1), (2, 2)]
    assert seeds(*of_seeds(low, 0), *high) == [(0, 0)]
    assert seeds(*low, *of_seeds(high, 1, 2)) == [(1, 1), (2, 2)]
    assert seeds(*of_seeds(low, 0), *of_seeds(high, 1, 2)) == [(0, 1)], (
        "where none match, no more pairs than seeds"
    )
    assert seeds(untrained, *high) == [(None, 0), (None, 1), (None, 2)]
    (lone,) = of_seeds(low, 0)
    after = [
        with_student(evaluation, "", replace(student_of(evaluation), parent=lone.student))
        for evaluation in rewarded(low, "e2h")
    ]
    assert seeds(lone, *after) == [(0, 0), (0, 1), (0, 2)]
    assert seeds(*rewarded(low, "e2h"), *rewarded(of_seeds(low, 1, 2), "e2h", control=True)) == [
        (1, 1),
        (2, 2),
    ]
    assert seeds(*low, *rewarded(of_seeds(low, 1, 2), "e2h", present=False)) == [(1, 1), (2, 2)]


def test_the_files_have_the_numbers(made: tuple[Path, Path]) -> None:
    out = made[1]
    best = row(out, "accuracy", group="math-oe", arm="small ratio 1")
    assert (best["n"], best["seeds"], float(best["accuracy"])) == (
        "20",
        "2",
        0.8,
    )  # 15 and 17 of 20
    assert float(best["low"]) < 0.8 < float(best["high"])
    assert float(row(out, "accuracy", group="all", arm="large (untrained)")["accuracy"]) == 0.1
    assert [
        float(r["accuracy"])
        for r in rows(out, "accuracy_by_seed", group="math-oe", arm="small ratio 1")
    ] == [0.75, 0.85]
    gain = row(out, "differences_ratio", group="math-oe", arm="small ratio 1")
    assert (gain["against"], float(gain["difference"]), gain["conclusion"]) == (
        "small ratio 0",
        0.6,
        "better",
    )
    assert (
        float(row(out, "differences_ratio", group="general-mc", arm="large ratio 1")["difference"])
        == -0.4
    )
    assert (
        float(row(out, "differences_ratio", group="all", arm="small ratio 0.5")["difference"])
        == 0.025
    )
    order = row(out, "differences_scenario", group="all")
    assert (order["arm"], order["against"], float(order["difference"])) == (
        "small sequential ratio 0.5",
        "small ratio 0.5",
        0.1,
    )
    equal = row(out, "differences_compute", group="math-oe", arm="small ratio 1")
    assert (equal["against"], float(equal["difference"])) == ("small equal FLOPs ratio 0", 0.4)
    assert float(row(out, "costs", arm="small ratio 1")["training_flops"]) == 3e12
    assert float(row(out, "thinking", arm="small ratio 1")["thought"]) == 1
    assert row(out, "runs", arm="small ratio 1", seed="1")["training_seconds"] == "61"


def test_p_values_are_adjusted_within_their_table(made: tuple[Path, Path]) -> None:
    for name in ("differences_main", "differences_ratio", "differences_scenario"):
        found = sorted(rows(made[1], name), key=lambda one: float(one["p"]))
        assert float(found[0]["p_holm"]) == pytest.approx(
            min(1, len(found) * float(found[0]["p"])), rel=1e-5
        )
        assert all(float(a["p_holm"]) <= float(b["p_holm"]) for a, b in pairwise(found))


def test_fronts_lengths_and_budgets_are_those_of_the_answers(made: tuple[Path, Path]) -> None:
    out = made[1]
    points = rows(out, "pareto_training", group="math-oe")
    assert not [point for point in points if "untrained" in point["arm"]]
    cheapest = min(points, key=lambda point: float(point["flops"]))
    assert (cheapest["arm"], cheapest["on_front"], cheapest["support"]) == (
        "small ratio 0",
        "true",
        "1",
    )
    assert (
        row(out, "pareto_training", group="math-oe", arm="large ratio 0")["on_front"] == "false"
    )  # dearer, and as good
    lengths = row(out, "lengths", arm="small ratio 0")
    right = [
        grid.answer(
            Point("small", 0.0, seed=s), b, i, counted(Point("small", 0.0, seed=s), b, i), 9
        )
        for s in (0, 1)
        for b in grid.BENCHMARKS
        for i in range(20)
    ]
    mean = {v: [r.n_completion for r in right if r.verdict == v] for v in ("right", "wrong")}
    assert float(lengths["right"]) == pytest.approx(
        sum(mean["right"]) / len(mean["right"]), rel=1e-5
    )
    assert float(lengths["wrong"]) == pytest.approx(
        sum(mean["wrong"]) / len(mean["wrong"]), rel=1e-5
    )
    curve = rows(out, "budgets", arm="small ratio 0")
    assert int(curve[-1]["tokens"]) == 256
    assert (
        curve[-1]["accuracy"] == row(out, "accuracy", group="all", arm="small ratio 0")["accuracy"]
    )
    for point in curve:
        within = sum(tokens <= int(point["tokens"]) for tokens in mean["right"]) / 160
        assert float(point["accuracy"]) == pytest.approx(within, rel=1e-5)


def test_a_fit_is_as_near_to_its_points_as_is_said(tmp_path: Path) -> None:
    """Accuracy that rises with cost, ever faster or ever slower."""
    ratios = [number / 7 for number in range(8)]
    points = [Point("small", ratio) for ratio in ratios]
    grid.study(
        tmp_path,
        points,
        lambda p, benchmark, number: (
            number < 20 * (p.ratio or 0) ** (2 if benchmark == "sums" else 0.5)
        ),
    )
    tables = found_in(tmp_path)[1]
    for kind in ("training", "inference"):
        assert len(tables[f"pareto_{kind}_fits"].rows) >= 2
        for fit in tables[f"pareto_{kind}_fits"]:
            front = tables[f"pareto_{kind}"].where(group=fit["group"], on_front=True)
            x = [point["flops"] / fit["to_flops"] for point in front]
            curve = [
                fit["alpha"] + fit["beta"] * (1 - math.exp(-fit["gamma"] * value ** fit["delta"]))
                for value in x
            ]
            off = [abs(y - point["accuracy"]) for y, point in zip(curve, front, strict=True)]
            assert sum(off) / len(off) == pytest.approx(fit["error"], abs=1e-4)


def test_the_page_says_what_the_files_say(made: tuple[Path, Path]) -> None:
    out = made[1]
    page, text = (out / "report.html").read_text(), (out / "report.md").read_text()
    for words in (
        "small, ratio 1 against ratio 0: reasoning helped in math-oe (+60 points",
        "reasoning cost accuracy in general-mc (−40 points",
        "Hypothesis of a gain from reasoning: ",
    ):
        assert words in page and words in text
    for name in re.findall(r'(?:href|src)="([^"#]+)"', page) + re.findall(r"\]\(([^)]+)\)", text):
        assert name == "data:," or (out / name).exists(), name


@pytest.mark.slow
def test_the_same_evaluations_give_the_same_bytes_in_any_order(
    made: tuple[Path, Path], tmp_path: Path
) -> None:
    root, out = made
    done(
        "eval.report",
        *map(str, sorted(root.iterdir(), reverse=True)),
        "--out",
        str(tmp_path / "report.html"),
    )
    files = sorted(file.relative_to(out) for file in out.rglob("*") if file.is_file())
    assert len(files) > 40
    for file in files:
        assert (out / file).read_bytes() == (tmp_path / file).read_bytes(), file


def test_times_and_names_of_runs_are_in_one_table(tmp_path: Path) -> None:
    once, again = (
        grid.study(tmp_path / name, SMALL[:8], problems=4, seconds=seconds, engine=name)
        for name, seconds in (("a", 1.0), ("b", 9.0))
    )
    (_, first), (_, second) = found_in(once), found_in(again)
    assert [name for name in first if first[name].csv() != second[name].csv()] == ["runs"]


def test_pictures_are_svg_and_png_with_text(made: tuple[Path, Path]) -> None:
    out = made[1]
    pictures = sorted((out / "figures").glob("*.svg"))
    assert [file.stem for file in pictures] == sorted(
        set(DRAWN) - {"differences_rewards", "differences_strategy", "benchmarks"}
    )
    for file in pictures:
        root = ElementTree.parse(file).getroot()
        assert len(list(root.iter("{http://www.w3.org/2000/svg}text"))) > 5
        assert not re.search(r"\d{4}-\d\d-\d\dT", file.read_text())
        assert file.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    page = (out / "report.html").read_text()
    drawn = re.findall(r"<svg.*?</svg>", page, re.S)
    assert len(drawn) == 2 * len(pictures)
    ids = Counter(re.findall(r' id="([^"]+)"', page))
    assert max(ids.values()) == 1
    for svg in drawn:
        ElementTree.fromstring(svg)
        assert not re.search("#[0-9a-f]{6}\\b", svg)  # only the page's own colours
        assert set(re.findall(r'(?:href="|url\()#([^")]+)', svg)) <= set(ids)


def noisy(effect: float) -> grid.Rule:
    return lambda point, benchmark, number: (
        grid.chance(point.model, point.ratio, point.seed, benchmark, number)
        < 0.5 + effect * ((point.ratio or 0) - 0.5)
    )


@pytest.mark.parametrize(
    ("effect", "words"),
    [
        (0.8, "over all problems, it helped"),
        (-0.8, "over all problems, it cost accuracy"),
        (0.0, "over all problems, inconclusive"),
    ],
)
def test_sentences_follow_the_intervals(effect: float, words: str, tmp_path: Path) -> None:
    points = [Point("small", ratio, seed=seed) for ratio in (0.0, 1.0) for seed in range(4)]
    text, tables = found_in(grid.study(tmp_path, points, noisy(effect), problems=15))
    assert words in text
    (overall,) = tables["differences_main"].where(group="all")
    assert (overall["low"] > 0) == (effect > 0)
    assert (overall["high"] < 0) == (effect < 0)
    assert ("Sample sizes" in text) == bool(tables["needed"].rows)
    shown = captions(study_of(tmp_path), tables)
    assert any("inconclusive in every category" in s for one in shown for s in one.sentences) == (
        effect == 0
    )


@pytest.mark.slow
def test_what_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    """One model, one seed, one scenario; too few arms for anything but the line itself."""
    grid.study(
        tmp_path,
        [Point("small", ratio) for ratio in (0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)],
        problems=8,
    )
    shown = done(
        "eval.report",
        str(tmp_path),
        "--completions",
        "0",
        "--out",
        str(tmp_path / "out" / "r.html"),
    )
    page = (tmp_path / "out" / "r.html").read_text()
    assert (
        "7 trained arms of 1 model answered the same 32 problems of 4 benchmarks, with one "
        "seed each" in page
    )
    assert "intervals over problems (one seed)" in page
    assert "No arm was trained at equal FLOPs or tokens" in page
    assert "No other scenario was trained" in page
    assert "untrained model" not in shown
    assert (tmp_path / "out" / "r-figures" / "accuracy.svg").exists()
    assert not (tmp_path / "out" / "r-figures" / "accuracy_equal_cost.svg").exists()
    assert "This page holds no completions" in page


def test_two_arms_have_the_report_that_a_study_has(tmp_path: Path) -> None:
    grid.study(tmp_path / "s", [Point("small", 0.0), Point("small", 1.0)], problems=4)
    words = ("--completions", "9", "--overlay", "published", "--ceiling", "0.9")
    text = done("eval.report", str(tmp_path / "s"), "--out", str(tmp_path / "report.html"), *words)
    assert "ratio 1 − ratio 0" in text
    page = (tmp_path / "report.html").read_text()
    assert "2 arms on 16 problems" in page
    assert 'id="pareto_training"' in page and (tmp_path / "report.md").exists()
    names = {file.stem for file in (tmp_path / "tables").iterdir()}
    assert {"accuracy", "hypotheses", "arms", "pareto_inference", "published"} <= names


HOSTILE = (
    "</script><script>alert(1)</script><!-- <img src=x onerror=alert(1)> "
    "\u202egnp.exe\u202c \x00\x07\x1b[31m \ud800 &lt; \u2028"
)


def test_model_output_is_shown_as_text(tmp_path: Path) -> None:
    points = [Point("small", 1.0, seed=seed) for seed in (0, 1)]
    grid.study(
        tmp_path,
        points,
        problems=2,
        mended=lambda point, made: {"completion": HOSTILE, "prompt": HOSTILE},
    )
    done("eval.report", str(tmp_path), "--out", str(tmp_path / "r.html"))
    page = (tmp_path / "r.html").read_bytes().decode()  # as UTF-8, whatever was written
    assert page.count("<script") == page.count("</script>") == 2
    assert "<img" not in page and "<!--" not in page
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069\u2028]", page)
    held = json.loads(re.search(r'id="held">(.*?)</script>', page, re.S)[1])
    text = held["answers"][0][-1]
    assert text == visible(HOSTILE) == held["problems"][0][1]
    assert "⟨U+202E⟩gnp.exe⟨U+202C⟩ ⟨U+0000⟩⟨U+0007⟩⟨U+001B⟩[31m ⟨U+D800⟩ &lt; ⟨U+2028⟩" in text


TEXT = st.text() | st.text(st.sampled_from('<>&/!-script"\\\u2028\ud800'))


@given(st.recursive(TEXT, lambda inner: st.lists(inner, max_size=4), max_leaves=8))
def test_json_in_a_script_ends_no_script_and_is_what_it_was(value: Any) -> None:
    text = as_script(value)
    assert not set("<>&") & set(text)
    assert json.loads(text) == value


@given(st.text(st.characters()))
def test_text_made_visible_can_be_written_and_hides_nothing(text: str) -> None:
    shown = visible(text)
    assert shown.encode().decode() == visible(shown)
    assert not any(
        unicodedata.bidirectional(c)
        in ("RLO", "LRO", "RLE", "LRE", "PDF", "RLI", "LRI", "FSI", "PDI")
        for c in shown
    )
    assert [c for c in shown if unicodedata.category(c) == "Cc"] == [c for c in text if c in "\t\n"]


def test_problems_on_which_arms_differ_come_first_with_all_their_answers(tmp_path: Path) -> None:
    def rule(point: Point, benchmark: str, number: int) -> bool:
        return number != {"sums": 3, "names": 1}.get(benchmark) or bool(point.ratio)

    grid.study(
        tmp_path,
        [Point("small", ratio, seed=s) for ratio in (0.0, 1.0) for s in (0, 1)],
        rule,
        problems=5,
    )
    held = completions(study_of(tmp_path), 4 * 4 + 3)
    assert [(held.benchmarks[problem[0]], problem[1]) for problem in held.problems] == [
        ("angles", "What is 0 of angles?"),
        ("names", "What is 1 of names?"),
        ("spans", "What is 0 of spans?"),
        ("sums", "What is 3 of sums?"),
    ]
    assert Counter(answer[0] for answer in held.answers) == dict.fromkeys(range(4), 4)
    assert [answer[1:3] for answer in held.answers[:4]] == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_published_accuracies_are_drawn_on_request(tmp_path: Path) -> None:
    points = [Point("small", ratio, seed=seed) for ratio in (0.0, 1.0) for seed in (0, 1)]
    grid.study(tmp_path, points, problems=3)
    assert published_table(study_of(tmp_path)).rows == ()
    known = Study.of(trained_with(tmp_path, base="qwen2.5-1.5b"))
    table = published_table(known)
    assert len(table.rows) == 16
    assert ("qwen2.5-1.5b", "math-centric training", "math-oe", 1.0, 0.397) in table.rows
    tables = all_tables(known)
    plain = picture("accuracy", tables, "?").wide
    marked = picture("accuracy", {**tables, "published": table}, "?").wide
    assert "published, math-centric training" in marked
    assert "published" not in plain
    sentences = [
        sentence
        for one in captions(known, {**tables, "published": table})
        for sentence in one.sentences
    ]
    assert any("published accuracies of 1 model of these" in sentence for sentence in sentences)


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    def report(*folders: Path) -> str:
        result = command("eval.report", *map(str, folders), "--out", str(tmp_path / "r.html"))
        assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
        return result.stderr

    one = grid.study(
        tmp_path / "one",
        [Point("small", 0.0)],
        problems=2,
        inputs={"benchmark:demo": "x", "model": "1"},
    )
    other = grid.study(
        tmp_path / "two",
        [Point("small", 1.0)],
        problems=2,
        inputs={"benchmark:demo": "y", "model": "2"},
    )
    assert "have different demo problems (questions, references or" in report(one, other)
    later = grid.study(tmp_path / "three", [Point("small", 1.0)], problems=2, grader="another")
    message = report(one, later)
    assert all(words in message for words in (": another", grid.GRADER, "python -m eval.regrade"))
    old = grid.study(tmp_path / "four", [Point("small", 0.5)], problems=2, grader=None)
    assert ": unknown" in report(one, old)
    (tmp_path / "none" / "half").mkdir(parents=True)
    assert "none holds no finished evaluation" in report(tmp_path / "none")
    result = command(
        "eval.report", str(one), "--completions", "-1", "--out", str(tmp_path / "r.html")
    )
    assert (result.returncode, "0 or more" in result.stderr) == (2, True)
    assert not (tmp_path / "r.html").exists()


def test_an_evaluation_that_two_folders_hold_counts_once(tmp_path: Path) -> None:
    one, other = (
        grid.study(tmp_path / str(ratio), [Point("small"), Point("small", ratio)], problems=2)
        for ratio in (0.0, 1.0)
    )
    evaluations = load_all([one, other, one])
    assert [evaluation.label for evaluation in evaluations] == [
        "ratio 0",
        "small (untrained)",
        "ratio 1",
    ]
    assert [
        evaluation.folder.parent if evaluation.folder else None for evaluation in evaluations
    ] == [one, one, other]
    again = with_student(evaluations[0], "again", student_of(evaluations[0]))
    again = replace(again, folder=other)
    with pytest.raises(
        BadInput,
        match=r"ratio 0: seed 0 occurs twice, in .*eval-small-0.0-mixed-examples-0 and .*1.0; ",
    ):
        gather([*evaluations, again])
    elsewhere = grid.study(tmp_path / "other", [Point("small", 1.0)], problems=2, engine="vllm")
    both = load_all([other, elsewhere])
    assert len(both) == 3, "another engine is another evaluation"
    assert [arm.label for arm in gather(both) if arm.trained] == [
        "ratio 1, transformers",
        "ratio 1, vllm",
    ]


def test_a_name_that_all_problems_have_is_refused(tmp_path: Path) -> None:
    for field in ("category", "benchmark"):
        root = grid.study(
            tmp_path / field,
            ENDS,
            problems=2,
            mended=lambda point, made, field=field: {field: "all"},
        )
        result = command("eval.report", str(root), "--out", str(tmp_path / "r.html"))
        assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
        assert (
            f"{root}/eval-small-0.0-mixed-examples-0 has a benchmark or category named all"
            in result.stderr
        )


@pytest.mark.slow
def test_names_are_shown_as_they_are(tmp_path: Path) -> None:
    """Not as mathematics, nor as numbers that could be shorter, nor as Markdown."""
    named = {"names": "$\\alpa$", "spans": "$x^{$", "angles": "a|b 1.12534", "sums": "<img src=x>"}
    points = [*ENDS, Point("small", 0.125, seed=0), Point("small", 0.125, seed=1)]
    grid.study(
        tmp_path / "s",
        points,
        counted,
        problems=4,
        mended=lambda point, made: {"category": named[made.benchmark]},
    )
    done(
        "eval.report", str(tmp_path / "s"), "--completions", "0", "--out", str(tmp_path / "r.html")
    )
    drawn = " ".join(re.findall(r"<svg.*?</svg>", (tmp_path / "r.html").read_text(), re.S))
    texts = {
        "".join(text.itertext())
        for svg in re.findall(r"<svg.*?</svg>", drawn, re.S)
        for text in ElementTree.fromstring(svg).iter()
        if text.tag.endswith("text")
    }
    assert {"$\\alpa$", "$x^{$", "a|b 1.12534", "<img src=x>", "0.125"} <= texts
    assert any(re.fullmatch("10[⁰¹²³⁴⁵⁶⁷⁸⁹]+", text) for text in texts), "the ticks of costs"
    assert not re.search(r"\d\.\d{3,}", re.sub(r">[^<]*<", "><", drawn))
    heads = next(
        line for line in (tmp_path / "r.md").read_text().splitlines() if line.startswith("| arm")
    )
    assert "a\\|b" in heads and "\\<img" in heads


@pytest.mark.slow
def test_pages_side_by_side_have_their_own_files(tmp_path: Path) -> None:
    grid.study(tmp_path / "s", ENDS, counted, problems=4)
    for name in ("report.html", "second page.html"):
        done(
            "eval.report", str(tmp_path / "s"), "--completions", "0", "--out", str(tmp_path / name)
        )
    folders = sorted(path.name for path in tmp_path.iterdir() if path.is_dir())
    assert folders == ["figures", "s", "second page-figures", "second page-tables", "tables"]
    page, text = ((tmp_path / f"second page.{end}").read_text() for end in ("html", "md"))
    links = re.findall(r'href="([^"#]+)"', page) + re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) > 20
    assert all(
        link == "data:," or (tmp_path / unquote(link)).parent.name.startswith("second page-")
        for link in links
    )
    assert all(link == "data:," or (tmp_path / unquote(link)).exists() for link in links)


def test_arms_that_are_not_better_than_the_untrained_model_are_told_apart(
    tmp_path: Path,
) -> None:
    points = [Point("small"), *(Point("small", 0.25, seed=seed) for seed in (0, 1))]
    text, tables = found_in(
        grid.study(
            tmp_path / "a",
            points,
            lambda p, b, number: number < (8 if p.ratio is None else 3),
            problems=20,
        )
    )
    assert "On the Pareto front of training FLOPs" not in text
    assert (
        "On the front, but not shown to be better than the untrained model: ratio 0.25 (worse)."
        in text
    )
    shown = captions(study_of(tmp_path / "a"), tables)
    assert any("not shown to be better" in s for one in shown for s in one.sentences)
    text, _ = found_in(
        grid.study(
            tmp_path / "b",
            points,
            lambda p, b, number: number < (3 if p.ratio is None else 18),
            problems=20,
        )
    )
    assert "On the Pareto front of training FLOPs" in text and "not shown to be better" not in text
    text, _ = found_in(grid.study(tmp_path / "c", points[1:], problems=4))
    assert "On the Pareto front of training FLOPs" in text, "where nothing is known of it"


def test_the_highest_ratio_is_compared_where_the_lowest_alone_was_mixed(tmp_path: Path) -> None:
    points = [
        Point("small", 0.0),
        Point("small", 0.25, "sequential"),
        Point("small", 0.5, "sequential"),
    ]
    text, tables = found_in(grid.study(tmp_path, points, counted, problems=4))
    assert pairs(tables, "differences_main") == {("sequential ratio 0.5", "ratio 0")}
    assert "No two" not in text


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ((3, 16_346, 12_000, 11_000), "11,000 problems with 10 seeds"),
        ((3, 16_346, 16_346, 16_346), "16,346 problems with 3 seeds"),
        ((3, None, 9_000, 400), "9,000 problems with 5 seeds"),
        ((3, None, None, None), "more than 10 seeds, as they differ much"),
        (
            (1, 700, None, None),
            "700 problems with 1 seed, with the variance between seeds unknown",
        ),
        (
            (1, 16_346, None, None),
            "16,346 problems with 1 seed, with the variance between seeds unknown",
        ),
    ],
)
def test_what_would_decide(row: tuple[Any, ...], expected: str) -> None:
    columns = (
        "seeds",
        "problems",
        "problems_at_5_seeds",
        "problems_at_10_seeds",
        "group",
        "model",
        "difference",
    )
    found = _decisive({"needed": Table("needed", "", columns, ((*row, "all", "m", 0.01),))})
    assert found == [
        f"Sample sizes that would decide a difference of the size seen: all problems, +1 "
        f"points: {expected}."
    ]


def test_who_leads_at_first_and_at_last() -> None:
    columns = ("arm", "tokens", "accuracy")
    rows = tuple(
        (arm, cap, 0.1 * cap * (arm == leader))
        for cap, leader in enumerate("ABCD", 1)
        for arm in "ABCD"
    )
    says = budgets({"budgets": Table("budgets", "", columns, rows)}).sentences[0]
    assert "first A from 1, after 2 others last D from 4 tokens" in says.replace(" and ", ", ")


def test_evaluations_of_no_known_grader_are_of_one(tmp_path: Path) -> None:
    grid.study(tmp_path, [Point("small", 0.0), Point("small", 1.0)], problems=2, grader=None)
    assert len(load_evaluations(find_evaluations(tmp_path))) == 2


def evaluation(label: str, **facts: Any) -> Evaluation:
    known = {
        **{"base": "m", "ratio": 0.5, "scenario": "mixed", "seed": 0, "equalize": "examples"},
        "arm": label,
    }
    student = StudentInfo(**{**known, **facts})
    known = replace(grid.evaluation_facts(Point("small")), model="m", student=student)
    return Evaluation(label, grid.manifest(known, label), {}, {})


def test_labels_are_short_and_unique() -> None:
    long = "openai general-reasoning with a long name + oracle domains verify=none"
    evaluations = [
        evaluation("a"),
        evaluation("b", scenario="sequential"),
        evaluation("c", equalize="flops", ratio=0.0),
        evaluation("d", lr_policy="matched"),
        evaluation("e", data=long),
        evaluation("f", lora=True, steps=1),
        evaluation("g", lora=True, steps=2),
        evaluation("h", reward="e2h", objective="grpo", ratio=None, control=True),
    ]
    labels = [arm.label for arm in gather(evaluations)]
    assert len(set(labels)) == len(labels)
    assert max(map(len, labels)) < 45
    assert {
        "sequential ratio 0.5",
        "equal FLOPs ratio 0",
        "one rate ratio 0.5",
        "+ grpo e2h, rewards shuffled",
    } <= set(labels)
    assert {arm.line for arm in gather(evaluations[:2])} == {"mixed", "sequential"}
    assert [arm.label for arm in gather(evaluations[:1])] == ["ratio 0.5"]


@pytest.mark.slow
def test_the_page_of_five_thousand_answers_is_at_most_five_megabytes(tmp_path: Path) -> None:
    grid.study(tmp_path, grid.whole(), problems=25, characters=600)
    done("eval.report", str(tmp_path), "--out", str(tmp_path / "out" / "r.html"))
    page = (tmp_path / "out" / "r.html").read_text()
    held = json.loads(re.search(r'id="held">(.*?)</script>', page, re.S)[1])
    assert len(held["answers"]) == 5000
    assert len(page.encode()) <= 5_000_000


def test_one_pair_of_students_differs_on_both_sides(tmp_path: Path) -> None:
    grid.study(tmp_path, [Point("small"), Point("small", 0.0), Point("small", 1.0)], problems=2)
    untrained, low, high = sorted(
        load_evaluations(find_evaluations(tmp_path)),
        key=lambda evaluation: -1 if evaluation.ratio is None else evaluation.ratio,
    )
    assert (varying([(low, high)]), varying([(untrained, high)])) == (2, 1)
