"""Several ranks, started as users start them: the same losses as one process, and one run
directory."""

import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil
import pytest
from conftest import ROOT, command, done
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

BIN = Path(sys.executable).parent
TRAIN = (
    "ratio=0.5",
    "model=tiny",
    "batch_size=16",
    "micro_batch_size=3",
    "epochs=2",
    "precision=float32",
    "device=cpu",
    "lr=1e-3",
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def started(how: str, ranks: int, verb: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A verb on so many ranks, by torchrun, accelerate, deepspeed or our own launcher."""
    if any(word.startswith("deepspeed=") for word in words):
        pytest.importorskip("deepspeed", reason="needs the extra deepspeed")
    port = str(free_port())
    launcher = {
        "torchrun": ("torchrun", "--nproc_per_node", str(ranks), "--master_port", port, "-m"),
        "accelerate": (
            "accelerate",
            "launch",
            "--cpu",
            "--num_processes",
            str(ranks),
            "--num_machines",
            "1",
            "--mixed_precision",
            "no",
            "--dynamo_backend",
            "no",
            "--main_process_port",
            port,
            "--module",
        ),
        "deepspeed": (
            "deepspeed",
            "--no_local_rank",
            "--num_accelerators",
            str(ranks),
            "--master_port",
            port,
            "--module",
        ),
        "launch.run": (sys.executable, "-m", "launch.run", "--nproc-per-node", str(ranks), "--"),
    }[how]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "DS_ACCELERATOR": "cpu",
        "CUDA_VISIBLE_DEVICES": "",
    }
    return subprocess.run(
        [str(BIN / launcher[0]), *launcher[1:], verb, *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )


def losses(out: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]


Made = Callable[[str], Path]  # a run by its name, made on first use


@pytest.fixture(scope="module")
def alone(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """What one process makes of it, all weights (`full`) or adapters (`lora`)."""

    @cache
    def made(what: str) -> Path:
        out = tmp_path_factory.mktemp("alone") / what
        more = {"full": (), "lora": ("lora=true",)}[what]
        done("train", *TRAIN, *more, f"pairs={pairs}", f"out={out}")
        return out

    return made


def check_same_weights(run: Path, other: Path) -> None:
    first, second = (load_file(out / "model" / "model.safetensors") for out in (run, other))
    assert first.keys() == second.keys()
    assert all((first[name] - second[name]).abs().max() < 1e-3 for name in first)


LONG = (*TRAIN[:4], "epochs=12", *TRAIN[5:], "save_steps=2")


@pytest.fixture(scope="module")
def long(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process makes of a longer run."""
    out = tmp_path_factory.mktemp("long") / "run"
    done("train", *LONG, f"pairs={pairs}", f"out={out}")
    return out


SLOW = pytest.mark.slow


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "ranks", "what", "words"),
    [
        ("torchrun", 2, "full", ()),
        ("deepspeed", 2, "lora", ("deepspeed=zero3", "lora=true")),
        ("launch.run", 2, "full", ("fsdp=true",)),
        ("torchrun", 4, "lora", ("lora=true",)),
        ("accelerate", 2, "full", ()),
        ("torchrun", 4, "full", ("deepspeed=zero3",)),
        ("deepspeed", 2, "full", ("deepspeed=zero1",)),
        ("deepspeed", 2, "full", ("deepspeed=zero2",)),
        ("deepspeed", 2, "full", ("deepspeed=zero3",)),
        ("deepspeed", 4, "lora", ("deepspeed=zero2", "lora=true")),
        ("launch.run", 2, "lora", ("deepspeed=zero1", "lora=true")),
        ("launch.run", 4, "lora", ("fsdp=true", "lora=true")),
        ("torchrun", 4, "full", ("fsdp=true",)),
        ("launch.run", 2, "full", ("deepspeed=zero2-offload",)),
        ("launch.run", 2, "full", ("deepspeed=zero3-offload",)),
    ],
)
def test_ranks_make_what_one_process_makes(
    how: str,
    ranks: int,
    what: str,
    words: tuple[str, ...],
    alone: Made,
    pairs: Path,
    tmp_path: Path,
) -> None:
    """Uneven lengths, and a last batch of half the size."""
    out = tmp_path / "run"
    run = started(how, ranks, "train", *TRAIN, *words, f"pairs={pairs}", f"out={out}")
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-4000:]
    assert losses(out) == pytest.approx(losses(alone(what)), abs=1e-4)
    check_same_weights(out, alone(what))
    AutoModelForCausalLM.from_pretrained(out / "model")
    assert run.stdout.count("trained 6 steps") == 1


def test_what_is_wrong_is_said_once(pairs: Path, tmp_path: Path) -> None:
    run = started(
        "torchrun", 2, "train", *TRAIN, "lr=-1", f"pairs={pairs}", f"out={tmp_path / 'x'}"
    )
    assert run.returncode != 0
    assert run.stderr.count("lr=-1") == 1
    # torchrun prints a traceback, of its own files only.
    assert f"{ROOT}/ratiocine/" not in run.stderr and f"{ROOT}/train/" not in run.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("train", "ratio=0.5", "model=tiny", "deepspeed=zero2"),
            "deepspeed=zero2 ",
        ),
        (
            ("train", "ratio=0.5", "model=tiny", "deepspeed=zero4"),
            "unknown deepspeed 'zero4'; known: none, zero1, zero2",
        ),
    ],
)
def test_what_cannot_work_is_refused(words: tuple[str, ...], said: str) -> None:
    refused = command(*words)
    assert (refused.returncode, said in refused.stderr) == (2, True)


def test_the_launchers_own_word_is_no_key(pairs: Path, tmp_path: Path) -> None:
    """deepspeed without --no_local_rank gives every process one more word."""
    done(
        "train",
        "--local_rank=0",
        *TRAIN,
        "max_steps=1",
        f"pairs={pairs}",
        f"out={tmp_path / 'run'}",
    )


def begun(out: Path, *words: str) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """A verb, and its processes once it has made three steps."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "DS_ACCELERATOR": "cpu",
        "CUDA_VISIBLE_DEVICES": "",
    }
    running = subprocess.Popen(
        [sys.executable, "-m", *words, f"out={out}"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    log = out / "metrics.jsonl"
    while running.poll() is None and not (log.exists() and len(log.read_text().splitlines()) >= 3):
        time.sleep(0.02)
    return running, psutil.Process(running.pid).children(recursive=True)


def of_rank(children: list[psutil.Process], rank: int) -> psutil.Process:
    return next(child for child in children if child.environ().get("RANK") == str(rank))


def gone(children: list[psutil.Process], seconds: float = 5) -> bool:
    _, alive = psutil.wait_procs(children, timeout=seconds)
    return not [child for child in alive if child.status() != psutil.STATUS_ZOMBIE]


def lines(said: str) -> list[str]:
    return [
        line
        for line in said.replace("\r", "\n").splitlines()
        if line.startswith(("train:", "train, ", "rl:", "rl, "))
    ]


def kill_a_rank(out: Path, more: tuple[str, ...], victim: int) -> None:
    """At a random moment after the third step of two ranks; a line for each of them, and no process
    left."""
    running, children = begun(out, *more)
    time.sleep(random.Random(f"{out.parent.name}{victim}").uniform(0, 1.5))
    of_rank(children, victim).kill()
    began = time.monotonic()
    _, said = running.communicate(timeout=60)
    assert running.returncode == 1
    assert time.monotonic() - began < 20
    assert gone(children)
    told = lines(said)
    assert len(told) == 2, said[-3000:]
    assert f"train: rank {victim} was ended by SIGKILL, and the other ranks with it" in told
    assert any(f"rank {1 - victim}: while" in line for line in told)
    assert "Traceback" not in said
    assert not (out / "DONE").exists()


@pytest.mark.slow
def test_a_killed_rank_ends_all_and_one_process_goes_on(
    long: Path, pairs: Path, tmp_path: Path
) -> None:
    words = ("train", *LONG, f"pairs={pairs}")
    kill_a_rank(tmp_path / "run", (*words, "executor.nproc_per_node=2"), 1)
    done(*words, f"out={tmp_path / 'run'}")
    assert losses(tmp_path / "run") == pytest.approx(losses(long), abs=1e-5)
    check_same_weights(tmp_path / "run", long)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "victim"),
    [
        ((), 1),
        ((), 0),
        (("deepspeed=zero2",), 1),
        (("deepspeed=zero3",), 0),
        (("fsdp=true",), 1),
    ],
)
def test_killed_ranks_go_on_together(
    words: tuple[str, ...], victim: int, long: Path, pairs: Path, tmp_path: Path
) -> None:
    if "deepspeed" in "".join(words):
        pytest.importorskip("deepspeed", reason="needs the extra deepspeed")
    more = ("train", *LONG, "executor.nproc_per_node=2", *words, f"pairs={pairs}")
    kill_a_rank(tmp_path / "run", more, victim)
    done(*more, f"out={tmp_path / 'run'}")
    assert losses(tmp_path / "run") == pytest.approx(losses(long), abs=1e-5)
    check_same_weights(tmp_path / "run", long)


@pytest.mark.slow
def test_a_killed_launcher_leaves_no_rank(pairs: Path, tmp_path: Path) -> None:
    running, children = begun(
        tmp_path / "run", "train", *LONG, "executor.nproc_per_node=2", f"pairs={pairs}"
    )
    running.kill()
    running.wait()
    assert gone(children, 20)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "then"),
    [
        (("executor.nproc_per_node=2",), ()),
        ((), ("executor.nproc_per_node=4",)),
        (("executor.nproc_per_node=2", "fsdp=true"), ("executor.nproc_per_node=4", "fsdp=true")),
    ],
)
def test_a_checkpoint_is_read_by_another_number_of_ranks(
    first: tuple[str, ...], then: tuple[str, ...], long: Path, pairs: Path, tmp_path: Path
) -> None:
    running, _ = begun(tmp_path / "run", "train", *LONG, *first, f"pairs={pairs}")
    running.terminate()
    assert running.wait(60) == 130
    done("train", *LONG, *then, f"pairs={pairs}", f"out={tmp_path / 'run'}")
    assert losses(tmp_path / "run") == pytest.approx(losses(long), abs=1e-5)


@pytest.mark.slow
def test_deepspeeds_checkpoints_are_for_as_many_ranks(pairs: Path, tmp_path: Path) -> None:
    pytest.importorskip("deepspeed", reason="needs the extra deepspeed")
    more = ("train", *LONG, f"pairs={pairs}")
    running, _ = begun(tmp_path / "run", *more, "executor.nproc_per_node=2", "deepspeed=zero2")
    running.terminate()
    assert running.wait(60) == 130
    refused = command(
        *more, "executor.nproc_per_node=4", "deepspeed=zero2", f"out={tmp_path / 'run'}"
    )
    assert (refused.returncode, "checkpoints of 2 ranks with sharding zero2" in refused.stderr) == (
        2,
        True,
    ), refused.stderr


@pytest.mark.slow
def test_a_rank_that_hangs_is_not_waited_for_for_ever(pairs: Path, tmp_path: Path) -> None:
    running, children = begun(
        tmp_path / "run",
        "train",
        *LONG,
        "executor.nproc_per_node=2",
        "ddp_timeout=5",
        f"pairs={pairs}",
    )
    of_rank(children, 1).suspend()
    began = time.monotonic()
    try:
        _, said = running.communicate(timeout=90)
    finally:
        for process in children:
            with suppress(psutil.NoSuchProcess):
                process.kill()
    assert 4 < time.monotonic() - began < 45
    assert running.returncode == 1
    assert gone(children)
    assert any(
        "train, rank 0: while training this rank waited for another in vain" in line
        for line in lines(said)
    ), said[-2000:]


def two(
    port: int, words: tuple[str, ...], more: list[tuple[str, ...]], paths: list[str]
) -> list[subprocess.CompletedProcess[str]]:
    """Two ranks that are started by hand, as two nodes would be."""
    running = []
    for rank in range(2):
        environment = {
            **os.environ,
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([paths[rank], os.environ["PYTHONPATH"]]),
        }
        running.append(
            subprocess.Popen(
                [sys.executable, "-m", *words, *more[rank]],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    said = [process.communicate(timeout=180) for process in running]
    return [
        subprocess.CompletedProcess([], process.returncode, *told)
        for process, told in zip(running, said, strict=True)
    ]


@pytest.mark.slow
def test_ranks_that_disagree_are_refused_before_the_first_step(pairs: Path, tmp_path: Path) -> None:
    """On the configuration, and on the version of a library."""
    words = ("train", *TRAIN, f"pairs={pairs}", f"out={tmp_path / 'run'}")
    first, second = two(free_port(), words, [("lr=1e-3",), ("lr=2e-3",)], ["", ""])
    assert (first.returncode, second.returncode) == (2, 2), first.stderr + second.stderr
    assert "ranks do not agree on lr=: rank 0 on " in first.stderr
    assert "has 0.001, rank 1 on " in first.stderr
    assert "has 0.002" in first.stderr
    other = tmp_path / "other" / "peft-0.0.1.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: peft\nVersion: 0.0.1\n")
    first, _ = two(free_port(), words, [(), ()], ["", str(other.parent)])
    assert first.returncode == 2
    assert "ranks do not agree on peft: rank 0" in first.stderr
    assert "has 0.0.1" in first.stderr


@pytest.mark.slow
def test_a_port_in_use_is_one_line(pairs: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        environment = {
            **os.environ,
            "RANK": "0",
            "LOCAL_RANK": "0",
            "WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(taken.getsockname()[1]),
        }
        words = [sys.executable, "-m", "train", *TRAIN, f"pairs={pairs}", f"out={tmp_path / 'run'}"]
        run = subprocess.run(
            words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
        )
    assert run.returncode == 1
    (told,) = lines(run.stderr)
    assert told.endswith(" is in use; give the launcher another one")
    assert "Traceback" not in run.stderr


# Rewards


RL = (
    "data=demo",
    "limit=8",
    "reward=e2h",
    "reward.terms=[{name: accuracy}, {name: overlong, limit: 40, cache: 39, weight: 0.3}]",
    "max_new_tokens=24",
    "batch_size=16",
    "num_generations=4",
    "micro_batch_size=2",
    "max_steps=4",
    "num_minibatches=2",
    "lr=1e-3",
    "val_size=12",
    "eval_steps=2",
    "save_steps=1",
    "seed=1",
    "precision=float32",
    "rollout_dtype=float32",
)


@pytest.fixture(scope="module")
def rewarded(chooser: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """What one process makes of it."""

    @cache
    def made(what: str) -> Path:
        out = tmp_path_factory.mktemp("rewarded") / what
        more = {"full": (), "lora": ("lora=true",), "kl": ("objective.beta=0.05",)}[what]
        done("rl", f"model={chooser}", *RL, *more, f"out={out}")
        return out

    return made


def steps(out: Path) -> list[tuple[float, ...]]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [
        tuple(
            row[name]
            for name in (
                "loss",
                "grad_norm",
                "reward",
                "sampling_logp_difference",
                "entropy",
                "clip_ratio",
                "tokens",
            )
        )
        for row in rows
    ]


def said_by(out: Path) -> list[tuple[object, ...]]:
    rows = [json.loads(line) for line in (out / "completions.jsonl").read_text().splitlines()]
    return [(row["step"], row["id"], row["completion"], row["reward"]) for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ranks", "what", "words"),
    [
        (2, "full", ()),
        *(
            pytest.param(*case, marks=SLOW)
            for case in (
                (4, "full", ()),
                (2, "lora", ("lora=true",)),
                (2, "kl", ("objective.beta=0.05",)),
                (2, "full", ("deepspeed=zero1",)),
                (2, "full", ("deepspeed=zero2",)),
                (2, "full", ("deepspeed=zero3",)),
                (2, "lora", ("deepspeed=zero1", "lora=true")),
                (2, "lora", ("deepspeed=zero2", "lora=true")),
                (2, "lora", ("deepspeed=zero3", "lora=true")),
            )
        ),
    ],
)
def test_ranks_answer_and_learn_as_one_process(
    ranks: int,
    what: str,
    words: tuple[str, ...],
    rewarded: Made,
    chooser: Path,
    tmp_path: Path,
) -> None:
    """The same completions, and losses, gradients and what else is told of them."""
    if "deepspeed" in "".join(words):
        pytest.importorskip("deepspeed", reason="needs the extra deepspeed")
    done(
        "rl",
        f"model={chooser}",
        *RL,
        f"executor.nproc_per_node={ranks}",
        *words,
        f"out={tmp_path / 'run'}",
    )
    assert said_by(tmp_path / "run") == said_by(rewarded(what))
    for one, other in zip(steps(tmp_path / "run"), steps(rewarded(what)), strict=True):
        assert one == pytest.approx(other, abs=1e-4)
    held = [
        [
            json.loads(line)["right"]
            for line in (out / "val_accuracy.jsonl").read_text().splitlines()
        ]
        for out in (tmp_path / "run", rewarded(what))
    ]
    assert held[0] == held[1]
    AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model")


@pytest.mark.slow
def test_rewards_go_on_on_ranks_that_were_killed(
    rewarded: Made, chooser: Path, tmp_path: Path
) -> None:
    more = ("rl", f"model={chooser}", *RL, "executor.nproc_per_node=2")
    running, children = begun(tmp_path / "run", *more)
    of_rank(children, 1).kill()
    _, said = running.communicate(timeout=60)
    assert running.returncode == 1
    assert gone(children)
    assert len(lines(said)) == 2, said[-3000:]
    done(*more, f"out={tmp_path / 'run'}")
    assert said_by(tmp_path / "run") == said_by(rewarded("full"))
