"""The whole pipeline through the real commands on a tiny model, and what happens when it is
killed."""

import json
import re
import signal
import time
from pathlib import Path
from statistics import median

import pytest
from conftest import command, done, started

from bench.large import synthetic
from eval.report import Study, load_evaluations
from eval.report.tables import all_tables
from ratiocine.grading import GRADER_VERSION
from ratiocine.runs import read_manifest
from ratiocine.stores import read_completions, read_pairs

EVAL = ("benchmarks=demo", "limit=3", "max_new_tokens=12", "engine.max_batch_size=8")


@pytest.fixture(scope="module")
def scored(student: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scored") / "run"
    done("eval", f"model={student / 'model'}", *EVAL, f"out={out}")
    return out


def test_distill_keeps_pairs_whole_and_names_what_it_did(pairs: Path) -> None:
    rows = read_pairs(pairs / "pairs.parquet")
    manifest = json.loads((pairs / "manifest.json").read_text())
    assert manifest["n"] == len(rows) == 40
    assert manifest["disjoint"]["shared"] == 0 < manifest["disjoint"]["test"]
    assert manifest["sides"] == ["ift", "reasoning"]
    for row in rows:
        assert row.reasoning.startswith("<think>\n")
        assert row.reasoning.endswith(f"\n</think>\n\n{row.ift}")
        assert row.ift == f"\\boxed{{{row.reference}}}"
        assert row.n_tokens_reasoning == len(row.reasoning.encode()) + 1


def test_eval_writes_scores_that_its_traces_explain(scored: Path) -> None:
    scores, rows = (
        json.loads((scored / "scores.json").read_text()),
        list(read_completions(scored / "completions.jsonl")),
    )
    assert len(rows) == 24 == scores["all"]["n"]
    assert set(scores["categories"]) == {"general-mc", "general-oe", "math-mc", "math-oe"}
    for name, score in scores["benchmarks"].items():
        own = [row for row in rows if row.benchmark == name]
        assert score["n"] == len(own) == 3
        assert score["accuracy"] == sum(row.verdict == "right" for row in own) / 3
        assert score["ci95"][0] <= score["accuracy"] <= score["ci95"][1]
        assert score["truncated"] == sum(row.stop == "length" for row in own) / 3
    assert not list(scored.glob("*.partial*"))


def test_an_evaluation_carries_who_wrote_the_pairs_and_the_level_of_chance(scored: Path) -> None:
    facts = read_manifest(scored).evaluation
    assert facts.student is not None
    (source,) = facts.student.sources
    assert (source.teacher, source.is_model, source.n, source.tokens) == ("oracle", False, 40, None)
    assert facts.student.problems == 16, "of 40, in two steps"
    assert (facts.student.machine or "").endswith("CPU cores")
    assert facts.student.revision == read_manifest(scored).revision
    assert facts.chance["chain_sum"] == 1 / 40
    assert facts.chance["needle"] == pytest.approx(1 / 3, abs=1e-5)


def test_training_states_what_it_leaves_out(pairs: Path, tmp_path: Path) -> None:
    rows = read_pairs(pairs / "pairs.parquet")
    limit = median(len(row.prompt) + len(row.reasoning) for row in rows)
    words = ("ratio=1", "model=tiny", f"pairs={pairs}", "batch_size=4", "max_steps=1")
    shown = done("train", *words, f"max_length={limit:.0f}", f"out={tmp_path / 'run'}")
    (n,) = re.findall(r"warning: (\d+) of 40 pairs are dropped, .* longer than max_length=", shown)
    mixture = json.loads((tmp_path / "run" / "mixture.json").read_text())
    assert 0 < mixture["dropped_too_long"]["pairs"] == int(n) < 40
    assert read_manifest(tmp_path / "run").training.problems == 4
    assert (
        "1 steps of 4 examples (4 of the problems)" in (tmp_path / "run" / "README.md").read_text()
    )
    (fits,) = re.findall(r"all fit (\d+) tokens", shown)
    whole = done("train", *words, f"max_length={fits}", f"out={tmp_path / 'whole'}")
    assert "dropped" not in whole


def test_chance_is_that_of_each_category_of_a_file(tmp_path: Path) -> None:
    rows = [
        {"question": "2 + 2?", "answer": "4", "category": "sums"},
        {"question": "2 or 3?", "answer": "B", "choices": ["2", "3"], "category": "either"},
    ]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ("model=tiny", f"benchmarks=[{tmp_path / 'own.jsonl'}]", "max_new_tokens=2")
    done("eval", *words, f"out={tmp_path / 'run'}")
    assert read_manifest(tmp_path / "run").evaluation.chance == {
        "own": 0.25,
        "own/sums": 0,
        "own/either": 0.5,
    }
    study = Study.of(load_evaluations([tmp_path / "run"]))
    levels = {row["group"]: row["chance"] for row in all_tables(study)["chance"]}
    assert (levels["sums"], levels["either"], levels["all"]) == (0, 0.5, 0.25)


def test_eval_generates_what_stock_transformers_generates(scored: Path, student: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(student / "model")
    tokenizer = AutoTokenizer.from_pretrained(student / "model", padding_side="left")
    rows = list(read_completions(scored / "completions.jsonl"))
    chats = [[{"role": "user", "content": row.prompt}] for row in rows]
    batch = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
    )
    with torch.no_grad():
        found = model.generate(**batch, max_new_tokens=12, do_sample=False)[
            :, batch["input_ids"].shape[1] :
        ]
    for row, ids in zip(rows, found, strict=True):
        assert tokenizer.decode(ids, skip_special_tokens=True) == row.completion.replace(
            "<|im_start|>", ""
        )


def test_a_killed_eval_goes_on_where_it_was(student: Path, scored: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ["eval", f"model={student / 'model'}", *EVAL, f"out={out}"]
    partial = out / "completions.partial.jsonl"
    process = started(*words)
    while not (partial.exists() and partial.stat().st_size) and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert command("eval.report", str(out)).returncode == 2 or (out / "DONE").exists()
    done(*words)
    assert [r.completion for r in read_completions(out / "completions.jsonl")] == [
        r.completion for r in read_completions(scored / "completions.jsonl")
    ]


def test_saved_answers_are_regraded_without_a_model(scored: Path, tmp_path: Path) -> None:
    assert "0 of 24 verdicts changed" in done(
        "eval.regrade", str(scored), "--out", str(tmp_path / "new")
    )
    old, new = (
        json.loads((folder / "scores.json").read_text()) for folder in (scored, tmp_path / "new")
    )
    assert old == new
    for folder in (scored, tmp_path / "new"):
        assert json.loads((folder / "manifest.json").read_text())["grader"] == GRADER_VERSION
    done("eval.report", str(tmp_path / "new"), "--out", str(tmp_path / "report.html"))
    refused = command("eval.regrade", str(tmp_path), "--out", str(tmp_path / "x"))
    assert refused.returncode == 2
    assert "no finished run" in refused.stderr


def test_regrading_in_two_processes_gives_the_same_files(tmp_path: Path) -> None:
    files = synthetic.write_problems(tmp_path / "problems", 80)
    synthetic.write_evaluation(files, tmp_path / "scores", synthetic.Point("model-0"), 4, 100)
    for workers in ("1", "2"):
        out = ("--out", str(tmp_path / workers), "--num-workers", workers)
        assert "0 of 320 verdicts changed" in done("eval.regrade", str(tmp_path / "scores"), *out)
    for name in ("completions.jsonl", "scores.json"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()
    out = ("--out", str(tmp_path / "none"), "--num-workers", "0")
    refused = command("eval.regrade", str(tmp_path / "scores"), *out)
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
    assert "--num-workers 0 is below 1" in refused.stderr


def test_a_check_names_what_each_benchmark_holds(tmp_path: Path) -> None:
    mine = tmp_path / "mine.jsonl"
    mine.write_text(
        '{"question": "2+2?", "answer": "4", "kind": "number"}\n'
        '{"question": "?", "answer": "four", "kind": "number", "id": "bad"}\n'
        '{"question": "?", "kind": "instructions", "id": "bare"}\n'
    )
    said = done("eval", "model=tiny", f"benchmarks=[{mine}]", "validate_only=true")
    assert "mine: 1 problem (1 number), 2 dropped" in said
    assert "reference_not_a_number: bad" in said
    assert "instructions_not_checkable: bare" in said
    for row, wrong in {
        '{"answer": "4"}': "there is no column 'question'",
        '{"question": "?", "choices": ["a", "b"], "answer": 2}': (
            "answer 2 is neither a letter nor an index into 2 choices"
        ),
        '{"question": 5, "answer": "4"}': "question 5 is no text",
        '{"question": " ", "answer": "4"}': "no test problem (dropped: 1 question_empty)",
        "{": "line 1 is not JSON",
    }.items():
        mine.write_text(row + "\n")
        refused = command("eval", "model=tiny", f"benchmarks=[{mine}]", "validate_only=true")
        assert (refused.returncode, wrong in refused.stderr) == (2, True), refused.stderr
        assert len(refused.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_with_130_and_leaves_nothing_finished(
    pairs: Path, tmp_path: Path, number: int
) -> None:
    out = tmp_path / "run"
    words = ["train", "ratio=1", "model=tiny", f"pairs={pairs}", "epochs=2000", f"out={out}"]
    process = started(*words, err=tmp_path / "stderr")
    while not (out / "metrics.jsonl").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(number)
    assert process.wait(60) == 130
    errors = (tmp_path / "stderr").read_text(encoding="utf-8")
    told = f"train: interrupted; the same command continues {out}"
    assert errors.strip().splitlines()[-1] == told
    assert "Traceback" not in errors
    assert not (out / "DONE").exists()
    refused = command("eval", f"model={out / 'model'}", f"out={tmp_path / 'e'}")
    assert f"the training in {out} is interrupted or still running" in refused.stderr


STUDY = """
name: small
stages:
  - {name: pairs, verb: distill, overrides: [data=demo, model=tiny, limit=2]}
  - name: train-$ratio
    verb: train
    matrix: {ratio: [0, 1]}
    overrides: [ratio=$ratio, model=tiny, 'pairs={pairs}', batch_size=8, max_steps=1]
  - name: eval-$ratio
    verb: eval
    matrix: {ratio: [0, 1]}
    overrides: ['model={train-$ratio}/model', benchmarks=demo, limit=2, max_new_tokens=4]
report: [eval-0, eval-1]
"""


def test_a_study_runs_its_stages_once_and_again_only_what_changed(tmp_path: Path) -> None:
    study = tmp_path / "conf" / "study" / "small.yaml"
    study.parent.mkdir(parents=True)
    words = (
        "launch",
        "--config-dir",
        str(tmp_path / "conf"),
        "study=small",
        f"out={tmp_path / 'study'}",
    )
    study.write_text(STUDY)
    first = done(*words)
    assert (tmp_path / "study" / "report.html").read_text().count("<!doctype html>") == 1
    assert "finished before" not in first
    assert "ratio 1 − ratio 0" in first
    assert "total time" in first
    assert done(*words).count("finished before") == 5
    study.write_text(STUDY.replace("max_new_tokens=4", "max_new_tokens=5"))
    assert done(*words).count("finished before") == 3
    assert len(list((tmp_path / "study").glob("eval-*"))) == 4
    study.write_text(STUDY.replace("{pairs}", "{piars}"))
    result = command(*words)
    assert result.returncode == 2
    assert "train-0 needs 'piars', which is no earlier stage" in result.stderr
    study.write_text(STUDY.replace("max_steps=1", "max_stpes=1"))
    assert "did you mean 'max_steps'?" in command(*words).stderr


def test_reference_pairs_from_a_file_of_ones_own(tmp_path: Path) -> None:
    rows = [
        {
            "question": "2+2?",
            "answer": "4",
            "kind": "number",
            "meta": {"solution": "2 + 2 = <<2+2=4>>4"},
        },
        {"question": "2+3?", "answer": "5", "kind": "number", "meta": {"solution": "2 + 3 = 6"}},
        {"question": "2+4?", "answer": "6", "kind": "number"},
        {"question": "2+5?", "answer": "seven", "kind": "number", "meta": {"solution": "7"}},
    ]
    file = tmp_path / "own.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    out = tmp_path / "run"
    done("distill", "teacher=reference", f"data={file}", "model=tiny", f"out={out}")
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["n"] == 1
    assert manifest["dropped"] == {
        "reference_not_a_number": 1,
        "solution_misses_reference": 1,
        "no_solution": 1,
    }
    assert "<think>\n2 + 2 = 4\n</think>" in read_pairs(out / "pairs.parquet")[0].reasoning


def test_gsm8k_keeps_what_its_solutions_reach(benchmarks: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done(
        "distill",
        "teacher=reference",
        "data=gsm8k",
        f"data.data_dir={benchmarks}",
        "model=tiny",
        f"out={out}",
    )
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["n"] + sum(manifest["dropped"].values()) == 7473
    assert manifest["n"] >= 0.995 * 7473
    assert manifest["disjoint"]["shared"] == 0
    assert not any("<<" in pair.reasoning for pair in read_pairs(out / "pairs.parquet"))
