"""Folders of schema 1, which earlier releases wrote, are read as if written today."""

from __future__ import annotations

import csv
import importlib
import json
import re
import shutil
import tarfile
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import command, done

from distill import pass_counts
from ratiocine import cli, renames
from ratiocine.config import identity
from ratiocine.errors import BadInput
from ratiocine.grading import GRADER_VERSION
from ratiocine.runs import (
    StudentInfo,
    axes,
    check_finished,
    differing,
    has_removed,
    hash_of,
    holds_run,
    open_run,
    read_config,
    read_manifest,
    run_hash,
    student,
)
from ratiocine.runs.hashes import hash_path
from ratiocine.runs.migration import identity as migrated_identity
from ratiocine.scores import read_scores, score_table
from ratiocine.stores import read_completions

SCHEMA1 = Path(__file__).parent / "fixtures" / "schema1"
KINDS = {
    "pairs": "distill",
    "student": "train",
    "rl": "rl",
    "eval": "eval",
    "eval-rl": "eval",
    "regraded": "eval",
}


def unpacked(folder: Path, *names: str) -> Path:
    for name in names:
        with tarfile.open(SCHEMA1 / f"{name}.tar.xz") as archive:
            archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder of each kind, not to be changed."""
    return unpacked(tmp_path_factory.mktemp("schema1"), *KINDS)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def config_of(verb: str, values: dict[str, Any]) -> Any:
    return cli.check(importlib.import_module(f"{verb}.config").Config, values)


@pytest.mark.parametrize(("name", "verb"), KINDS.items())
def test_a_finished_folder_is_read_under_todays_keys(old: Path, name: str, verb: str) -> None:
    before = contents(old / name)
    manifest, config = check_finished(old / name, verb), config_of(verb, read_config(old / name))
    assert manifest.schema_version == 1
    assert manifest.identity == json.loads(json.dumps(identity(config)))
    assert hash_of(verb, old / name) == run_hash(verb, identity(config), manifest.inputs)
    assert contents(old / name) == before


@pytest.mark.parametrize(
    ("verb", "stored"),
    [
        pytest.param(verb, stored, id=f"{verb}-{number}")
        for verb, lists in json.loads((SCHEMA1 / "configs.json").read_text()).items()
        for number, stored in enumerate(lists)
    ],
)
def test_every_old_configuration_is_valid_today(verb: str, stored: dict[str, Any]) -> None:
    values = renames.renamed(verb, stored)
    config = config_of(verb, values)
    assert migrated_identity(values) == json.loads(json.dumps(identity(config)))
    again = config_of(verb, json.loads(config.model_dump_json()))
    assert again == config


def test_old_and_new_words_give_one_configuration() -> None:
    """The old configurations are what today's words give, not only valid."""
    stored = json.loads((SCHEMA1 / "configs.json").read_text())
    new = {
        "distill": """data=gsm8k teacher=reference select.exclude_regex=[wait] select.data_dir=mine
            select.dedup_threshold=0.8
            select.pass_rates=[{run:old,mode:ift,min_rate:0.1,max_rate:0.9}]""",
        "train": """ratio=null model=tiny equalize=tokens direct_format=empty val_size=8
            scenario.stages=[{pairs:a,ratio:0.5},{pairs:b,ratio:1}] checkpoint=best val_samples=4
            val_max_new_tokens=32 preflight=true save_total_limit=2 ddp_timeout=60 save_steps=7
            resume_overrides=[threads] micro_batch_size=4""",
        "rl": """model=tiny data=gsm8k engine=vllm engine.gpu_memory_utilization=0.3
            objective=dapo objective.beta=0.01 num_generations=8 batch_size=32 num_minibatches=2
            max_new_tokens=64 prefill_think=true val_size=16 eval_steps=4 constant_reward_steps=9
            rollout_dtype=float32 micro_batch_size=8""",
        "eval": """model=tiny benchmarks=[gsm8k,demo] data_dir=local num_fewshot=3
            max_new_tokens=64""",
    }
    for verb, words in new.items():
        schema = importlib.import_module(f"{verb}.config").Config
        which = {"distill": 2}.get(verb, 1)
        migrated = config_of(verb, renames.renamed(verb, stored[verb][which]))
        assert migrated == cli.compose(verb, schema, words.split())


def test_pairs_train_a_student(old: Path, tmp_path: Path) -> None:
    words = ("train", "ratio=0", "model=tiny", "batch_size=8", "max_steps=1", "threads=1")
    done(*words, f"pairs={old / 'pairs'}", f"out={tmp_path / 'run'}")
    manifest = read_manifest(tmp_path / "run")
    assert manifest.inputs["pairs"] == read_manifest(old / "student").inputs["pairs"]
    assert (manifest.training.data, manifest.schema_version) == ("demo", 2)
    card = (tmp_path / "run" / "README.md").read_text()
    assert re.search(r"\| pairs \| demo \| oracle \| [\w ]+ \| [0-9a-f]{16} \|", card)


def test_the_same_training_is_finished(old: Path, tmp_path: Path) -> None:
    """What an earlier release trained is not trained again."""
    unpacked(tmp_path, "student")
    words = ("train", "ratio=0", "model=tiny", "batch_size=8", "epochs=30", "lr=3e-3", "threads=1")
    out = tmp_path / "student"
    said = done(*words, "precision=float32", f"pairs={old / 'pairs'}", f"out={out}")
    assert f"{out} is finished" in said
    refused = command(*words, "precision=bfloat16", f"pairs={old / 'pairs'}", f"out={out}")
    wrong = f"out={out} holds a finished run of a different configuration (precision);"
    assert (refused.returncode, wrong in refused.stderr) == (2, True), refused.stderr


def test_a_student_is_evaluated_and_trained_with_rewards(old: Path, tmp_path: Path) -> None:
    model = f"model={old / 'student' / 'model'}"
    words = ("benchmarks=demo", "limit=4", "max_new_tokens=24", "threads=1")
    done("eval", model, *words, f"out={tmp_path / 'eval'}")
    new, before = read_manifest(tmp_path / "eval"), read_manifest(old / "eval")
    assert run_hash("eval", before.identity, before.inputs) == new.hash
    assert scores_of(tmp_path / "eval") == scores_of(old / "eval")
    assert new.evaluation.student is not None and new.evaluation.student.revision is not None
    later = {"revision": None, "base_hash": None}  # facts that the old evaluation lacks
    assert replace(new.evaluation.student, **later) == before.evaluation.student
    words = ("data=demo", "limit=40", "max_steps=1", "batch_size=16", "num_generations=4")
    done("rl", model, *words, "max_new_tokens=12", "threads=1", f"out={tmp_path / 'rl'}")
    trained = student(str(tmp_path / "rl" / "model"))
    assert trained is not None
    assert trained.parent == new.evaluation.student


def scores_of(folder: Path) -> dict[str, Any]:
    """Without the share of loops, which earlier releases did not store."""

    def known(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: known(inner) for key, inner in value.items() if key != "looping"}

    return known(read_scores(folder).to_json())


def test_scores_follow_from_the_stored_completions(old: Path) -> None:
    for name in ("eval", "eval-rl", "regraded"):
        table = score_table(
            read_completions(old / name), read_manifest(old / name).evaluation.shape
        )
        assert json.loads(json.dumps(table.to_json())) == json.loads(
            (old / name / "scores.json").read_text()
        )


def test_the_lineage_of_an_old_student_is_known(old: Path) -> None:
    facts = read_manifest(old / "eval-rl").evaluation
    info = facts.student
    assert info is not None
    assert info.parent is not None
    assert (info.reward, info.objective, info.control, info.changed) == ("r1", "grpo", False, ())
    assert (info.parent.ratio, info.parent.equalize, info.base) == (0.0, "examples", "tiny")
    assert info.parent == read_manifest(old / "eval").evaluation.student
    assert axes(info).data == "demo"
    assert [row["step"] for row in info.val_accuracy] == [0, 2, 4, 5]
    known = [name for name, value in info.curves[0].items() if value is not None]
    assert {"reward", "accuracy", "format", "length", "surprisal"} <= set(known)
    assert len(info.group) == 4
    assert facts.hypotheses["chain_sum"] == "gain"
    assert (facts.max_new_tokens, facts.grader, facts.engine) == (24, "1", "transformers")


def test_arms_are_those_of_todays_students(old: Path) -> None:
    """Evaluations of an earlier release are grouped with those of today, wherever the study is."""
    today = student(str(old / "student" / "model"))
    before = read_manifest(old / "eval").evaluation.student
    assert isinstance(today, StudentInfo)
    assert isinstance(before, StudentInfo)
    assert (today.arm, today.settings) == (before.arm, before.settings)
    # Evaluations did not carry these yet.
    assert replace(today, revision=None, base_hash=None) == before
    assert differing(today, before) == []


def test_removed_weights_are_known_as_removed(old: Path, tmp_path: Path) -> None:
    assert has_removed(old / "rl")
    assert not (old / "rl" / "model").exists()
    refused = command("eval", f"model={old / 'rl' / 'model'}", f"out={tmp_path / 'x'}")
    assert refused.returncode == 2
    assert "its weights were removed" in refused.stderr


@pytest.mark.slow
def test_old_evaluations_are_reported_and_compared(old: Path, tmp_path: Path) -> None:
    folders = [str(old / name) for name in ("eval", "eval-rl")]
    done("eval.report", *folders, "--out", str(tmp_path / "report.html"))
    assert "grpo r1" in (tmp_path / "report.html").read_text()
    compared = done("eval.compare", folders[1], "--against", folders[0])
    assert re.search(r"^all +32 +18\.8 % +18\.8 %", compared, re.MULTILINE)
    said = done("eval.regrade", folders[0], "--out", str(tmp_path / "again"))
    assert "0 of 32 verdicts changed" in said
    assert scores_of(tmp_path / "again") == scores_of(old / "eval")
    again, before = read_manifest(tmp_path / "again"), read_manifest(old / "regraded")
    assert before.inputs["grader"] == "1"  # another version of the grader is another run
    inputs = {**before.inputs, "grader": GRADER_VERSION}
    assert run_hash("eval", before.identity, inputs) == again.hash
    page = str(tmp_path / "b.html")
    done("eval.budgets", folders[0], "--max-thinking-tokens", "4", "--out", page)
    done("eval.overlap", folders[0], "--pairs", str(old / "pairs"))


# Names in the tables of schema 1's release, and today's.
TABLES = {"ways": "arms", "expectations": "hypotheses"}
COLUMNS = {
    "way": "arm",
    "match": "equalize",
    "decided": "conclusion",
    "front": "on_front",
    "declared": "hypothesis",
}
CELLS = {"not decided": "inconclusive"}


def table(file: Path) -> list[dict[str, str]]:
    with open(file, newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(tmp_path_factory.mktemp("study"), "study") / "study"


@pytest.mark.slow
def test_the_tables_of_an_old_study_have_the_same_numbers(study: Path, tmp_path: Path) -> None:
    done("eval.report", str(study), "--out", str(tmp_path / "report.html"))
    files = sorted((study / "tables").glob("*.csv"))
    assert len(files) == 23
    for file in files:
        name = TABLES.get(file.stem, file.stem.replace("front_", "pareto_"))
        expected, found = table(file), table(tmp_path / "tables" / f"{name}.csv")
        if name == "needed":  # of the inconclusive ones, fewer with pooling
            continue
        assert len(found) == len(expected), name
        if name == "hypotheses":  # in the order of the benchmarks, now of the declaration
            expected, found = (sorted(rows, key=itemgetter("group")) for rows in (expected, found))
        for old_row, row in zip(expected, found, strict=True):
            new = today(row)
            for column, cell in old_row.items():
                if (column := COLUMNS.get(column, column)) in new:
                    assert new[column] == CELLS.get(cell, cell), (name, column, old_row)


# What follows from the variance between seeds without a column of its own, and the grader
DECIDED = ("verdict", "grader", "gain_low", "gain_high", "than_untrained")


def today(row: dict[str, str]) -> dict[str, str]:
    """The cells of a table that the revision before had: without pooling of the variance between
    seeds, which it did not know, and what follows from it."""
    found = {name: cell for name, cell in row.items() if name not in DECIDED}
    if "p_adjusted" in row:  # of a hypothesis
        return {name: found[name] for name in ("hypothesis", "group", "n", "difference")}
    if "p_alone" in row:
        del found["p_holm"]
    if row.get("pooled"):
        found |= {name: row[f"{name}_alone"] for name in ("low", "high", "p")}
        del found["conclusion"]
    return found


STUDY = (
    "study=ratio_sweep",
    "study.grid.distill=[]",  # a list replaced that of the file
    "study.grid.eval=[]",
    "study.grid.models=[tiny]",
    "study.grid.pairs=[demo]",
    'study.grid.distill=["limit=4","model=tiny"]',
    "study.grid.benchmarks=[demo]",
    "study.grid.max_new_tokens=24",
    'study.grid.eval=["limit=6","threads=1"]',
    "study.grid.seeds=[0,1]",
    'study.grid.train=["batch_size=8","epochs=20","lr=3e-3","precision=float32","threads=1"]',
    "study.grid.ratios=[0,0.5,1]",
    "retain=scores",
)


@pytest.mark.slow
def test_a_resumed_old_study_runs_nothing_again(study: Path, tmp_path: Path) -> None:
    shutil.copytree(study, tmp_path / "study")
    stages = [folder for folder in (tmp_path / "study").iterdir() if (folder / "DONE").exists()]
    before = {folder.name: contents(folder) for folder in stages}
    said = done("launch", *STUDY, f"out={tmp_path / 'study'}")
    assert said.count("finished before") == len(stages) == 18
    assert said.count("python -m") == said.count("next: python -m")
    assert {folder.name: contents(folder) for folder in stages} == before
    other = command("launch", *STUDY[:-1], "study.grid.max_new_tokens=9", f"out={study}")
    assert other.returncode == 2
    assert "was made by another plan: grid.max_new_tokens is 9, there 24" in other.stderr


@pytest.mark.slow
def test_removed_weights_are_trained_again_beside_the_old_folder(
    study: Path, tmp_path: Path
) -> None:
    """A missing evaluation needs the weights of its student, which `retain=scores` removed."""
    root = tmp_path / "study"
    shutil.copytree(study, root)
    (missing,) = root.glob("eval-tiny-demo-mixed-0-s0-????????")
    (trained,) = root.glob("train-tiny-demo-mixed-0-s0-????????")
    scores, before = scores_of(missing), contents(trained)
    shutil.rmtree(missing)
    launched = command("launch", *STUDY, f"out={root}")
    assert launched.stdout.count("finished before") == 16
    # The new evaluation is by today's grader, the others by an earlier one.
    assert launched.returncode == 2
    assert "have different grader versions" in launched.stderr.splitlines()[-1]
    assert contents(trained) == before
    assert len(list(root.glob("train-tiny-demo-mixed-0-s0-????????"))) == 2
    (again,) = root.glob("eval-tiny-demo-mixed-0-s0-????????")
    assert scores_of(again) == scores


def test_a_derived_thinking_switch_does_not_hide_a_stage(tmp_path: Path) -> None:
    """`eval` stored the switch that it took from its student; the study's hash is without it."""
    folder = unpacked(tmp_path, "eval") / "eval"
    manifest = read_manifest(folder)
    name = run_hash("eval", manifest.identity, manifest.inputs)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    head = (folder / "config.yaml").read_text().splitlines()[0]
    (folder / "config.yaml").write_text(f"{head}\n{yaml.safe_dump({**config, 'thinking': True})}")
    assert hash_of("eval", folder) != name
    assert holds_run("eval", folder.rename(tmp_path / "eval-01234567"), name)
    explicit = (tmp_path / "eval-01234567").rename(tmp_path / f"eval-{manifest.hash[:8]}")
    assert not holds_run("eval", explicit, name)


def altered(folder: Path, **values: Any) -> None:
    """Change a manifest, and mark the run finished with it."""
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, **values}))
    (folder / "DONE").write_text(hash_path(folder / "manifest.json") + "\n")


def test_a_newer_schema_is_refused_with_the_version_that_reads_it(tmp_path: Path) -> None:
    folder = unpacked(tmp_path, "eval") / "eval"
    altered(folder, schema_version=3)
    before = contents(folder)
    for words in (("eval.report", str(folder)), ("eval.regrade", str(folder), "--out", "x")):
        refused = command(*words)
        assert refused.returncode == 2
        assert len(refused.stderr.strip().splitlines()) == 1
        assert f"{folder} has schema version 3, this release reads up to 2" in refused.stderr
        assert "a release of ratiocine whose schema version is 3" in refused.stderr
    assert contents(folder) == before


def _renamed_file(folder: Path) -> None:
    (folder / "traces.jsonl").rename(folder / "completions.jsonl")


def _renamed_config(folder: Path) -> None:
    values = renames.renamed("eval", yaml.safe_load((folder / "config.yaml").read_text()))
    head = (folder / "config.yaml").read_text().splitlines()[0]
    (folder / "config.yaml").write_text(f"{head}\n{yaml.safe_dump(values)}")


def _new_manifest(folder: Path) -> None:
    altered(folder, schema_version=2)


def _new_identity(folder: Path) -> None:
    altered(folder, identity={})


@pytest.mark.parametrize(
    "half", [_renamed_file, _renamed_config, _new_manifest, _new_identity], ids=lambda f: f.__name__
)
def test_a_half_migrated_folder_is_refused_and_left_as_it_is(half: Any, tmp_path: Path) -> None:
    folder = unpacked(tmp_path, "eval") / "eval"
    half(folder)
    before = contents(folder)
    with pytest.raises(BadInput, match="is half migrated"):
        read_manifest(folder)
    config = config_of("eval", read_config(unpacked(tmp_path / "whole", "eval") / "eval"))
    with pytest.raises(BadInput, match="is half migrated"):
        open_run("eval", config.model_copy(update={"out": str(folder)}), {})
    assert contents(folder) == before


def test_pass_rates_of_an_old_run_are_read(tmp_path: Path) -> None:
    folder = unpacked(tmp_path, "pairs") / "pairs"
    (folder / "rates.jsonl").write_text(pass_counts.line("sums/1", {"ift": [1, 4]}))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["outputs"]["rates.jsonl"] = hash_path(folder / "rates.jsonl")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "DONE").write_text(hash_path(folder / "manifest.json"))
    assert pass_counts.read(folder, "ift") == {"sums/1": (1, 4)}


def _another_manifest(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "seconds": 1}))


def _list_for_config(folder: Path) -> None:
    (folder / "config.yaml").write_text("- model\n")


def _empty_config(folder: Path) -> None:
    (folder / "config.yaml").write_text("")


def _undecodable_done(folder: Path) -> None:
    (folder / "DONE").write_bytes(b"\xff")


def _empty_record_of_removals(folder: Path) -> None:
    (folder / "REMOVED").write_text("")


def _cut_manifest(folder: Path) -> None:
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text[: len(text) // 2])


@pytest.mark.parametrize(
    ("damaged", "told"),
    [
        (_another_manifest, "manifest.json is not the one that was written"),
        (_cut_manifest, "manifest.json cannot be read"),
        (_list_for_config, "config.yaml cannot be read"),
        (_empty_config, "config.yaml cannot be read"),
        (_undecodable_done, "manifest.json is not the one that was written"),
        (_empty_record_of_removals, "REMOVED cannot be read"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_damaged_folder_is_named(damaged: Any, told: str, tmp_path: Path) -> None:
    folder = unpacked(tmp_path, "eval") / "eval"
    damaged(folder)
    with pytest.raises(BadInput, match=re.escape(f"{folder} is corrupt: {told}")):
        check_finished(folder)


def test_an_interrupted_old_run_is_refused_in_one_line(old: Path, tmp_path: Path) -> None:
    out = tmp_path / "eval"
    shutil.copytree(old / "eval", out)
    for name in ("DONE", "manifest.json", "scores.json"):
        (out / name).unlink()
    before = contents(out)
    words = ("benchmarks=demo", "limit=4", "max_new_tokens=24", "threads=1", f"out={out}")
    refused = command("eval", f"model={old / 'student' / 'model'}", *words)
    assert refused.returncode == 2
    assert len(refused.stderr.strip().splitlines()) == 1, refused.stderr
    wrong = f"out={out} holds an interrupted run of schema version 1, which this release cannot"
    assert wrong in refused.stderr
    assert contents(out) == before
    read = command("eval.report", str(out))
    assert "no finished run" in read.stderr
