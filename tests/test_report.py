"""The report through its real command, over small evaluations with known counts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, command, done

from eval.report import label, load_evaluations, scored, warnings
from ratiocine.evaluate import scores
from ratiocine.runs import Run, open_run
from ratiocine.stores import CompletionStore

SHAPE = {
    "vocab": 100,
    "width": 8,
    "ff": 16,
    "heads": 2,
    "layers": 2,
    "kv_heads": 2,
    "head": 4,
    "gated": True,
}
EXPECTED = {"sums": "gain", "names": "no_gain"}


def row(benchmark: str, number: int, verdict: str, completion: str = "\\boxed{1}") -> dict:
    return {
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
        "detail": {},
        "n_prompt": 10,
        "n_completion": 5,
        "n_think": 0,
        "n_answer": 5,
        "seconds": 0.1,
        "sample": 0,
        "level": None,
    }


def evaluation(
    out: Path,
    ratio: float | None,
    sums: int,
    names: int,
    *,
    budget: int = 64,
    rows: list[dict] | None = None,
    seed: int = 0,
    scenario: str = "mixed",
    base: str = "m",
) -> Path:
    """An evaluation of 40 sums and 20 names, of which the first so many are right."""
    made = rows or [
        *(row("sums", i, "right" if i < sums else "wrong") for i in range(40)),
        *(row("names", i, "right" if i < names else "wrong") for i in range(20)),
    ]
    run: Run = open_run(
        "eval",
        {
            "benchmarks": ["demo"],
            "trained": [ratio, seed],
            "budget": budget,
            "seed": 0,
            "out": str(out),
        },
        {},
    )
    with run.writing("completions.jsonl") as path:
        CompletionStore(path).append(made)
    run.write_json("scores.json", scores(made))
    student = (
        None
        if ratio is None
        else {
            "ratio": ratio,
            "scenario": scenario,
            "seed": seed,
            "base": base,
            "lora": False,
            "steps": 3,
            "tokens": 1234,
            "lr": 1e-4,
            "train_flops": 1e12,
            "seconds": 2.0,
        }
    )
    run.finish(
        model="m",
        student=student,
        expected=EXPECTED,
        budget=budget,
        seconds=1.0,
        dtype="torch.float32",
        attention="sdpa",
        shape=SHAPE,
        decoding={"temperature": 0.0, "top_p": 1.0, "samples": 1},
    )
    return out


def test_a_reader_that_has_seen_enough_is_no_error(evaluations: list[str], tmp_path: Path) -> None:
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


def test_the_page_has_the_numbers(evaluations: list[str], tmp_path: Path) -> None:
    shown = done("eval.report", *evaluations, "--out", str(tmp_path / "r.html"))
    page = (tmp_path / "r.html").read_text()
    assert "55.0 %" in page  # 22 of 40 sums
    assert "39.8 – 69.3" in page  # its Wilson interval
    assert "+50.0" in page  # 55 % − 5 %, paired
    assert "sums: gain seen (+50 points" in page
    assert "names: no difference decided by 20 problems (-5 points" in page
    assert "m (untrained)" in page
    assert "sums              should gain      ratio 1 − ratio 0: +50 points" in shown


def test_arms_are_called_by_what_they_were_taught(tmp_path: Path) -> None:
    folders = [
        evaluation(tmp_path / "a", 0.5, 1, 1),
        evaluation(tmp_path / "b", 0.5, 1, 1, scenario="sequential"),
    ]
    assert [one.label for one in load_evaluations(folders)] == ["ratio 0.5", "sequential ratio 0.5"]
    student = {"ratio": None, "scenario": "general_ift+math_reasoning"}
    assert label({"model": "m", "student": student}) == "general_ift+math_reasoning"


def test_the_same_evaluations_give_the_same_page(evaluations: list[str], tmp_path: Path) -> None:
    for name in ("a", "b.html"):
        done("eval.report", *evaluations, "--out", str(tmp_path / name))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_what_models_write_is_escaped(tmp_path: Path) -> None:
    rows = [row("sums", 0, "wrong", "<script>alert(1)</script><img src=x onerror=alert(1)>")]
    done(
        "eval.report",
        str(evaluation(tmp_path / "x", 1.0, 0, 0, rows=rows)),
        "--out",
        str(tmp_path / "r.html"),
    )
    page = (tmp_path / "r.html").read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&lt;img" in page
    assert "<img" not in page
    assert page.count("<script>") == 1


def test_an_ungradable_problem_leaves_every_arm(tmp_path: Path) -> None:
    rows = [row("sums", i, "right") for i in range(4)]
    other = [row("sums", i, "ungradable" if i == 0 else "right") for i in range(5)]
    evaluation(tmp_path / "a", 0.0, 0, 0, rows=rows)
    evaluation(tmp_path / "b", 1.0, 0, 0, rows=other)
    done("eval.report", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "r.html"))
    page = (tmp_path / "r.html").read_text()
    assert "2 evaluations on 3 problems" in page
    assert "Only the 3 problems that all evaluations answered gradably are compared." in page


def test_arms_that_are_not_alike_are_said_to_be(tmp_path: Path) -> None:
    folders = [
        str(evaluation(tmp_path / "a", 0.0, 1, 1)),
        str(evaluation(tmp_path / "b", 1.0, 1, 1, budget=128)),
    ]
    done("eval.report", *folders, "--out", str(tmp_path / "r.html"))
    assert "different token budgets: 128, 64" in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"base": "other", "seed": 1}, "base model: m, other; training seed: 0, 1"),
        ({"scenario": "sequential"}, "scenario: mixed"),
    ],
)
def test_ratios_are_compared_where_nothing_else_differs(
    facts: dict, said: str, tmp_path: Path
) -> None:
    first = str(evaluation(tmp_path / "a", 0.0, 2, 10))
    for name, told in (("alike", {}), ("apart", facts)):
        shown = done(
            "eval.report",
            first,
            str(evaluation(tmp_path / name, 1.0, 22, 9, **told)),
            "--out",
            str(tmp_path / "r.html"),
        )
        page = (tmp_path / "r.html").read_text()
        assert ("The same model was trained on the same problems" in page) == (name == "alike")
        assert ("sums: gain seen" in page) == ("ratio 1 − ratio 0" in shown) == (name == "alike")
        assert ("differently in more than their ratio" in page) == (name == "apart")
    assert f"The evaluations were trained differently in more than their ratio ({said}" in page
    assert "no declared expectation is tested" in page


def test_what_is_said_of_arms_is_of_the_problems_that_they_share(tmp_path: Path) -> None:
    long = [
        {**row("sums", i, "wrong"), "n_completion": 500, "stop": "length", "thought": True}
        for i in range(30, 40)
    ]
    short = [row("sums", i, "right") for i in range(30)]
    folders = [
        evaluation(tmp_path / "a", 0.0, 0, 0, rows=[*short, *long]),
        evaluation(tmp_path / "b", 1.0, 0, 0, rows=short),
    ]
    done("eval.report", *map(str, folders), "--out", str(tmp_path / "r.html"))
    assert "Each evaluation answered the same 30 problems" in (tmp_path / "r.html").read_text()
    evaluations = load_evaluations(folders)
    lines = dict([*scored.thinking(evaluations), *scored.costs(evaluations)])
    assert lines["Completion tokens per problem"] == ["5", "5"]
    assert lines["Thought"] == lines["Cut off at the budget"] == ["0.0 %", "0.0 %"]


@pytest.mark.parametrize("out", [".", "..", "", "/", "folder"])
@pytest.mark.parametrize("module", ["eval.report", "eval.recommend", "eval.compare"])
def test_what_names_no_file_is_one_line(module: str, out: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    words = [str(evaluation(tmp_path / str(seed), 1.0, 1, 1, seed=seed)) for seed in (0, 1)]
    words += {"eval.compare": ["--against", *words], "eval.report": [], "eval.recommend": []}[
        module
    ]
    words += [
        "--json" if module == "eval.recommend" else "--out",
        str(tmp_path / "folder") if out == "folder" else out,
    ]
    result = command(module, *words)
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1), result.stderr
    assert "is a folder and cannot be written: give the name of a file" in result.stderr
    assert not [*tmp_path.glob(".*.partial"), *tmp_path.glob("*tables")]


def test_bad_folders_are_one_line(evaluations: list[str], tmp_path: Path, student: Path) -> None:
    lonely = [{**row("sums", 99, "right"), "key": "sums/none"}]
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


@pytest.mark.parametrize(
    ("declared", "low", "high", "said"),
    [
        ("gain", 0.01, 0.2, "gain seen"),
        ("gain", -0.01, 0.2, "not decided by 50 problems"),
        ("gain", -0.2, -0.01, "the opposite was seen"),
        ("no_gain", 0.01, 0.2, "a gain was seen after all"),
        ("no_gain", -0.1, 0.1, "no difference decided by 50 problems"),
        ("no_gain", -0.2, -0.01, "a loss was seen"),
    ],
)
def test_the_interval_decides(declared: str, low: float, high: float, said: str) -> None:
    difference = scored.Difference("f", "b", "a", 50, (low + high) / 2, low, high, 0.5, 0.5)
    assert scored.verdict(declared, difference) == said


def test_examples_prefer_problems_on_which_arms_disagree(tmp_path: Path) -> None:
    first = evaluation(tmp_path / "a", 0.0, 0, 0, rows=[row("sums", i, "right") for i in range(9)])
    second = evaluation(
        tmp_path / "b",
        1.0,
        0,
        0,
        rows=[row("sums", i, "wrong" if i == 7 else "right") for i in range(9)],
    )
    chosen = scored.examples(load_evaluations([first, second]))
    assert [rows[0]["id"] for _, rows in chosen] == ["7", "0"]


@pytest.mark.parametrize(("bases", "said"), [(("a", "a"), 1), (("a", "b"), 0)])
def test_rates_are_compared_within_a_model(bases: tuple[str, str], said: int) -> None:
    """Another model has another best rate, which says nothing of the formats."""
    evaluations = [
        scored.Evaluation(
            str(at),
            {"student": {"base": base, "lr": (at + 1) * 1e-4, "ratio": float(at)}},
            {},
            {},
            {},
        )
        for at, base in enumerate(bases)
    ]
    assert (
        sum("peak learning rates (0.0001: 0; 0.0002: 1)" in text for text in warnings(evaluations))
        == said
    )
