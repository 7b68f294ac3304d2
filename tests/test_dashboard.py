"""A study in W&B: its offline runs log what the dashboard names, with the values of the local
files."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import command, done
from test_report import facts, row
from test_tracking import records, rows_of

from eval.suite import metrics as logged_metrics
from launch.dashboard import (
    TrackedEvaluation,
    dashboard,
    findings,
    finished_stages,
)
from launch.workspace import KEYS, metrics, sections
from ratiocine.errors import BadInput
from ratiocine.runs import GROUP_KEYS, GroupKeys, StudentInfo, group_keys
from ratiocine.scores import ScoreTable, summary

CATEGORIES = ("general-mc", "math-oe")


@pytest.fixture(scope="module")
def study(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One student and its base model, evaluated, as a study runs them; W&B has no key and needs
    none."""
    out = tmp_path_factory.mktemp("study")
    tracked = ("tracker=wandb", "project=p", "group=small")
    benchmark = out / "mine.jsonl"
    rows = [
        {
            "id": f"q{i}",
            "question": f"What is {i} + {i}?",
            "answer": 2 * i,
            "kind": "number",
            "category": CATEGORIES[i % 2],
        }
        for i in range(6)
    ]
    benchmark.write_text("\n".join(map(json.dumps, rows)))
    asked = (f"benchmarks=[{benchmark}]", "max_new_tokens=8", *tracked)
    done(
        "train",
        "ratio=0.5",
        "model=tiny",
        f"pairs={pairs}",
        "batch_size=8",
        "max_steps=2",
        "seed=3",
        *tracked,
        f"out={out / 'train-00000001'}",
    )
    done(
        "eval", f"model={out / 'train-00000001' / 'model'}", *asked, f"out={out / 'after-00000002'}"
    )
    done("eval", "model=tiny", *asked, f"out={out / 'base-00000003'}")
    return out


def logged(run: Path) -> tuple[Any, dict[str, Any], dict[int, dict[str, Any]], dict[str, Any]]:
    """The run that an offline file holds, its configuration, what it logged by step, and its
    summary."""
    (file,) = run.glob("wandb/offline-run-*/*.wandb")
    config, history, summary, found = {}, dict[int, dict[str, Any]](), dict[str, Any](), None
    for record in records(file):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found = record.run
            config = {item.key: json.loads(item.value_json) for item in found.config.update}
        if kind == "history":
            row = {
                item.key or ".".join(item.nested_key): json.loads(item.value_json)
                for item in record.history.item
            }
            history.setdefault(row["_step"], {}).update(row)
        if kind == "summary":
            summary |= {
                item.key or ".".join(item.nested_key): json.loads(item.value_json)
                for item in record.summary.update
            }
    return found, config, history, summary


def test_the_runs_hold_what_the_dashboard_names(study: Path) -> None:
    evaluated, trained = (logged(study / name) for name in ("after-00000002", "train-00000001"))
    keys = {
        key for _, _, history, _ in (evaluated, trained) for row in history.values() for key in row
    }
    assert set(metrics(CATEGORIES)) <= keys
    assert set(KEYS) <= set(GROUP_KEYS)
    by = {
        "study": "small",
        "model_name": "tiny",
        "size": 107_072,
        "scenario": "mixed",
        "ratio": 0.5,
        "seed": 3,
        "reward": None,
    }
    for verb, (run, config, _, _) in {"eval": evaluated, "train": trained}.items():
        assert {key: config[key] for key in GROUP_KEYS} == {**by, "verb": verb}
        assert (run.project, run.run_group) == ("p", "small")
    _, config, _, _ = logged(study / "base-00000003")
    assert {key: config[key] for key in GROUP_KEYS} == {
        **dict.fromkeys(by),
        "study": "small",
        "model_name": "tiny",
        "verb": "eval",
    }


def test_an_evaluation_is_logged_as_it_is_stored(study: Path) -> None:
    run, config, history, summary = logged(study / "after-00000002")
    manifest, scores = (
        json.loads((study / "after-00000002" / f"{name}.json").read_text())
        for name in ("manifest", "scores")
    )
    training = json.loads((study / "train-00000001" / "manifest.json").read_text())
    assert run.run_id == config["run"] == manifest["hash"]
    (step, logged_row) = next(iter(history.items()))
    assert (len(history), step) == (1, 2)
    wanted = {"train_flops": training["train_flops"]}
    for name, found in {
        **scores["benchmarks"],
        **scores["categories"],
        "all": scores["all"],
    }.items():
        wanted |= {
            f"accuracy/{name}": found["accuracy"],
            f"accuracy_low/{name}": found["ci95"][0],
            f"accuracy_high/{name}": found["ci95"][1],
        }
        wanted |= {f"tokens/{name}": found["completion_tokens"]} | {
            f"{key}/{name}": found[key] for key in ("truncated", "thought", "flops")
        }
    assert set(scores["categories"]) == set(CATEGORIES) and "accuracy/mine" in wanted
    assert {key: value for key, value in logged_row.items() if not key.startswith("_")} == wanted
    assert {key: summary[key] for key in wanted} == wanted
    local = rows_of(study / "train-00000001" / "metrics.jsonl")
    _, _, history, _ = logged(study / "train-00000001")
    assert [{key: history[line["step"]].get(key) for key in line} for line in local] == local


def test_a_finished_evaluation_is_not_logged_again(study: Path) -> None:
    words = [
        f"model={study / 'train-00000001' / 'model'}",
        f"benchmarks=[{study / 'mine.jsonl'}]",
        "max_new_tokens=8",
        "tracker=none",
    ]
    assert "is finished" in done("eval", *words, f"out={study / 'after-00000002'}")
    assert len(list((study / "after-00000002" / "wandb").glob("offline-run-*"))) == 1


def leaves(value: Any) -> Iterator[tuple[str, Any]]:
    for key, inner in value.items() if isinstance(value, dict) else []:
        yield key, inner
        yield from leaves(inner)
    for inner in value if isinstance(value, list) else []:
        yield from leaves(inner)


def test_the_dashboard_is_shown_and_written_and_not_sent(study: Path) -> None:
    shown = done("launch.dashboard", str(study))
    spec = json.loads((study / "dashboard.json").read_text())
    for made in (spec["workspace"], spec["report"]):
        found = {name for key, value in leaves(made) if key == "metrics" for name in value}
        axes = {
            value.removeprefix("summary:")
            for key, value in leaves(made)
            if key in ("xAxis", "yAxis") and value != "_step"
        }
        assert found | axes == set(metrics(CATEGORIES))
        grouped = {value.removesuffix(".value") for key, value in leaves(made) if key == "groupBy"}
        assert grouped == {"ratio"}
    section = spec["workspace"]["spec"]["section"]
    assert [one["name"] for one in section["panelBankConfig"]["sections"]] == [
        "Accuracy by category",
        "Cost",
        "Lengths",
        "Training",
    ]
    assert [key["name"] for key in section["runSets"][0]["grouping"]] == [
        f"{key}.value" for key in KEYS
    ]
    filters = [
        f
        for one in (spec["workspace"], spec["report"])
        for key, value in leaves(one)
        if key == "filters" and isinstance(value, dict)
        for f in value["filters"]
    ]
    assert (
        sum(f["key"]["name"] == "study" and f["value"] == ["small"] for f in filters) == 1 + 2 * 4
    )
    manifest = json.loads((study / "base-00000003" / "manifest.json").read_text())
    assert (
        sum(f["key"]["name"] == "name" and f["value"] == [manifest["hash"]] for f in filters) == 4
    )
    for panels in sections(CATEGORIES).values():
        assert all(f"    {panel}\n" in shown for panel in panels)
    assert "W&B has 3 of 3 runs" in shown and "nothing was sent; --save sends it" in shown
    sent = re.search(r"wandb sync (\S+)", shown)
    assert sent is not None and len(list(Path("/").glob(sent[1].removeprefix("/")))) == 3
    (table,) = [value for key, value in leaves(spec["report"]) if key == "content"]
    assert table in shown
    scores = json.loads((study / "after-00000002" / "scores.json").read_text())["all"]
    low, high = (100 * end for end in scores["ci95"])
    assert "| tiny | ratio 0.5 | mine.jsonl, 8 tokens | 1 |" in table
    assert f"{100 * scores['accuracy']:.1f} % ({low:.1f} – {high:.1f})" in table.splitlines()[3]


def evaluation(ratio: float | None, seed: int, accuracy: float) -> TrackedEvaluation:
    student = None if ratio is None else StudentInfo(ratio=ratio, scenario="mixed", seed=seed)
    one = replace(
        summary([row("sums", 0, "right")]),
        accuracy=accuracy,
        ci95=(accuracy - 0.1, accuracy + 0.1),
    )
    return TrackedEvaluation(
        by=GroupKeys("eval", "m", ratio=ratio, seed=seed),
        study="s",
        hash="h",
        facts=facts(student),
        scores=ScoreTable({}, {"math-oe": one}, one),
        benchmarks="sums, 8 tokens",
    )


def test_seeds_are_one_line_of_the_table() -> None:
    lines = findings(
        [
            evaluation(1, 0, 0.5),
            evaluation(1, 1, 0.2),
            evaluation(None, 0, 0.25),
            evaluation(0, 0, 0.4),
        ],
        ["math-oe"],
    ).splitlines()
    assert lines[2:] == [
        "| m | m (untrained) | sums, 8 tokens | 1 | 25.0 % (15.0 – 35.0) | 25.0 % (15.0 – 35.0) |",
        "| m | ratio 0 | sums, 8 tokens | 1 | 40.0 % (30.0 – 50.0) | 40.0 % (30.0 – 50.0) |",
        "| m | ratio 1 | sums, 8 tokens | 2 | 35.0 % (20.0 – 50.0) | 35.0 % (20.0 – 50.0) |",
    ]


TRAINED = StudentInfo(
    base="m", size=9, scenario="sequential", share=0.25, seed=1, steps=5, train_flops=100
)
REWARDED = StudentInfo(base="m", size=9, seed=7, reward="r1", parent=TRAINED, train_flops=11)


def test_a_student_of_rl_is_grouped_by_its_parent() -> None:
    local = ("local", "x/model")
    assert group_keys("eval", *local, REWARDED) == GroupKeys(
        "eval", "m", 9, "sequential", 0.25, 7, "r1"
    )
    assert group_keys("eval", *local, TRAINED) == GroupKeys("eval", "m", 9, "sequential", 0.25, 1)


def test_the_row_of_an_evaluation() -> None:
    one = replace(
        summary([row("sums", 0, "right")]),
        accuracy=0.5,
        ci95=(0.3, 0.8),
        completion_tokens=7.5,
        truncated=0.1,
        thought=0.9,
        flops=12.0,
    )
    table = ScoreTable(
        {"sums": one}, {"math-oe": replace(one, flops=None)}, replace(one, accuracy=0.6)
    )
    values = {
        "accuracy": 0.5,
        "accuracy_low": 0.3,
        "accuracy_high": 0.8,
        "tokens": 7.5,
        "truncated": 0.1,
        "thought": 0.9,
        "flops": 12.0,
    }
    wanted = {
        f"{key}/{name}": value
        for name in ("sums", "math-oe", "all")
        for key, value in values.items()
    }
    wanted |= {"flops/math-oe": None, "accuracy/all": 0.6}
    for student, spent in (
        (REWARDED, 111),
        (TRAINED, 100),
        (None, None),
        (replace(TRAINED, train_flops=None), None),
    ):
        assert logged_metrics(table, student) == {**wanted, "train_flops": spent}


def refused(*words: str) -> str:
    result = command("launch.dashboard", *words)
    assert result.returncode == 2, result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    return result.stderr


def test_bad_input(
    study: Path, pairs: Path, student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (tmp_path / "none", tmp_path, pairs, student):
        assert f"{folder} is no folder of a study with a finished evaluation" in refused(
            str(folder)
        )
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (study / "dashboard.json").unlink(missing_ok=True)
    assert "--save needs a key of W&B: set WANDB_API_KEY, or run `wandb login` first" in refused(
        str(study), "--save"
    )
    assert not (study / "dashboard.json").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([{"group": "it's"}] * 3, '"it\'s" cannot be a filter in W&B'),
        ([{"tracker": "none"}] * 3, "W&B has no evaluation of this study"),
        ([{"group": None}] * 3, "W&B has no evaluation of this study"),
        (
            [{"project": "p"}, {"project": "p"}, {"project": "q"}],
            "these runs are in the projects p and q",
        ),
    ],
)
def test_runs_that_cannot_be_shown_together_are_refused(
    study: Path, changes: list[dict], message: str
) -> None:
    found = [
        replace(stage, config={**stage.config, **change})
        for stage, change in zip(finished_stages(study), changes, strict=True)
    ]
    with pytest.raises(BadInput, match=re.escape(message)):
        dashboard(found, "", None)


def test_of_a_stage_that_has_run_twice_the_newest_counts(study: Path, tmp_path: Path) -> None:
    for number, (name, at) in enumerate(
        [("after-0000000a", 100), ("after-0000000b", 50), ("base-0000000c", 10)]
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(f"# eval {number:016x}\nbenchmarks: []\n")
        (tmp_path / name / "DONE").touch()
        os.utime(tmp_path / name / "DONE", (at, at))
    assert sorted(stage.folder.name for stage in finished_stages(tmp_path)) == [
        "after-0000000a",
        "base-0000000c",
    ]
