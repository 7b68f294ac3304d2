"""The report through its real command, over small evaluations with known counts."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import grid
import pytest
from conftest import ROOT, command, done

from eval.report import Evaluation, explorer, load_evaluations, warnings
from eval.report.gathering import gather
from eval.report.labels import distinct_models, label
from eval.report.study import Study
from eval.report.tables import all_tables
from ratiocine import scores
from ratiocine.cost import Shape
from ratiocine.records import ScoredCompletion
from ratiocine.runs import EvalFacts, StudentInfo

SHAPE = Shape(vocab=100, width=8, ff=16, heads=2, layers=2, kv_heads=2, head=4, gated=True)
HYPOTHESES = {"sums": "gain", "names": "no_gain"}


def row(
    benchmark: str, number: int, verdict: str, completion: str = "\\boxed{1}", **fields: Any
) -> ScoredCompletion:
    known = {
        "key": f"{benchmark}/{number}",
        "id": str(number),
        "benchmark": benchmark,
        "category": {"sums": "math-oe", "names": "general-mc"}[benchmark],
        "prompt": f"What is {number}?",
        "reference": "1",
        "completion": completion,
        "verdict": verdict,
        "extracted": "1",
        "reason": "boxed",
        "stop": "stop",
        "thought": False,
        "n_prompt": 10,
        "n_completion": 5,
        "n_think": 0,
        "n_answer": 5,
        "seconds": 0.1,
    }
    return ScoredCompletion(**{**known, **fields})


def facts(student: StudentInfo | None = None, **changes: Any) -> EvalFacts:
    known = EvalFacts(
        model="m",
        max_new_tokens=64,
        decoding=grid.GREEDY,
        engine="transformers",
        grader=grid.GRADER,
        seconds=1.0,
        student=student,
        hypotheses=HYPOTHESES,
        dtype="torch.float32",
        attention="sdpa",
        shape=SHAPE,
    )
    return replace(known, **changes)


def evaluation(
    out: Path,
    ratio: float | None,
    sums: int,
    names: int,
    *,
    max_new_tokens: int = 64,
    rows: Sequence[ScoredCompletion] = (),
    seed: int = 0,
    scenario: str = "mixed",
    base: str = "m",
    **changes: Any,
) -> Path:
    """An evaluation of 40 sums and 20 names, of which the first so many are right."""
    found = rows or [
        *(row("sums", i, "right" if i < sums else "wrong") for i in range(40)),
        *(row("names", i, "right" if i < names else "wrong") for i in range(20)),
    ]
    student = StudentInfo(
        ratio=ratio,
        scenario=scenario,
        seed=seed,
        base=base,
        lora=False,
        steps=3,
        tokens=1234,
        lr=1e-4,
        train_flops=1e12,
        seconds=2.0,
    )
    known = facts(None if ratio is None else student, max_new_tokens=max_new_tokens, **changes)
    return grid.write_evaluation(
        out, found, known, trained=[ratio, seed], max_new_tokens=max_new_tokens
    )


@pytest.mark.slow
def test_a_closed_pipe_is_no_error(evaluations: list[str], tmp_path: Path) -> None:
    ends = os.pipe()
    os.close(ends[0])
    words = [
        sys.executable,
        "-m",
        "eval.report",
        *evaluations,
        "--out",
        str(tmp_path / "report.html"),
    ]
    left = subprocess.run(words, cwd=ROOT, stdout=ends[1], stderr=subprocess.PIPE, text=True)
    os.close(ends[1])
    assert (left.returncode, left.stderr) == (141, "")
    assert (tmp_path / "report.html").exists()


@pytest.fixture
def evaluations(tmp_path: Path) -> list[str]:
    return [
        str(evaluation(tmp_path / "b", None, 0, 9)),
        str(evaluation(tmp_path / "0", 0.0, 2, 10)),
        str(evaluation(tmp_path / "1", 1.0, 22, 9)),
    ]


def test_the_report_has_the_numbers(evaluations: list[str], tmp_path: Path) -> None:
    text = done("eval.report", *evaluations, "--out", str(tmp_path / "r.html"))
    page = (tmp_path / "r.html").read_text()
    assert "55.0 %" in page  # 22 of 40 sums
    assert "39.8 to 69.3" in page  # its Wilson interval
    assert "+50.0" in page  # 55 % − 5 %, paired
    assert "gain shown in sums (+50 points" in page.replace("\u00a0", " ")
    assert "inconclusive in names (−5 points" in page
    assert "m (untrained)" in page
    assert "sums              should gain      ratio 1 − ratio 0: +50 points" in text
    assert re.search(r"names +45\.0 % \(26–66\) +50\.0 % \(30–70\)", text)
    assert re.search(r"all +15\.0 % \(8–26\) +20\.0 % ", text)
    assert len(list((tmp_path / "r-tables").glob("*.csv"))) > 20
    assert (tmp_path / "r.md").exists() and (tmp_path / "r-figures" / "benchmarks.svg").exists()


def test_without_a_hypothesis_the_finding_follows(tmp_path: Path) -> None:
    folders = [
        str(evaluation(tmp_path / f"{ratio}", float(ratio), sums, names, hypotheses={}))
        for ratio, sums, names in ((0, 2, 10), (1, 22, 9))
    ]
    shown = done("eval.report", *folders, "--out", str(tmp_path / "r.html"))
    lines = shown.splitlines()
    at = lines.index("No hypothesis was declared.")
    assert lines[at - 1].split() == ["truncated", "0", "%", "0", "%"], "the accuracies come first"
    math = r"math-oe +ratio 1 − ratio 0: \+50 points, .* n = 40: better"
    assert re.fullmatch(math, lines[at + 2])
    assert lines[at + 1].startswith("general-mc") and lines[at + 1].endswith(": inconclusive")
    finding = (
        "No hypothesis was declared. ratio 1 against ratio 0: reasoning helped in math-oe "
        "(+50 points, +32 to +64); inconclusive in general-mc (−5 points, −17 to +8); over all"
    )
    for page in (tmp_path / "r.html", tmp_path / "r.md"):
        text = page.read_text()
        assert finding in text
        assert "No two reasoning ratios" not in text


def truncated_arms(root: Path, loops: int | None = None) -> list[str]:
    """Ratio 0 with 20 of 60 right answers; ratio 1 with 12, and 30 truncated of which one is right
    and so many are loops."""
    looping = [None if loops is None else number < loops for number in range(60)]
    rows = [
        *(row("sums", i, "right") for i in range(1)),
        *(row("sums", i, "wrong") for i in range(1, 10)),
        *(row("sums", i, "wrong", stop="length") for i in range(10, 39)),
        row("sums", 39, "right", stop="length"),
        *(row("names", i, "right" if i < 10 else "wrong") for i in range(20)),
    ]
    rows.sort(key=lambda one: one.stop != "length")
    rows = [replace(one, looping=flag) for one, flag in zip(rows, looping, strict=True)]
    arms = (
        evaluation(root / "0", 0.0, 10, 10, hypotheses={}),
        evaluation(root / "1", 1.0, 0, 0, rows=rows, hypotheses={}),
    )
    return [str(arm) for arm in arms]


def test_truncated_answers_stand_beside_every_verdict(tmp_path: Path) -> None:
    """Known bounds: were all 29 wrong answers of the 30 right, 12 of 60 would be 41."""
    zero, one = truncated_arms(tmp_path)
    sentence = (
        "Answers truncated (at max_new_tokens, or by a filter of the server), which count only for "
        "a complete box: ratio 0 0 %, "
        "ratio 1 50 %. Depending on which of them were right, the difference is between −13 and "
        "+35 points: the verdict may be due to the token limit; evaluate again with a larger"
    )
    shown = done("eval.report", zero, one, "--out", str(tmp_path / "r.html"))
    (line,) = [line for line in shown.splitlines() if line.startswith("truncated")]
    assert line.split() == ["truncated", "0", "%", "50", "%"]
    assert sentence in shown
    page = (tmp_path / "r.html").read_text().replace("\u00a0", " ")
    assert page.index(sentence) < page.index("<h2>Setup")
    assert sentence in (tmp_path / "r.md").read_text().replace("\\", "")
    tables = all_tables(Study.of(load_evaluations([Path(zero), Path(one)])))
    (math,) = tables["truncated_answers"].where(group="math-oe")
    assert (math["against_truncated"], math["arm_truncated"]) == (0, 0.75)
    assert math["difference"] == math["difference_if_against_right"] == pytest.approx(-8 / 40)
    assert math["difference_if_arm_right"] == pytest.approx((2 + 29 - 10) / 40)
    compared = done("eval.compare", one, "--against", zero, "--out", str(tmp_path / "c.json"))
    assert sentence in compared
    assert re.search(r"math-oe +40 .* 0 / 75 % ", compared)
    (total,) = [
        row
        for row in json.loads((tmp_path / "c.json").read_text())["differences"]
        if row["group"] == "all"
    ]
    assert total["truncated"]["base"] == 0 and total["truncated"]["other"] == 0.5
    assert total["truncated"]["difference"] == pytest.approx([-8 / 60, 21 / 60])


@pytest.mark.slow
def test_loops_among_truncated_answers_are_told_where_they_are_most(tmp_path: Path) -> None:
    sentence = "Truncated answers that repeat themselves, which no larger limit ends: ratio 1 80 %."
    arms = truncated_arms(tmp_path / "most", 24)
    assert sentence in done("eval.report", *arms, "--out", str(tmp_path / "r.html"))
    loaded = load_evaluations([Path(arm) for arm in arms])
    shares = [one["looping"] for one in all_tables(Study.of(loaded))["generation"]]
    assert shares == [None, 0.4], "unknown in rows that lack the flag"
    compared = done("eval.compare", arms[1], "--against", arms[0])
    for shown in (done("eval.recommend", *arms), compared):
        assert sentence in shown
        assert "token limit" in shown and "larger limit (" not in shown
    few = done(
        "eval.report", *truncated_arms(tmp_path / "few", 9), "--out", str(tmp_path / "f.html")
    )
    assert "repeat themselves" not in few


def test_every_section_of_a_small_report_is_there(evaluations: list[str], tmp_path: Path) -> None:
    """Hypotheses, macro-averages, thinking, cost and the baseline stand open in the page."""
    done("eval.report", *evaluations, "--out", str(tmp_path / "r.html"))
    page = (tmp_path / "r.html").read_text()
    for summary in (
        "Accuracy by benchmark",
        "Hypotheses declared before training",
        "Training of the arms",
        "Cost of training and of an answer",
        "Macro-averages and repeated sampling",
        "Thinking, lengths and extraction",
        "Differences from the baseline",
    ):
        assert f"<details open><summary>{summary}" in page
    tables = all_tables(Study.of(load_evaluations([Path(folder) for folder in evaluations])))
    (macro,) = tables["macro_averages"].where(group="all", arm="ratio 1")
    assert macro["accuracy"] == pytest.approx((22 / 40 + 9 / 20) / 2)
    (against,) = tables["differences_baseline"].where(group="math-oe", arm="ratio 1")
    assert (against["against"], against["difference"]) == ("m (untrained)", 0.55)
    (by_benchmark,) = tables["differences_baseline_benchmark"].where(group="sums", arm="ratio 0")
    assert by_benchmark["difference"] == 0.05


def test_arms_are_named_by_their_training(tmp_path: Path) -> None:
    folders = [
        evaluation(tmp_path / "a", 0.5, 1, 1),
        evaluation(tmp_path / "b", 0.5, 1, 1, scenario="sequential"),
    ]
    assert [one.label for one in load_evaluations(folders)] == ["ratio 0.5", "sequential ratio 0.5"]
    student = StudentInfo(scenario="general_ift+math_reasoning")
    assert label(facts(student)) == "general_ift+math_reasoning"
    rewarded = StudentInfo(
        base="m", seed=3, reward="r1", objective="grpo", changed=("reward",), parent=student
    )
    assert label(facts(rewarded)) == "general_ift+math_reasoning + grpo r1 (changed), seed 3"


def test_the_same_evaluations_give_the_same_bytes(evaluations: list[str], tmp_path: Path) -> None:
    for name in ("a", "b"):
        done("eval.report", *evaluations, "--out", str(tmp_path / name / "report.html"))
    files = sorted(
        file.relative_to(tmp_path / "a") for file in (tmp_path / "a").rglob("*") if file.is_file()
    )
    assert len(files) > 30
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_model_output_is_escaped(tmp_path: Path) -> None:
    rows = [row("sums", 0, "wrong", "<script>alert(1)</script><img src=x onerror=alert(1)>")]
    folder = evaluation(tmp_path / "x", 1.0, 0, 0, rows=rows)
    done("eval.report", str(folder), "--out", str(tmp_path / "r.html"))
    page = (tmp_path / "r.html").read_text()
    assert "\\u003cscript\\u003ealert(1)" in page
    assert "<img" not in page
    assert page.count("<script") == page.count("</script>") == 2


def test_an_ungradable_problem_is_left_out_of_every_arm(tmp_path: Path) -> None:
    rows = [row("sums", i, "right") for i in range(4)]
    other = [row("sums", i, "ungradable" if i == 0 else "right") for i in range(5)]
    evaluation(tmp_path / "a", 0.0, 0, 0, rows=rows)
    evaluation(tmp_path / "b", 1.0, 0, 0, rows=other)
    done("eval.report", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "r.html"))
    page = (tmp_path / "r.html").read_text()
    assert "2 arms on 3 problems" in page
    assert "Only the 3 problems with a gradable answer in every evaluation are compared." in page


@pytest.mark.slow
def test_differing_settings_are_warned_of(tmp_path: Path) -> None:
    folders = [
        str(evaluation(tmp_path / "a", 0.0, 1, 1)),
        str(evaluation(tmp_path / "b", 1.0, 1, 1, max_new_tokens=128)),
    ]
    done("eval.report", *folders, "--out", str(tmp_path / "r.html"))
    assert "Evaluations differ in max_new_tokens: 128, 64." in (tmp_path / "r.html").read_text()


def test_one_student_under_two_settings_is_two_arms(tmp_path: Path) -> None:
    """Such as a base model without and with solved examples; ratios are compared within each."""
    folders = [
        evaluation(tmp_path / f"{ratio}-{limit}", ratio, sums, 1, max_new_tokens=limit)
        for ratio, limit, sums in ((0.0, 64, 2), (1.0, 64, 20), (0.0, 128, 4), (1.0, 128, 30))
    ]
    study = Study.of(load_evaluations(folders))
    assert [arm.label for arm in study.arms] == [
        "ratio 0, 128 tokens",
        "ratio 0, 64 tokens",
        "ratio 1, 128 tokens",
        "ratio 1, 64 tokens",
    ]
    rows = all_tables(study)["differences_main"].where(group="math-oe")
    assert {(one["arm"], one["against"], one["difference"]) for one in rows} == {
        ("ratio 1, 128 tokens", "ratio 0, 128 tokens", 0.65),
        ("ratio 1, 64 tokens", "ratio 0, 64 tokens", 0.45),
    }
    engines = [
        evaluation(tmp_path / engine, None, 1, 1, engine=engine) for engine in ("vllm", "openai")
    ]
    arms = Study.of(load_evaluations(engines)).arms
    assert [arm.label for arm in arms] == ["m (untrained), openai", "m (untrained), vllm"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "values"),
    [
        ({"base": "other", "seed": 1}, "base model: m, other; training seed: 0, 1"),
        ({"scenario": "sequential"}, "scenario: mixed, sequential"),
    ],
)
def test_ratios_are_compared_where_nothing_else_differs(
    changes: dict, values: str, tmp_path: Path
) -> None:
    """A higher ratio in another scenario is compared with the mixed one, with a warning."""
    first = str(evaluation(tmp_path / "a", 0.5, 2, 10))
    for name, changed in (("alike", {}), ("apart", changes)):
        second = evaluation(tmp_path / name, 0.25, 22, 9, **changed)
        text = done("eval.report", first, str(second), "--out", str(tmp_path / "r.html"))
        page = (tmp_path / "r.html").read_text()
        assert ("The same model was trained on the same problems" in page) == (name == "alike")
        assert ("loss seen instead in sums" in page) == (name == "alike")
        assert ("ratio 0.5 − ratio 0.25" in text) == (name == "alike")
        assert ("differ in more than their reasoning ratio" in page) == (name == "apart")
    assert f"Arms differ in more than their reasoning ratio ({values})." in page
    assert "No declared hypothesis is tested" in page


@pytest.mark.slow
def test_lengths_are_those_of_the_shared_problems(tmp_path: Path) -> None:
    long = [
        row("sums", i, "wrong", n_completion=500, stop="length", thought=True)
        for i in range(30, 40)
    ]
    short = [row("sums", i, "right") for i in range(30)]
    folders = [
        evaluation(tmp_path / "a", 0.0, 0, 0, rows=[*short, *long]),
        evaluation(tmp_path / "b", 1.0, 0, 0, rows=short),
    ]
    done("eval.report", *map(str, folders), "--out", str(tmp_path / "r.html"))
    assert "on the 30 problems" in (tmp_path / "r.html").read_text()
    tables = all_tables(Study.of(load_evaluations(folders)))
    assert [one["tokens"] for one in tables["costs"]] == [5, 5]
    assert [one["thought"] for one in tables["thinking"]] == [0, 0]
    assert [one["truncated"] for one in tables["generation"]] == [0, 0]


@pytest.mark.parametrize("out", [".", "..", "", "/", "folder"])
@pytest.mark.parametrize("module", ["eval.report", "eval.recommend", "eval.compare"])
def test_what_names_no_file_is_one_line(module: str, out: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    words, others = (
        [str(evaluation(tmp_path / f"{r:g}{seed}", r, 1, 1, seed=seed)) for seed in (0, 1)]
        for r in (1.0, 0.0)
    )
    if module == "eval.compare":
        words += ["--against", *others]
    words += [
        "--json" if module == "eval.recommend" else "--out",
        str(tmp_path / "folder") if out == "folder" else out,
    ]
    result = command(module, *words)
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1), result.stderr
    assert "is a folder and cannot be written: give the name of a file" in result.stderr
    assert not [*tmp_path.glob(".*.partial"), *tmp_path.glob("*tables")]


def test_bad_folders_are_one_line(evaluations: list[str], tmp_path: Path, student: Path) -> None:
    lonely = [row("sums", 99, "right", key="sums/none")]
    cases = {
        str(tmp_path / "none"): "does not exist",
        str(student): "holds a `train` run, not an evaluation",
        str(evaluation(tmp_path / "lonely", 0.5, 0, 0, rows=lonely)): "share no problem",
    }
    for folder, message in cases.items():
        result = command("eval.report", *evaluations, folder, "--out", str(tmp_path / "r.html"))
        assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
        assert message in result.stderr
    assert not (tmp_path / "r.html").exists()


def test_the_completions_of_a_small_report_are_of_problems_with_different_verdicts(
    tmp_path: Path,
) -> None:
    first = evaluation(tmp_path / "a", 0.0, 0, 0, rows=[row("sums", i, "right") for i in range(9)])
    rows = [row("sums", i, "wrong" if i == 7 else "right") for i in range(9)]
    second = evaluation(tmp_path / "b", 1.0, 0, 0, rows=rows)
    study = Study.of(load_evaluations([first, second]))
    assert explorer.chosen_keys(study, 4) == ["sums/7", "sums/0"]


@pytest.mark.parametrize(("bases", "n"), [(("a", "a"), 1), (("a", "b"), 0)])
def test_learning_rates_are_compared_within_a_model(bases: tuple[str, str], n: int) -> None:
    """Another model has another best rate, which says nothing of the formats."""
    evaluations = []
    for at, base in enumerate(bases):
        known = facts(StudentInfo(base=base, lr=(at + 1) * 1e-4, ratio=float(at)))
        evaluations.append(Evaluation(str(at), grid.manifest(known, str(at)), {}, {}))
    found = warnings(evaluations)
    assert sum("peak learning rate (0.0001: 0; 0.0002: 1)" in text for text in found) == n


def test_models_of_one_name_are_told_apart_by_their_paths() -> None:
    def of(path: str | None, content: str, student: StudentInfo | None = None) -> Evaluation:
        known = replace(grid.manifest(facts(student), content), inputs={"model": content})
        return Evaluation(label(known.evaluation), known, {"model": {"path": path}}, {})

    def shown(*evaluations: Evaluation) -> list[str]:
        return [arm.label for arm in gather(distinct_models(evaluations))]

    one, other = of("/runs/a/m", "1"), of("runs/b/m", "2")
    assert shown(one, other) == ["a/m (untrained)", "b/m (untrained)"]
    assert shown(of("/a/x/m", "1"), of("/b/x/m", "2"))[0] == "a/x/m (untrained)"
    packaged = of(None, "3")
    assert shown(one, packaged) == ["a/m (untrained)", "m (untrained)"]
    assert [copy.model for copy in distinct_models([one, of("/mirror/m", "1")])] == [None, None]
    root = StudentInfo(base="m", base_path="runs/b/m", base_hash="2", ratio=0.5, arm="x")
    rewarded = StudentInfo(base="m", reward="r1", objective="grpo", parent=root, arm="y")
    assert shown(one, other, of(None, "4", rewarded)) == [
        "a/m (untrained)",
        "b/m (untrained)",
        "b/m ratio 0.5",
    ]


def test_repeated_sampling_is_summarised(tmp_path: Path) -> None:
    rows = [
        row("sums", i, "right" if sample < i else "wrong", sample=sample, extracted=str(sample < i))
        for i in range(3)
        for sample in range(2)
    ]
    out = evaluation(tmp_path / "a", 1.0, 0, 0, rows=rows)
    (found,) = all_tables(Study.of(load_evaluations([out])))["sampling"]
    assert (found["samples"], found["pass@1"], found["pass@2"]) == (2, 0.5, pytest.approx(2 / 3))
    done("eval.report", str(out), "--out", str(tmp_path / "r.html"))
    assert "pass@2" in (tmp_path / "r.html").read_text()


@pytest.mark.slow
def test_unanswered_requests_are_in_no_mean_of_tokens(tmp_path: Path) -> None:
    """They have no tokens and cost nothing, but count as wrong; nor does a whole side of them
    end a report."""
    failed = {"stop": "failed", "n_prompt": 0, "n_completion": 0, "n_answer": 0}

    def half(n_failed: int) -> list[ScoredCompletion]:
        wrong = [row("sums", i, "wrong", **(failed if i < n_failed else {})) for i in range(4)]
        return [*wrong, *(row("sums", i, "right") for i in range(4, 8))]

    one, whole = scores.summary(half(3), SHAPE), scores.summary(half(0), SHAPE)
    assert (one.unanswered, one.accuracy) == (3, 0.5)
    assert (one.completion_tokens, one.prompt_tokens, one.answer_tokens.wrong) == (5, 10, 5)
    assert (one.flops, one.exact_flops) == (whole.flops, whole.exact_flops)
    assert "unanswered" not in whole.to_json()
    sides = {0.0: half(0), 1.0: half(3)}
    folders = [evaluation(tmp_path / f"{r}", r, 0, 0, rows=own) for r, own in sides.items()]
    tables = all_tables(Study.of(load_evaluations(folders)))
    assert [found["tokens"] for found in tables["costs"]] == [5, 5]
    (extra,) = tables["extra_tokens"]
    assert (extra["n"], extra["extra"]) == (5, 0), "of the problems that both have answered"
    none = evaluation(tmp_path / "none", 0.5, 0, 0, rows=[replace(a, **failed) for a in half(0)])
    done("eval.report", *map(str, folders), str(none), "--out", str(tmp_path / "r.html"))


@pytest.mark.slow
def test_completions_travel_as_json(evaluations: list[str], tmp_path: Path) -> None:
    words = ("--completions", "12", "--out", str(tmp_path / "r.html"))
    done("eval.report", *evaluations, *words)
    page = (tmp_path / "r.html").read_text()
    held = json.loads(re.search(r'id="held">(.*?)</script>', page, re.S)[1])
    assert len(held["answers"]) == 12 and len(held["problems"]) == 4
    for words in (["--overlay", "published"], ["--ceiling", "0.9"]):
        done("eval.report", *evaluations, *words, "--out", str(tmp_path / "r.html"))
    refused = command("eval.report", *evaluations, "--ceiling", "1.5")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
