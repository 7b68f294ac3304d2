"""Grids: plans, cost estimates, and results through kills, failures and extensions."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ROOT, command, done, settings

from eval.config import Config as Eval
from launch import scheduler, throughput
from launch.config import Assumptions, Config, GridConfig, StageConfig, StudyConfig
from launch.cost_estimate import estimate
from launch.expansion import compared, expand
from launch.plan_file import check_plan
from launch.planner import plan, run_study
from launch.scheduler import Scheduler
from launch.stages import Stage
from launch.study_state import StudyState
from ratiocine import cli, runs
from ratiocine.data import DataConfig
from ratiocine.errors import BadInput, Failure
from ratiocine.executors import Command, Job, SlurmConfig
from ratiocine.runs import artefacts, locks
from ratiocine.stores import read_completions
from train.config import Config as Train
from train.config import notes

GRID = (
    "launch",
    "study=ratio_sweep",
    "study.grid.models=[tiny]",
    "study.grid.pairs=[demo]",
    'study.grid.distill=["limit=4","model=tiny"]',
    "study.grid.benchmarks=[demo]",
    "study.grid.max_new_tokens=8",
    'study.grid.train=["batch_size=8","epochs=2","lr=1e-3","precision=float32",'
    '"threads=1","save_steps=2"]',
    'study.grid.eval=["limit=2","threads=1"]',
    "study.grid.seeds=[0,1]",
)


def grid(**changes: object) -> GridConfig:
    usual = {
        "models": ["tiny"],
        "pairs": ["demo"],
        "ratios": [0, 0.5, 1],
        "benchmarks": ["demo"],
        "max_new_tokens": 8,
    }
    return cli.check(GridConfig, {**usual, **changes})


def names(**changes: object) -> list[str]:
    return [stage.name for stage in plan(StudyConfig(name="x", grid=grid(**changes)))]


def answers(root: Path) -> dict[str, object]:
    """Completions and scores of every evaluation of a study."""
    found = {}
    for folder in root.glob("eval-*"):
        rows = [replace(row, seconds=0.0) for row in read_completions(folder)]
        found[folder.name] = rows, json.loads((folder / "scores.json").read_text())
    return found


def tables(root: Path) -> dict[str, str]:
    """The report's tables, without that of times and run ids."""
    return {
        file.name: file.read_text()
        for file in (root / "tables").glob("*.csv")
        if file.name != "runs.csv"
    }


# The plan


def test_cells_share_their_pairs_and_their_models() -> None:
    found = names(ratios=[0, 1], seeds=[0, 1], models=["tiny", "smollm2-135m"])
    assert found.count("pairs-demo") == 1
    assert [name for name in found if name in ("eval-tiny", "eval-smollm2-135m")] == [
        "eval-tiny",
        "eval-smollm2-135m",
    ]
    assert len(found) == 1 + 2 + 2 * (2 * 2 * 2)
    assert {"train-tiny-demo-mixed-0-s1", "eval-smollm2-135m-demo-mixed-1-s0"} <= set(found)


def test_one_format_has_no_order_and_a_scenario_that_says_every_ratio_has_one_cell() -> None:
    found = names(scenarios=["mixed", "sequential", "general_ift+math_reasoning"])
    assert [n for n in found if n.startswith("train-tiny-demo-sequential")] == [
        "train-tiny-demo-sequential-0.5-s0"
    ]
    assert [n for n in found if "general" in n and n.startswith("train")] == [
        "train-tiny-demo-general_ift+math_reasoning-s0"
    ]
    assert "train-tiny-demo-sequential-0-s0" in names(scenarios=["sequential"]), (
        "nothing else would be the same"
    )


def test_every_axis_makes_cells() -> None:
    found = names(equalize=["examples", "flops"], lr_policy=["per_format", "matched"], ratios=[0.5])
    assert "train-tiny-demo-mixed-0.5-flops-matched-s0" in found
    assert "train-tiny-demo-mixed-0.5-s0" in found
    found = names(
        verify=["none", "both"],
        pairs={
            "own": [
                "teacher=openai",
                "teacher.engine.model=m",
                "teacher.engine.base_url=http://h/v1",
                "data=gsm8k",
            ]
        },
    )
    assert {"pairs-own-none", "train-tiny-own-both-mixed-0.5-s0"} <= set(found)
    rewarded = names(rl={"ratios": [1], "overrides": ["data=sums", "max_steps=2"]})
    assert [n for n in rewarded if n.startswith(("rl", "eval-rl"))] == [
        "rl-tiny-demo-mixed-1-s0",
        "eval-rl-tiny-demo-mixed-1-s0",
    ]


def test_the_words_of_a_cell() -> None:
    study = StudyConfig(
        name="x",
        grid=grid(ratios=[0.5], train=["lora=true"], eval=["limit=3"], baseline=["num_fewshot=3"]),
    )
    stages = {stage.name: stage for stage in plan(study)}
    folders = {name: Path("runs") / name for name in stages}
    taught = stages["train-tiny-demo-mixed-0.5-s0"]
    config = cli.compose("train", Train, taught.resolved(folders))
    assert (config.ratio, config.seed, config.lora, config.pairs) == (
        0.5,
        0,
        True,
        ["runs/pairs-demo"],
    )
    asked = [
        cli.compose("eval", Eval, stages[name].resolved(folders))
        for name in ("eval-tiny", "eval-tiny-demo-mixed-0.5-s0")
    ]
    assert [(one.num_fewshot, one.limit, one.max_new_tokens) for one in asked] == [
        (3, 3, 8),
        (0, 3, 8),
    ]
    assert compared(study) == ["eval-tiny", "eval-tiny-demo-mixed-0.5-s0"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("study.grid.ratois=[0]",), "unknown key 'study.grid.ratois'"),
        (
            ("+study.grid.ratoi=[0]",),
            "unknown key 'study.grid.ratoi'; did you mean 'study.grid.ratios'?",
        ),
        (("study.grid.ratios=[0,0.5,0.5]",), "ratios=[0.0, 0.5, 0.5]: 0.5 occurs twice"),
        (("study.grid.models=[tiny,tiny]",), "'tiny' occurs twice"),
        (("study.grid.ratios=[2]",), "ratios=[2.0]: 2 is not between 0 and 1"),
        (("study.grid.scenarios=[sideways]",), "unknown scenario 'sideways'"),
        (("study.grid.models=[tiyn]",), "unknown model 'tiyn'"),
        (("study.grid.seeds=[]",), "study.grid.seeds=[]"),
        (("study.grid.seeds=[-1]",), "study.grid.seeds.0=-1: should be greater than or equal to 0"),
        (
            ("study.grid.models=[Qwen/Qwen2.5-0.5X]",),
            "'Qwen/Qwen2.5-0.5X' is no name of letters, digits and -._+",
        ),
        (("study.grid.models=[Qwen/Qwen2.5-0.5B]",), "'Qwen/Qwen2.5-0.5B' is called qwen2.5-0.5b"),
        (("study.grid.seeds=3",), "a list of seeds: [3] for one, [0,1,2] for several"),
        (("executor=slurm", "executor.wait=false"), "wait=false is for a single command"),
        (
            (
                "study.grid.benchmarks=[sums]",
                "study.hypotheses=[{group: general-mc, hypothesis: gain}]",
            ),
            "unknown group 'general-mc'; the study has",
        ),
        (("study.grid.models=[1.5]",), "1.5 is no name"),
        (("study.grid.benchmarks=[gsm9k]",), "unknown benchmark 'gsm9k'"),
        (
            ("executor.nodes=2", "executor.rdzv_endpoint=here:29400"),
            "one machine starts all stages of a study",
        ),
        (("retain=nothing",), "retain='nothing'"),
    ],
)
def test_a_grid_that_cannot_be(words: tuple[str, ...], message: str) -> None:
    result = command("launch", "study=ratio_sweep", *words, "dry_run=true")
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
    assert message in result.stderr


# What it would cost


def test_the_published_study_is_planned_without_a_gpu_or_a_hub() -> None:
    config = cli.compose(
        "launch", Config, ["study=paper", "study.grid.models=[qwen2.5-0.5b,qwen2.5-14b]"]
    )
    stages = plan(config.study)
    told = estimate(config.study, stages, {}, "scores")
    assert len(stages) == 2 + 2 + 2 * 2 * (5 + 3) * 2
    assert all(need.flops is not None for need in told.costs.values())
    small, large = (
        told.costs[f"train-qwen2.5-{size}-general-mixed-1-s0"] for size in ("0.5b", "14b")
    )
    assert small.tokens == large.tokens == 990098 * (140 + 2591)
    assert small.flops == pytest.approx(6 * 0.63e9 * small.tokens, rel=0.1), (
        "six FLOPs a weight and token, and attention"
    )
    assert large.flops / small.flops == pytest.approx(14.8 / 0.63, rel=0.1)
    direct = told.costs["train-qwen2.5-14b-general-mixed-0-s0"]
    assert direct.tokens == 990098 * (140 + 435)
    assert large.work_seconds == pytest.approx(large.flops / (0.4 * 989e12))
    assert large.disk.weights == pytest.approx(4 * 14.77e9, rel=0.01)
    kept = estimate(config.study, stages, {}, "weights")
    assert kept.disk.total - told.disk.total == pytest.approx(
        15 * (small.disk.weights + large.disk.weights)
        + 16 * small.disk.weights
        + large.disk.weights,
        rel=0.2,
    )


def test_the_dry_run_prints_every_stage_and_a_sum() -> None:
    shown = done(
        "launch",
        "study=paper",
        "study.grid.models=[qwen2.5-0.5b]",
        "~study.grid.pairs.math",
        "dry_run=true",
    )
    assert "18 stages: 0 done, 18 to do:" in shown
    assert re.search(r"(?m)^ 9  train-qwen2.5-0.5b-general-mixed-0.75-s0 +to do .* 0.00 GB$", shown)
    assert max(map(len, shown.splitlines()[:19])) <= 120
    assert (
        "first train: python -m train model=qwen2.5-0.5b pairs={pairs-general} scenario=mixed "
        "ratio=0 " in shown
    )


# The study itself


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted grid with two ratios."""
    root = tmp_path_factory.mktemp("grid") / "study"
    said = done(*GRID, "study.grid.ratios=[0,1]", f"out={root}")
    assert len(re.findall(r"(?m)^\[\d+/\d+\] .*: python -m ", said)) == 1 + 1 + 2 * 2 * 2
    assert (root / "report.html").exists()
    return root


def test_what_it_cost_is_what_was_told(study: Path) -> None:
    words = [*GRID[1:], "study.grid.ratios=[0,1]"]
    config = cli.compose("launch", Config, words)
    stages = plan(config.study)
    folders = {stage.name: next(study.glob(f"{stage.name}-????????")) for stage in stages}
    pairs = {name: folder for name, folder in folders.items() if name == "pairs-demo"}
    told = estimate(config.study, stages, pairs, "weights")
    for name, need in told.costs.items():
        manifest = json.loads((folders[name] / "manifest.json").read_text())
        if name.startswith("train"):
            assert need.flops == pytest.approx(manifest["train_flops"], rel=0.05)
            assert need.tokens == pytest.approx(manifest["tokens"], rel=0.05)
            assert need.disk.weights == pytest.approx(
                (folders[name] / "model" / "model.safetensors").stat().st_size, rel=0.05
            )
        else:
            rows = read_completions(folders[name] / "completions.jsonl")
            assert need.tokens == pytest.approx(
                sum(row.n_prompt + row.n_completion for row in rows), rel=0.35
            )
    after = estimate(config.study, stages, folders, "weights")
    assert after.total.startswith("10 stages: 10 done, nothing to do")


@pytest.mark.slow
def test_more_ratios_run_their_cells_alone(study: Path, tmp_path: Path) -> None:
    root = tmp_path / "study"
    shutil.copytree(study, root)
    before = {file: file.stat().st_mtime_ns for file in root.glob("*/DONE")}
    said = done(*GRID, "study.grid.ratios=[0,0.5,1]", f"out={root}")
    assert said.count("finished before") == 10
    assert len(re.findall(r"(?m)^\[\d+/\d+\] .*: python -m ", said)) == 2 * 2 + 2 * 2, (
        "the new ratio, mixed and sequential"
    )
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert answers(study).items() <= answers(root).items()


@pytest.mark.slow
def test_what_cannot_be_asked_any_more_has_nobody_trained_again(tmp_path: Path) -> None:
    """A student without its weights stays finished while its benchmark is unreadable."""
    problems = tmp_path / "sums.jsonl"
    rows = [
        {"id": f"q{n}", "question": f"What is {n} + {n}?", "answer": str(2 * n), "kind": "number"}
        for n in range(4)
    ]
    problems.write_text("\n".join(map(json.dumps, rows)))
    root = tmp_path / "it's a study, (1)"
    words = (
        *GRID,
        "study.grid.ratios=[1]",
        "study.grid.seeds=[0]",
        "study.grid.scenarios=[mixed]",
        "retain=scores",
        f"study.grid.benchmarks=[{cli.quoted(str(problems))}]",
        f"out={cli.quoted(str(root))}",
    )
    done(*words)
    (trained,) = root.glob("train-*/DONE")
    before = trained.stat().st_mtime_ns
    problems.rename(tmp_path / "elsewhere.jsonl")
    result = command(*words)
    assert result.returncode == 2
    assert "python -m train" not in result.stdout
    assert trained.stat().st_mtime_ns == before


@pytest.mark.slow
def test_the_order_of_cells_changes_nothing(study: Path, tmp_path: Path) -> None:
    done(*GRID, "study.grid.seeds=[1,0]", "study.grid.ratios=[1,0]", f"out={tmp_path / 'study'}")
    assert answers(tmp_path / "study") == answers(study)
    assert tables(tmp_path / "study") == tables(study)


def test_a_folder_of_another_plan_is_refused(study: Path, tmp_path: Path) -> None:
    root = tmp_path / "study"
    shutil.copytree(study, root)
    for words, differ in (
        (("study.grid.max_new_tokens=9",), "grid.max_new_tokens is 9, there 8"),
        (
            ('study.grid.distill=["limit=5"]',),
            "grid.distill is ['teacher=oracle', 'limit=5', 'model=tiny'], there "
            "['teacher=oracle', 'limit=4', 'model=tiny']",
        ),
        (("study.name=other",), "name is 'other', there 'ratio_sweep'"),
    ):
        result = command(*GRID, "study.grid.ratios=[0,1]", f"out={root}", *words)
        assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
        assert differ in result.stderr
        assert "extend it by pairs, verify, models" in result.stderr
    for damaged in (b"", b"- a\n", b"\xff"):
        (root / "study.yaml").write_bytes(damaged)
        result = command(*GRID, "study.grid.ratios=[0,1]", f"out={root}", "dry_run=true")
        assert (result.returncode, len(result.stderr.splitlines())) == (2, 1), result.stderr
        assert f"{root} is corrupt: study.yaml cannot be read" in result.stderr


def test_a_refused_launch_leaves_the_folder_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the disk is too small or Slurm takes no job: no plan that would refuse the next."""
    pytest.importorskip("submitit", reason="needs the extra slurm")
    root = tmp_path / "new" / "study"

    def refused(message: str, *words: str) -> None:
        config = cli.compose("launch", Config, [*GRID[1:], f"out={root}", *words])
        with pytest.raises(BadInput, match=message):
            run_study(config)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=5e9))
        refused("5.0 GB free: enough with retain=scores", "study.grid.models=[smollm2-135m]")
    assert not root.exists()
    sbatch = tmp_path / "sbatch"
    sbatch.write_text("#!/bin/sh\necho 'sbatch: error: invalid partition: x' >&2\nexit 1\n")
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    refused("sbatch refused the job: 'invalid partition: x'", "executor=slurm")
    assert not root.exists()
    root.mkdir()
    check_plan(cli.compose("launch", Config, GRID[1:]).study, root, write=True)
    earlier = (root / "study.yaml").read_bytes()
    refused("sbatch refused", "executor=slurm", "study.grid.seeds=[0,1,2]")
    assert [*root.iterdir()] == [root / "study.yaml"]
    assert (root / "study.yaml").read_bytes() == earlier


def test_settings_that_change_no_result_are_no_other_plan(tmp_path: Path) -> None:
    def check(*words: str, write: bool = False) -> None:
        study = cli.compose("launch", Config, [*GRID[1:], *words]).study
        check_plan(study, tmp_path, write=write)

    check("study.grid.train=[threads=2]", write=True)
    check("study.grid.train=[threads=1,project=mine]", "study.grid.eval=[threads=1]")
    with pytest.raises(BadInput, match=r"grid\.train is .*max_length"):
        check("study.grid.train=[max_length=77]")


@pytest.mark.slow
def test_with_scores_alone_weights_go_and_come_back_where_they_are_needed(
    study: Path, tmp_path: Path
) -> None:
    root = tmp_path / "study"
    done(*GRID, "study.grid.ratios=[0,1]", "study.grid.seeds=[0]", "retain=scores", f"out={root}")
    assert not list(root.glob("train-*/model"))
    assert answers(root).items() <= answers(study).items()
    said = done(
        *GRID, "study.grid.ratios=[0,1]", "study.grid.seeds=[0]", "retain=scores", f"out={root}"
    )
    assert said.count("finished before") == 6, "what is done is done"
    trained = next(root.glob("train-*-0-s0-*"))
    refused = command(
        "eval", f"model={trained / 'model'}", "benchmarks=demo", f"out={tmp_path / 'e'}"
    )
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
    assert "its weights were removed after their evaluation" in refused.stderr
    gone = next(root.glob("eval-*-0-s0-*"))
    shutil.rmtree(gone)
    said = done(
        *GRID, "study.grid.ratios=[0,1]", "study.grid.seeds=[0]", "retain=scores", f"out={root}"
    )
    assert said.count("python -m train") == 1
    assert gone.exists(), "the same weights again, and so the same name"
    assert answers(root).items() <= answers(study).items()


@pytest.mark.slow
def test_a_cell_that_fails_leaves_the_others(tmp_path: Path) -> None:
    """A batch of 24 is more than the pairs of one domain, and fewer than those of both."""
    failing = "general_ift+math_ift"
    result = command(
        *GRID,
        "study.grid.ratios=[1]",
        "study.grid.seeds=[0]",
        f"study.grid.scenarios=[{failing},mixed]",
        'study.grid.train=["batch_size=24","precision=float32","threads=1"]',
        f"out={tmp_path / 'study'}",
    )
    assert result.returncode == 2
    assert (
        f"launch: train-tiny-demo-{failing}-s0 failed, so that eval-tiny-demo-{failing}-s0 "
        "could not run" in result.stderr
    )
    assert len(list((tmp_path / "study").glob("eval-*/DONE"))) == 2
    assert (tmp_path / "study" / "report.html").exists()


def processes_of(root: Path) -> list[str]:
    """Command lines, or working files, that name a study's folder: forks keep the first command
    line, so that what they have open tells them apart."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (folder / "cmdline").read_bytes().decode().replace("\0", " ")
            opened = [os.readlink(file) for file in (folder / "fd").iterdir()]
            if str(root) in words or any(file.startswith(str(root)) for file in opened):
                found.append(words)
    return found


def killed(words: tuple[str, ...], root: Path, moments: int, seed: int) -> list[int]:
    """Kill a study's launcher alone, soon after a stage begins or ends; returns the number of
    finished stages at each moment."""
    rng, seen = random.Random(seed), [0]
    for _ in range(moments):
        process = subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        pattern, more = rng.choice([("*/DONE", seen[-1]), ("*/config.yaml", 0)])
        while process.poll() is None and len(list(root.glob(pattern))) <= more:
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 3))
        process.kill()
        process.wait()
        for _ in range(200):
            if not (left := processes_of(root)):
                break
            time.sleep(0.1)
        assert left == [], "its stages end with it"
        seen.append(len(list(root.glob("*/DONE"))))
    return seen


@pytest.mark.slow
def test_killed_at_ten_random_moments_it_comes_to_the_same(study: Path, tmp_path: Path) -> None:
    root = tmp_path / "study"
    words = (*GRID, "study.grid.ratios=[0,1]", f"out={root}")
    seen = killed(words, root, 10, seed=0)
    assert seen == sorted(seen), "what is done stays done"
    assert seen[0] < seen[-1], "and more is done each time"
    done(*words)
    assert answers(root) == answers(study)
    assert len(tables(study)) > 5
    assert tables(root) == tables(study)


class Refusing:
    """An executor that fails once; its other jobs succeed at once."""

    max_parallel_jobs, submitted = 8, 0

    def submit(self, commands: Sequence[Command]) -> list[Job]:
        Refusing.submitted += 1
        if Refusing.submitted == 2:
            raise Failure("executor=slurm: Socket timed out")
        out = next(word for word in commands[0].args if word.startswith("out="))[4:]
        runs.open_run(commands[0].module, settings(out=out), {}).finish()
        return [Ended()]


class Ended:
    logs: Sequence[Path] = ()

    def poll(self) -> int:
        return 0

    def cancel(self) -> None:
        raise AssertionError("nothing may be stopped")


def test_a_job_that_is_not_taken_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "open_executor", lambda *words: nullcontext(Refusing()))
    stages = [
        Stage(f"e{n}", "eval", ("model=tiny", "benchmarks=demo", f"seed={n}")) for n in range(3)
    ]
    state = StudyState(stages, tmp_path, SlurmConfig(name="slurm"))
    failed = Scheduler(state).run()
    assert (sorted(state.done), failed) == (["e0", "e2"], {"e1": 1})


def test_more_at_once_need_more_room() -> None:
    config = cli.compose("launch", Config, ["study=paper", "study.grid.models=[qwen2.5-14b]"])
    stages = plan(config.study)
    one, eight = (
        estimate(
            config.study, stages, {}, "scores", SlurmConfig(name="slurm", max_parallel_jobs=jobs)
        ).disk.total
        for jobs in (1, 8)
    )
    weights = 4 * 14.77e9
    assert eight - one == pytest.approx(7 * (weights + 2 * 3 * weights), rel=0.01), (
        "two checkpoints, each with Adam's numbers"
    )


def test_limits_samples_and_scenarios_are_counted() -> None:
    def asked(*eval_words: str, **changes: object) -> dict[str, float | None]:
        assumptions = {
            "pairs": {"demo": 8},
            "prompt": {"demo": 10},
            "ift": {"demo": 2},
            "reasoning": {"demo": 8},
        }
        made = StudyConfig(
            name="x",
            grid=grid(eval=list(eval_words), **{"ratios": [1], **changes}),
            assumptions=cli.check(Assumptions, assumptions),
        )
        return {
            name: need.tokens
            for name, need in estimate(made, plan(made), {}, "weights").costs.items()
        }

    name = "eval-tiny-demo-mixed-1-s0"
    families = cli.named("data", "demo", DataConfig).families
    problems = sum(family.test for family in families.values())
    assert asked()[name] == problems * 18
    families = len(families)
    assert asked("limit=5")[name] == 5 * families * 18, "a limit is that of each family"
    assert asked("limit=5", "samples=4", "temperature=1")[name] == 4 * 5 * families * 18
    both = asked(scenarios=["general_reasoning+math_reasoning"])
    assert both["eval-tiny-demo-general_reasoning+math_reasoning-s0"] == problems * 18


@pytest.mark.parametrize("word", ["data={d}/x.jsonl", "data='{d}/x.jsonl'", "pairs=[{d},{d}]"])
def test_folders_of_any_name_in_words(word: str) -> None:
    (plain,), (odd,) = (
        Stage("s", "eval", (word,)).resolved({"d": Path(folder)}) for folder in ("/a/d", "/a b/d")
    )
    assert plain == word.replace("{d}", "/a/d").replace("'", "")
    assert odd == ("pairs=['/a b/d','/a b/d']" if "[" in word else "data='/a b/d/x.jsonl'")


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".."])
def test_a_stage_is_named_as_a_folder_can_be(name: str) -> None:
    stage = StageConfig(name=name, verb="distill", overrides=["teacher=oracle"])
    with pytest.raises(BadInput, match="is no name of a stage: letters, digits"):
        plan(StudyConfig(name="x", stages=[stage]))
    with pytest.raises(ValueError, match="is no name of a study: letters, digits"):
        StudyConfig(name=name, stages=[stage])


def test_what_a_study_sets_is_not_for_its_stages() -> None:
    stage = StageConfig(name="a", verb="distill", overrides=["teacher=oracle", "out=b"])
    with pytest.raises(BadInput, match="a sets out=, which the study sets"):
        plan(StudyConfig(name="x", stages=[stage]))
    with pytest.raises(BadInput, match=r"rl.ratios=\[0.3\]: 0.3 is none of ratios=\[0.0, 1.0\]"):
        grid(ratios=[0, 1], rl={"ratios": [0.3]})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": ["qwen3-0.6b"]}, "holds no learning rates for model=Qwen/Qwen3-0.6B; give lr="),
        (
            {"scenarios": ["sequential"], "equalize": ["flops"]},
            "stage 1: equalize=flops does not apply to one mode",
        ),
    ],
)
def test_a_training_that_cannot_begin_is_refused_by_the_plan(
    changes: dict[str, list[str]], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        names(**changes)


def test_values_of_a_listed_stage() -> None:
    stage = {
        "name": "t-$s-$seeds",
        "verb": "eval",
        "matrix": {"s": [1], "seeds": [7]},
        "overrides": ["model=tiny", "benchmarks=demo"],
    }
    assert [one.name for one in expand(StudyConfig(name="x", stages=[stage]))] == ["t-1-7"]
    with pytest.raises(BadInput, match="unknown benchmark 'nothing'"):
        plan(
            cli.check(
                StudyConfig,
                {
                    "name": "x",
                    "stages": [{**stage, "overrides": ["model=tiny", "benchmarks=nothing"]}],
                },
            )
        )
    with pytest.raises(BadInput, match=r"matrix\.s=\[\]"):
        cli.check(StudyConfig, {"name": "x", "stages": [{**stage, "matrix": {"s": []}}]})


# One writer


def test_a_folder_has_one_writer(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"from pathlib import Path; from ratiocine.runs import locks; "
            f"locks.acquire(Path({str(tmp_path)!r})); "
            "print('held', flush=True); input()",
        ],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout and holder.stdout.readline() == "held\n"
    with pytest.raises(BadInput, match="is being written to by another process"):
        locks.acquire(tmp_path, timeout=0)
    holder.kill()
    holder.wait()
    locks.acquire(tmp_path, timeout=5)
    locks.acquire(tmp_path, timeout=0)
    locks.release(tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_is_forked_after_an_estimate_can_multiply() -> None:
    """Stages are forked from the planner, whose threads may not have run a matmul."""
    code = (
        "import os, sys, torch; from launch.throughput import machine_rate; assert "
        "machine_rate() > 0; child = os.fork()\n"
        "if not child: torch.ones(600, 600) @ torch.ones(600, 600); os._exit(0)\n"
        "os.waitpid(child, 0)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)


@pytest.mark.parametrize("moment", ["os.replace", "shutil.rmtree"])
def test_weights_go_whole_or_not_at_all(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the process ends after the record is written, or while files are deleted."""
    config = settings(seed=0, out=str(tmp_path / "run"))
    run = runs.open_run("train", config, {})
    with run.writing("model") as folder:
        folder.mkdir()
        for name in ("a", "b"):
            (folder / name).write_text(name)
    run.finish()
    whole = runs.hash_path(run.out / "model")
    module, name = moment.split(".")
    real, calls = getattr(getattr(artefacts, module), name), 0

    def ends(*words: object, **more: object) -> None:
        nonlocal calls
        calls += 1
        if (calls, name) in (
            (2, "replace"),
            (1, "rmtree"),
        ):  # the first replace is that of the note
            raise KeyboardInterrupt
        real(*words, **more)

    monkeypatch.setattr(getattr(artefacts, module), name, ends)
    with pytest.raises(KeyboardInterrupt):
        runs.remove_artefact(run.out, "model")
    monkeypatch.undo()
    runs.check_finished(run.out)
    assert runs.artefact_hash(run.out / "model") == whole
    runs.remove_artefact(run.out, "model")
    runs.check_finished(run.out)
    assert not (run.out / "model").exists()
    assert runs.artefact_hash(run.out / "model") == whole
    runs.reopen(run.out)
    assert not runs.open_run("train", config, {}).finished
    assert not runs.has_removed(run.out)


def test_a_machine_whose_rate_cannot_be_told_has_no_times(monkeypatch: pytest.MonkeyPatch) -> None:
    from ratiocine import devices

    def lost(*words: object) -> float:
        os._exit(1)

    monkeypatch.setattr(devices, "matmul_rate", lost)
    throughput.machine_rate.cache_clear()
    assert throughput.machine_rate() is None
    study = StudyConfig(
        name="x",
        grid=grid(ratios=[0]),
        assumptions=Assumptions(
            pairs={"demo": 8}, prompt={"demo": 9}, ift={"demo": 2}, reasoning={"demo": 7}
        ),
    )
    told = estimate(study, plan(study), {}, "weights")
    throughput.machine_rate.cache_clear()
    assert told.costs["train-tiny-demo-mixed-0-s0"].flops
    assert told.costs["train-tiny-demo-mixed-0-s0"].seconds is None
    assert "time unknown" in told.total


@pytest.mark.slow
def test_a_grid_goes_on_with_rewards(tmp_path: Path) -> None:
    """GRPO from each student: two arms, each compared with its initial student."""
    pytest.importorskip("trl", reason="needs the extra rl")
    root = tmp_path / "study"
    rewards = ",".join(
        f'"{word}"'
        for word in (
            "data=demo",
            "limit=4",
            "val_size=4",
            "max_steps=1",
            "batch_size=8",
            "num_generations=4",
            "micro_batch_size=8",
            "max_new_tokens=8",
            "threads=1",
            "precision=float32",
        )
    )
    said = done(
        *GRID,
        "study.grid.ratios=[0,1]",
        "study.grid.scenarios=[mixed]",
        f"study.grid.rl={{overrides:[{rewards}]}}",
        f"out={root}",
    )
    assert said.count("python -m rl") == 4
    with open(root / "tables" / "differences_rewards.csv", newline="") as file:
        pairs = {(row["against"], row["arm"]) for row in csv.DictReader(file)}
    assert pairs == {("ratio 0", "+ grpo r1 ratio 0"), ("ratio 1", "+ grpo r1 ratio 1")}


# Pairs and benchmarks of one's own


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, pairs: Path) -> Path:
    """A working directory with finished pairs, a copy with a blank in its name, and a file."""
    root = tmp_path_factory.mktemp("own")
    for name in ("mypairs", "my pairs"):
        shutil.copytree(pairs, root / "runs" / name)
    rows = [
        {
            "question": f"What is {n} + {n}?",
            "answer": str(2 * n),
            "solution": f"{n} + {n} = {2 * n}",
        }
        for n in range(5)
    ]
    (root / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return root


def planned(*words: str) -> tuple[StudyConfig, list[Stage]]:
    usual = ("study.grid.models=[tiny]", "study.grid.ratios=[0.5]", "study.grid.seeds=[0]")
    study = cli.compose("launch", Config, ["study=ratio_sweep", *usual, *words]).study
    return study, plan(study)


TEACHER = "study.grid.distill=[teacher=reference]"


@pytest.mark.parametrize(
    ("words", "sets"),
    [
        (("[runs/mypairs]",), {"mypairs": ["pairs=runs/mypairs"]}),
        (("runs/mypairs",), {"mypairs": ["pairs=runs/mypairs"]}),
        (("{mine: runs/mypairs}",), {"mine": ["pairs=runs/mypairs"]}),
        (("{mine: pairs=runs/mypairs}",), {"mine": ["pairs=runs/mypairs"]}),
        (("runs/mypairs/pairs.parquet",), {"mypairs": ["pairs=runs/mypairs"]}),
        (("['runs/my pairs']",), {"my-pairs": ["pairs='runs/my pairs'"]}),
        (("runs/my pairs",), {"my-pairs": ["pairs='runs/my pairs'"]}),
        (
            ("[runs/mypairs,runs/my pairs]",),
            {"mypairs": ["pairs=runs/mypairs"], "my-pairs": ["pairs='runs/my pairs'"]},
        ),
        (
            ("{all: [runs/mypairs,runs/my pairs]}",),
            {"all": ["pairs=[runs/mypairs,'runs/my pairs']"]},
        ),
        (
            ("[demo,runs/mypairs]",),
            {"demo": ["data=demo"], "mypairs": ["pairs=runs/mypairs"]},
        ),
        (("mine.jsonl", TEACHER), {"mine": ["data='mine.jsonl'"]}),
        (
            ("{a: [data=mine.jsonl,teacher=reference]}",),
            {"a": ["data=mine.jsonl", "teacher=reference"]},
        ),
        (("[mine.jsonl]", TEACHER, "study.grid.benchmarks=mine.jsonl"), None),
    ],
)
def test_pairs_of_ones_own_by_a_word(
    words: tuple[str, ...],
    sets: dict[str, list[str]] | None,
    own: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(own)
    study, stages = planned(f"study.grid.pairs={words[0]}", *words[1:])
    assert study.grid is not None
    assert sets is None or study.grid.pairs == sets
    told = estimate(study, stages, {}, "weights")
    assert all(cost.flops is not None for cost in told.costs.values())
    assert not told.model.missing


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("[runs/nowhere]",), "pairs=runs/nowhere does not exist; give a name of conf/data"),
        (("runs",), "pairs=runs is no folder of pairs"),
        (("nowhere",), "unknown data 'nowhere'"),
        (("nowhere.jsonl", TEACHER), "nowhere.jsonl is not a file"),
        (("mine.jsonl",), "teacher=oracle solves embedded families only, not data=mine.jsonl"),
        (("[teacher=reference]",), "'teacher=reference' is none of: a name of conf/data"),
        (("{m: [runs/mypairs,teacher=reference]}",), "'m' has finished pairs"),
        (("[runs/mypairs,./runs/mypairs]",), "'mypairs' occurs twice; name them"),
        (("[runs/mypairs",), "'[runs/mypairs'"),
        (("runs/mypairs", "study.grid.verify=[both]"), "'mypairs' are finished; leave verify out"),
        (("runs/mypairs", "study.grid.benchmarks=[no.jsonl]"), "no.jsonl is not a file"),
        (("runs/mypairs", "study.assumptions.gpu=h1000"), "unknown card; known: b200"),
    ],
)
def test_pairs_that_are_none_are_refused_by_the_plan(
    words: tuple[str, ...], message: str, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(own)
    with pytest.raises(BadInput) as refused:
        planned(f"study.grid.pairs={words[0]}", *words[1:])
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_card_gives_gpu_hours_and_a_cluster_needs_one() -> None:
    slurm = SlurmConfig(name="slurm", gpus_per_node=8)
    study, _ = planned("study.grid.models=[qwen2.5-7b]", "study.assumptions.gpu=NVIDIA A100")
    told = estimate(study, plan(study, slurm), {}, "weights", slurm)
    cost = told.costs["train-qwen2.5-7b-domains-mixed-0.5-s0"]
    assert cost.work_seconds == pytest.approx(cost.flops / (0.4 * 312e12) / 8)
    assert cost.gpu_seconds == pytest.approx(8 * (25 + cost.work_seconds)), "start-up occupies GPUs"
    assert re.search(r"GPU-hours, of which [\d.]+ start-up \(a100: 312 TFLOP/s", told.total)
    assert told.wall_seconds() < sum(need.seconds or 0 for need in told.costs.values())
    study, _ = planned("study.grid.models=[qwen2.5-7b]")
    told = estimate(study, plan(study, slurm), {}, "weights", slurm)
    assert "missing: time: the card, such as study.assumptions.gpu=h100" in told.total
    assert "FLOPs" in told.total


OF_ONE = (
    "study.grid.models=[tiny, {smollm2-64m: [train.executor.gpus_per_node=8, train.batch_size=16, "
    "train.lora=true, eval.limit=5]}]"
)


def test_a_model_has_settings_and_jobs_of_its_own() -> None:
    study, _ = planned(OF_ONE, "study.grid.eval=[executor.gpus_per_node=1, limit=9]")
    stages = {
        stage.name: stage for stage in plan(study, SlurmConfig(name="slurm", gpus_per_node=4))
    }
    end = "-domains-mixed-0.5-s0"
    gpus = {name: stage.executor.gpus_per_node for name, stage in stages.items()}
    assert gpus[f"train-tiny{end}"] == 4
    assert gpus[f"train-smollm2-64m{end}"] == 8
    assert gpus[f"eval-tiny{end}"] == gpus[f"eval-smollm2-64m{end}"] == gpus["eval-tiny"] == 1
    own, other = stages[f"train-smollm2-64m{end}"], stages[f"train-tiny{end}"]
    assert own.planned(Train).batch_size == 16
    assert own.planned(Train).lora
    assert own.planned(Train).model.name == "smollm2-64m"
    assert other.planned(Train).batch_size == 8
    assert not other.planned(Train).lora
    limits = {name: s.planned(Eval).limit for name, s in stages.items() if s.verb == "eval"}
    assert limits["eval-smollm2-64m"] == limits[f"eval-smollm2-64m{end}"] == 5
    assert limits["eval-tiny"] == limits[f"eval-tiny{end}"] == 9
    assert not any("executor" in word for stage in stages.values() for word in stage.overrides)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("eval=[executor.max_parallel_jobs=4]", "all stages share the study's"),
        ("train=[executor=ray]", "executor=ray: all stages share the study's"),
        ("train=[executor.gpus=4]", "unknown key 'executor.gpus'; known: gpus_per_node"),
        ("models=[{tiny: [train.executor.nodes=0]}]", "executor.nodes=0: should be greater than 0"),
        ("models=[{tiny: [train.batch_size=0]}]", "study.grid.models={tiny: [train.batch_size=0]}"),
        ("models=[{tiny: [train.lorra=true]}]", "{tiny: [train.lorra=true]}"),
        ("models=[{tyny: [train.lora=true]}]", "unknown model 'tyny'"),
    ],
)
def test_what_is_no_setting_of_a_job_is_refused(words: str, message: str) -> None:
    with pytest.raises(BadInput, match=re.escape(message)):
        planned(f"study.grid.{words}")


def test_rates_of_all_weights_are_told_for_adapters() -> None:
    def told(*words: str) -> bool:
        return any("lora=true at the learning rates" in line for line in notes(settings(*words)))

    def settings(*words: str) -> Train:
        return cli.compose("train", Train, ["model=tiny", "ratio=0.5", "pairs=x", *words])

    assert told("lora=true")
    assert not told("lora=true", "lr=1e-3")
    assert not told()


STRATEGIES = (
    "study.grid.strategies=[self_consistency, {v4: [strategy=weighted_vote, strategy.n=4]}, "
    "{hot: [strategy=short_m_at_k, temperature=1]}, cot_decoding]"
)


def test_votes_share_the_samples_of_a_student() -> None:
    _, stages = planned(STRATEGIES)
    end = "eval-tiny-domains-mixed-0.5-s0"
    found = {s.name.removeprefix(end): s.planned(Eval) for s in stages if s.name.startswith(end)}
    assert list(found) == [
        *("", "-samples1", "-samples2"),
        *("-self_consistency", "-v4", "-hot", "-cot_decoding"),
    ]
    first, second = found["-samples1"], found["-samples2"]
    assert (first.samples, first.temperature, first.logprobs) == (8, 0.7, True)
    assert (second.samples, second.temperature, second.logprobs) == (8, 1.0, False)
    for name in ("self_consistency", "v4"):
        assert str(found[f"-{name}"].samples_from).endswith(f"{end}-samples1")
        assert found[f"-{name}"].temperature == 0.7
        assert found[f"-{name}"].completions == 0
    assert str(found["-hot"].samples_from).endswith("-samples2")
    assert found["-cot_decoding"].samples_from is None
    assert found["-cot_decoding"].completions == 10
    assert all(one.max_new_tokens == 160 for one in found.values())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("[nothing]", "study.grid.strategies, nothing: unknown strategy 'nothing'"),
        ("[{a: [temperature=1]}]", "study.grid.strategies, a: give strategy=, one of"),
        ("[{a: [strategy=best_of_n, strategy.k=2]}]", "study.grid.strategies, a: unknown key 'k'"),
        ("[cot_decoding, cot_decoding]", "'cot_decoding' occurs twice"),
    ],
)
def test_strategies_that_are_none_are_refused(given: str, message: str) -> None:
    with pytest.raises(BadInput, match=re.escape(message)):
        planned(f"study.grid.strategies={given}")


@pytest.mark.slow
def test_strategies_are_arms_of_a_study(tmp_path: Path) -> None:
    words = (*GRID, "study.grid.ratios=[0,1]", "study.grid.seeds=[0]", f"out={tmp_path / 'study'}")
    done(*words)
    said = done(*words, "study.grid.strategies=[self_consistency, cot_decoding]")
    assert "train-tiny-demo-mixed-0-s0: finished before" in said
    with open(tmp_path / "study" / "tables" / "arms.csv", encoding="utf-8") as file:
        arms = [row["arm"] for row in csv.DictReader(file)]
    assert any("self_consistency n=8" in arm for arm in arms)
    assert any("cot_decoding k=10" in arm for arm in arms)


def test_listed_stages_are_counted_and_the_unknown_is_named() -> None:
    study = cli.compose("launch", Config, ["study=demo"]).study
    told = estimate(study, plan(study), {}, "weights")
    assert all(cost.flops is not None for cost in told.costs.values())
    study, stages = planned("study.grid.pairs=[gsm8k]", TEACHER)
    total = estimate(study, stages, {}, "weights").total
    assert "missing: the number of pairs of gsm8k: study.assumptions.pairs={gsm8k: N}" in total
    assert " 0 tokens" not in total
    study, stages = planned(
        "study.grid.pairs=[gsm8k]", TEACHER, "study.assumptions.pairs={gsm8k: 9}"
    )
    told = estimate(study, stages, {}, "weights")
    assert "assumed" in told.total
    assert not told.model.missing


def test_a_dry_run_shows_the_job_scripts(tmp_path: Path) -> None:
    pytest.importorskip("submitit", reason="needs the extra slurm")
    shown = done(
        *GRID,
        "executor=slurm",
        "executor.gpus_per_node=2",
        "executor.sbatch_args={qos: long}",
        "dry_run=true",
        f"out={tmp_path}",
    )
    _, solving, generating, training = shown.split("job script of ")
    assert "gpus-per-node" not in solving, "an oracle needs none"
    assert "#SBATCH --ntasks-per-node=1" in generating
    assert "#SBATCH --ntasks-per-node=2" in training
    assert all("#SBATCH --qos=long" in script for script in (generating, training))
    assert ("there is no sbatch" in training) == (shutil.which("sbatch") is None)


@pytest.mark.slow
def test_seeds_in_rounds(tmp_path: Path) -> None:
    """Untrained students show no gain beyond a wide margin at some look; until then both arms get a
    further seed, an interrupted study goes on, and other hypotheses are refused."""
    plan = "study.hypotheses=[{group: all, hypothesis: no_gain, margin: 0.06, primary: true}]"
    rounds = "study.grid.seeds={first: 2, most: 4}"
    words = [*(word for word in GRID if "seeds" not in word), "study.grid.ratios=[0,1]", rounds]
    said = done(*words, "study.grid.eval=[limit=8]", plan, f"out={tmp_path}")
    assert "a further seed for 2 arms; undecided:\n  no_gain in all of tiny" in said
    assert len(list(tmp_path.glob("train-tiny-demo-mixed-1-s*"))) in (3, 4)
    rows = (tmp_path / "tables" / "hypotheses.csv").read_text().splitlines()
    assert rows[1].startswith("no_gain,true,all")
    again = done(*words, "study.grid.eval=[limit=8]", plan, f"out={tmp_path}")
    assert "python -m train" not in again
    other = command(*words, plan.replace("0.06", "0.5"), f"out={tmp_path}")
    assert other.returncode == 2
    assert "declared before them" in other.stderr
