"""Executors: the same command has the same results locally, in several processes, on Ray, on
Slurm."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import slurm
from conftest import ROOT, command, command_in, done, started
from test_study import GRID

from ratiocine.errors import Failure
from ratiocine.executors import map_in_processes
from ratiocine.records import ScoredCompletion
from ratiocine.stores import read_completions

TRAIN = (
    "ratio=0.5",
    "model=tiny",
    "batch_size=16",
    "micro_batch_size=3",
    "precision=float32",
    "device=cpu",
    "lr=1e-3",
    "threads=1",
)
STUDY = (
    *GRID,
    "study.grid.ratios=[0,0.5]",
    "study.grid.seeds=[0]",
    "study.grid.scenarios=[mixed]",
    'study.grid.train=["batch_size=8","epochs=4","lr=1e-3","precision=float32",'
    '"threads=1","save_steps=5"]',
)


def losses(out: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]


def answers(out: Path) -> list[ScoredCompletion]:
    return [replace(row, seconds=0.0) for row in read_completions(out)]


def made(root: Path) -> dict[str, object]:
    """Losses and evaluations of a study, by stage."""
    found: dict[str, object] = {}
    for folder in root.glob("*-*"):
        if (folder / "metrics.jsonl").exists():
            found[folder.name] = losses(folder)
        if (folder / "scores.json").exists():
            found[folder.name] = json.loads((folder / "scores.json").read_text()), answers(folder)
    return found


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Results of the study on this machine."""
    root = tmp_path_factory.mktemp("here") / "study"
    said = done(*STUDY, f"out={root}")
    assert (root / "report.html").exists()
    assert len(re.findall(r"(?m)^\[\d+/\d+\] .*: python -m ", said)) == 6
    found = made(root)
    assert len(found) == 5
    return found


# This machine


@pytest.mark.slow
def test_questions_are_shared_out_over_processes(student: Path, tmp_path: Path) -> None:
    words = (
        "eval",
        f"model={student / 'model'}",
        "benchmarks=demo",
        "limit=3",
        "max_new_tokens=8",
        "threads=1",
        "samples=2",
        "temperature=1",
    )
    done(*words, f"out={tmp_path / 'one'}")
    done(*words, "executor.nproc_per_node=2", f"out={tmp_path / 'two'}")
    assert answers(tmp_path / "one") == answers(tmp_path / "two")
    one, two = (
        json.loads((tmp_path / name / "scores.json").read_text()) for name in ("one", "two")
    )
    assert one == two


@pytest.mark.slow
def test_a_process_that_answers_is_lost(student: Path, tmp_path: Path) -> None:
    """One line, no process left over, and finished completions stored."""
    words = [
        "eval",
        f"model={student / 'model'}",
        "benchmarks=demo",
        "limit=50",
        "max_new_tokens=200",
        "threads=1",
        "engine.max_batch_size=1",  # goes on for seconds after its first answers
        "executor.nproc_per_node=2",
    ]
    running = subprocess.Popen(
        [sys.executable, "-m", *words, f"out={tmp_path / 'run'}"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    partial = tmp_path / "run" / "completions.partial.jsonl"
    while running.poll() is None and not partial.exists():
        time.sleep(0.05)
    children = [
        c
        for c in psutil.Process(running.pid).children(recursive=True)
        if "spawn_main" in " ".join(c.cmdline())
    ]
    assert len(children) == 2
    children[0].kill()
    _, said = running.communicate(timeout=120)
    assert running.returncode == 1
    assert said.splitlines()[-1].startswith("eval: a worker process was lost"), said[-2000:]
    assert "Traceback" not in said
    assert not [
        child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("eval", "model=tiny", "executor.gpus_per_node=8"),
            "executor.gpus_per_node=8: this machine has 0",
        ),
        (
            (
                "train",
                "ratio=0.5",
                "model=tiny",
                "executor.gpus_per_node=2",
                "executor.nproc_per_node=3",
            ),
            "nproc_per_node=3 and gpus_per_node=2: each GPU has one process",
        ),
        (
            ("train", "ratio=0.5", "model=tiny", "executor.nodes=2"),
            "give executor.rdzv_endpoint=HOST:PORT",
        ),
        (
            ("train", "ratio=0.5", "model=tiny", "executor.rdzv_endpoint=a:1"),
            "rdzv_endpoint=a:1 has no effect with nodes=1",
        ),
        (
            ("train", "ratio=0.5", "model=tiny", "executor=slrm"),
            "unknown executor 'slrm'; known: local, ray, slurm; did you mean 'slurm'?",
        ),
        (
            ("eval", "model=tiny", "executor=slurm", "executor.nodes=2"),
            "requests are shared among the processes of one node",
        ),
        (("distill", "executor.nproc_per_node=2"), "teacher=oracle has nothing to share out"),
        (
            ("train", "ratio=0.5", "model=tiny", "batch_size=2", "executor.nproc_per_node=4"),
            "with 4 ranks some would be idle",
        ),
        (
            ("rl", "model=tiny", "batch_size=32", "executor.nproc_per_node=3"),
            "batch_size=32 is no multiple of num_minibatches=1 times 3 ranks",
        ),
        (
            (
                "rl",
                "model=tiny",
                "executor.nproc_per_node=2",
                "deepspeed=zero2",
                "objective.beta=0.1",
            ),
            "holds no reference model beside the policy",
        ),
        (
            ("rl", "model=tiny", "executor.nproc_per_node=2", "engine=vllm", "deepspeed=zero3"),
            "engine=vllm needs whole weights",
        ),
        (
            ("rl", "model=tiny", "executor.nproc_per_node=2", "fsdp=true"),
            "deepspeed=zero3 shards as much",
        ),
        (
            (
                "train",
                "ratio=0.5",
                "model=tiny",
                "executor.nproc_per_node=2",
                "fsdp=true",
                "deepspeed=zero2",
            ),
            "both shard a model",
        ),
        (
            ("train", "ratio=0.5", "model=tiny", "fsdp=true"),
            "fsdp=true shards a model across ranks: executor.gpus_per_node=8",
        ),
        (
            (
                "train",
                "ratio=0.5",
                "model=tiny",
                "executor.nproc_per_node=2",
                "lora=true",
                "load_in_4bit=true",
                "fsdp=true",
            ),
            "zero1 and zero2 leave weights unsharded",
        ),
        (
            ("launch.run", "--", "fly"),
            "'fly' is no verb: write -- and then one of distill, train, rl, eval or launch, "
            "with its overrides",
        ),
    ],
)
def test_places_that_cannot_be(words: tuple[str, ...], said: str) -> None:
    refused = command(*words)
    assert (refused.returncode, said in refused.stderr) == (2, True), refused.stderr


@pytest.mark.parametrize(
    ("words", "composed"),
    [
        (("--gpus-per-node", "8"), "executor=local executor.gpus_per_node=8"),
        (
            ("--gpus-per-node", "8", "--nodes", "2", "--executor", "slurm"),
            "executor=slurm executor.gpus_per_node=8 executor.nodes=2",
        ),
        (
            ("--nproc-per-node", "2", "--nodes", "2", "--rdzv-endpoint", "a:29400"),
            "executor=local executor.nproc_per_node=2 executor.rdzv_endpoint=a:29400 "
            "executor.nodes=2",
        ),
    ],
)
def test_the_launcher_composes_a_command(words: tuple[str, ...], composed: str) -> None:
    said = done("launch.run", *words, "--dry-run", "--", "train", "+ratio=0.5", "model=tiny")
    assert said.strip() == f"python -m train +ratio=0.5 model=tiny {composed}"


def test_a_launcher_of_ranks_is_not_for_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    refused = command("eval", "model=tiny")
    assert (
        refused.returncode,
        "executor.gpus_per_node= shares the requests among processes" in refused.stderr,
    ) == (2, True)


def test_slurm_that_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    refused = command("train", "ratio=0.5", "model=tiny", "executor=slurm")
    assert (refused.returncode, "there is no sbatch on this machine" in refused.stderr) == (2, True)


@pytest.mark.slow
def test_a_slurm_without_a_controller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line with sbatch's words, which it says after some seconds."""
    if shutil.which("sbatch") is None:
        pytest.skip("needs the package slurm-client")
    file = tmp_path / "slurm.conf"
    file.write_text(
        "ClusterName=x\nSlurmctldHost=localhost\nSlurmctldPort=9\nAuthType=auth/none\n"
        "NodeName=localhost CPUs=1\nPartitionName=p Nodes=localhost Default=YES\n"
    )
    monkeypatch.setenv("SLURM_CONF", str(file))
    for words in (("eval", "model=tiny"), STUDY):
        refused = command(*words, "executor=slurm", f"out={tmp_path / words[0]}")
        assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1), refused.stderr
        assert (
            "no controller of Slurm can be reached from this machine; sbatch says: 'Batch job "
            in (refused.stderr)
        )
    assert not (tmp_path / "launch").exists(), "no plan in the way of another study"


@pytest.mark.slow
def test_a_study_of_several_processes_leaves_an_oracle_alone(tmp_path: Path) -> None:
    """A stage without a model ignores them instead of being refused."""
    stages = (
        "[{name: pairs, verb: distill, overrides: ['limit=2', 'model=tiny']}, "
        "{name: scores, verb: eval, overrides: ['model=tiny', 'limit=1', 'max_new_tokens=2', "
        "'threads=1']}]"
    )
    done(
        "launch",
        "study.name=x",
        f"study.stages={stages}",
        "study.report=[]",
        "executor.nproc_per_node=2",
        f"out={tmp_path / 'x'}",
    )
    assert len(list((tmp_path / "x").glob("*-*/DONE"))) == 2


def test_a_stage_that_fails_leaves_the_others(tmp_path: Path) -> None:
    """Independent stages run, dependent ones are named; the exit code is that of the failure."""
    stages = (
        "[{name: bad, verb: distill, overrides: ['limit=2', 'model=tiny', 'teacher=openai', "
        "'teacher.engine.model=m', 'teacher.engine.base_url=http://127.0.0.1:9/v1', "
        "'teacher.engine.retry_seconds=1']}, "
        "{name: after, verb: train, overrides: ['ratio=0', 'model=tiny', 'pairs={bad}', "
        "'lr=1e-3']}, "
        "{name: good, verb: distill, overrides: ['limit=2', 'model=tiny']}]"
    )
    result = command(
        "launch",
        "study.name=x",
        f"study.stages={stages}",
        "study.report=[]",
        f"out={tmp_path / 'x'}",
    )
    assert result.returncode in (1, 2), result.stderr
    assert (
        "launch: bad failed, so that after could not run; the same command resumes from here"
        in result.stderr
    )
    assert len(list((tmp_path / "x").glob("good-*/DONE"))) == 1


@pytest.mark.long
def test_a_stage_killed_as_for_its_memory_is_named_as_such(pairs: Path, tmp_path: Path) -> None:
    stages = (
        "[{name: large, verb: train, overrides: ['ratio=0', 'model=tiny', "
        f"'pairs={pairs}', 'lr=1e-3', 'batch_size=4', 'epochs=500', 'threads=1']}}]"
    )
    err = tmp_path / "err"
    words = ("study.name=x", f"study.stages={stages}", "study.report=[]", f"out={tmp_path / 'x'}")
    running = started("launch", *words, err=err)
    while running.poll() is None and not list((tmp_path / "x").glob("large-*/metrics.jsonl")):
        time.sleep(0.05)
    (stage,) = psutil.Process(running.pid).children()
    stage.kill()
    assert running.wait(60) == 1
    assert (
        "launch: large ended with exit code 137: ended by SIGKILL, which the kernel or the cluster "
        "sends where memory runs out" in err.read_text()
    )


def _slow_square(n: int) -> int:
    time.sleep(0.002 * (n % 3))
    return n * n


@pytest.mark.parametrize("workers", [1, 2])
def test_results_of_several_processes_come_in_the_order_of_the_items(workers: int) -> None:
    found = list(map_in_processes(_slow_square, iter(range(40)), workers))
    assert found == [n * n for n in range(40)]


def _killed(n: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return n


def test_a_lost_process_is_said() -> None:
    with pytest.raises(Failure, match="a process was lost"):
        list(map_in_processes(_killed, range(4), 2))


# Ray


@pytest.mark.slow
def test_a_study_on_a_ray_cluster_that_loses_a_worker(
    here: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two nodes of one CPU each, one of which is killed during training."""
    pytest.importorskip("ray", reason="needs the extra ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "120")  # a busy machine
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, "node_ip_address": "127.0.0.1"},
    )
    try:
        nodes = [cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1") for _ in range(2)]
        environment = {**os.environ, "RAY_ADDRESS": cluster.address}
        words = [sys.executable, "-m", *STUDY, "executor=ray", f"out={tmp_path / 'study'}"]
        running = subprocess.Popen(
            words,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        while (
            running.poll() is None
            and len(list((tmp_path / "study").glob("train-*/metrics.jsonl"))) < 2
        ):
            time.sleep(0.05)
        cluster.remove_node(nodes[0], allow_graceful=False)
        said, _ = running.communicate(timeout=400)
        assert running.returncode == 0, said[-3000:]
    finally:
        cluster.shutdown()
    assert made(tmp_path / "study") == here


# Slurm


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of clients of a real one-node Slurm."""
    pytest.importorskip("submitit", reason="needs the extra slurm")
    if lacking := slurm.missing():
        pytest.skip(lacking)
    with slurm.cluster(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


SLURM = ("executor=slurm", "executor.cpus_per_task=1", "executor.time_limit_hours=0.2")


@pytest.mark.slow
def test_two_tasks_of_slurm_train_together(
    cluster: dict[str, str], pairs: Path, tmp_path: Path
) -> None:
    done("train", *TRAIN, f"pairs={pairs}", f"out={tmp_path / 'one'}")
    run = command_in(
        cluster,
        "train",
        *TRAIN,
        *SLURM,
        "executor.nproc_per_node=2",
        f"pairs={pairs}",
        f"out={tmp_path / 'two'}",
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-4)
    assert "trained 3 steps" in run.stderr  # what the job says is shown


@pytest.mark.slow
def test_a_sweep_is_an_array_of_slurm(
    cluster: dict[str, str], student: Path, tmp_path: Path
) -> None:
    words = ("eval", f"model={student / 'model'}", "max_new_tokens=4", "threads=1")
    run = command_in(
        cluster,
        *words,
        "-m",
        "limit=2,3,4",
        *SLURM,
        "executor.max_parallel_jobs=2",
        f"out={tmp_path / 'swept'}",
    )
    assert run.returncode == 0, run.stdout + run.stderr
    jobs = [
        line.split(":")[0].removeprefix("job ")
        for line in run.stdout.splitlines()
        if line.startswith("job ")
    ]
    assert [job.partition("_")[2] for job in jobs] == ["0", "1", "2"]
    assert len({job.partition("_")[0] for job in jobs}) == 1
    for limit in (2, 3, 4):
        done(*words, f"limit={limit}", f"out={tmp_path / str(limit)}")
        assert answers(tmp_path / "swept" / f"limit={limit}") == answers(tmp_path / str(limit))


@pytest.mark.slow
def test_a_study_on_slurm(cluster: dict[str, str], here: dict[str, object], tmp_path: Path) -> None:
    run = command_in(cluster, *STUDY, *SLURM, f"out={tmp_path / 'study'}")
    assert run.returncode == 0, run.stdout + run.stderr
    assert made(tmp_path / "study") == here


@pytest.mark.slow
def test_a_launch_that_was_killed_follows_its_jobs_again(
    cluster: dict[str, str], here: dict[str, object], tmp_path: Path
) -> None:
    """No stage is submitted twice while its first job is there."""
    words = [sys.executable, "-m", *STUDY, *SLURM, f"out={tmp_path / 'study'}"]
    later = [*words, "executor.sbatch_args={begin: now+25}"]  # it waits while the second one starts
    first = subprocess.Popen(later, cwd=ROOT, env=cluster, stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    job = next(line for line in first.stdout if line.startswith("job ")).split(":")[0]
    first.kill()
    first.wait()
    again = command_in(cluster, *words[2:])
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"{job}: " in again.stdout
    assert "(submitted by an earlier launch)" in again.stdout
    assert made(tmp_path / "study") == here


@pytest.mark.slow
def test_what_is_wrong_in_a_job_is_said_and_an_interrupt_cancels_it(
    cluster: dict[str, str], pairs: Path, tmp_path: Path
) -> None:
    refused = command_in(
        cluster, "train", *TRAIN, *SLURM, "pairs=/nowhere", f"out={tmp_path / 'x'}"
    )
    assert (refused.returncode, "train: /nowhere does not exist" in refused.stderr) == (2, True), (
        refused.stderr
    )
    words = [
        sys.executable,
        "-m",
        "train",
        *TRAIN,
        *SLURM,
        "epochs=500",
        f"pairs={pairs}",
        f"out={tmp_path / 'long'}",
    ]
    running = subprocess.Popen(
        words, cwd=ROOT, env=cluster, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    while running.poll() is None and not (tmp_path / "long" / "metrics.jsonl").exists():
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=60)
    assert running.returncode == 130
    until = time.monotonic() + 60
    while slurm.leftovers(cluster["SLURM_CONF"], "job") and time.monotonic() < until:
        time.sleep(0.5)
    assert not slurm.leftovers(cluster["SLURM_CONF"], "job")


@pytest.mark.slow
def test_a_job_that_is_preempted_goes_on(
    cluster: dict[str, str], pairs: Path, tmp_path: Path
) -> None:
    """By the signal of a preemption: the job is requeued under the same number."""
    words = (
        "train",
        *TRAIN,
        "epochs=40",
        f"pairs={pairs}",
    )  # no checkpoint but the one that is made at the signal
    done(*words, f"out={tmp_path / 'one'}")
    running = subprocess.Popen(
        [sys.executable, "-m", *words, *SLURM, f"out={tmp_path / 'two'}"],
        cwd=ROOT,
        env=cluster,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    log = tmp_path / "two" / "metrics.jsonl"
    while running.poll() is None and not (log.exists() and len(log.read_text().splitlines()) >= 5):
        time.sleep(0.02)
    (job,) = subprocess.run(
        ["squeue", "-h", "-o", "%A"], env=cluster, capture_output=True, text=True
    ).stdout.split()
    subprocess.run(["scancel", "--signal=USR2", job], env=cluster, check=True)
    said, _ = running.communicate(timeout=240)
    assert running.returncode == 0, said[-3000:]
    assert losses(tmp_path / "two") == losses(tmp_path / "one")
