"""Several ranks, started as users start them: the same losses as one process, and one run directory."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import ROOT, command, done
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

BIN = Path(sys.executable).parent
TRAIN = (
    "ratio=0.5", "model=tiny", "batch_size=16", "micro_batch_size=3", "epochs=2", "precision=float32", "device=cpu", "lr=1e-3",
)  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def started(how: str, ranks: int, verb: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A verb on so many ranks, by torchrun, accelerate or deepspeed."""
    if any(word.startswith("deepspeed=") for word in words):
        pytest.importorskip("deepspeed", reason="needs the extra deepspeed")
    port = str(free_port())
    launcher = {
        "torchrun": ("torchrun", "--nproc_per_node", str(ranks), "--master_port", port, "-m"),
        "accelerate": ("accelerate", "launch", "--cpu", "--num_processes", str(ranks), "--num_machines", "1", "--mixed_precision",
                       "no", "--dynamo_backend", "no", "--main_process_port", port, "--module"),
        "deepspeed": ("deepspeed", "--no_local_rank", "--num_accelerators", str(ranks), "--master_port", port, "--module"),
    }[how]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}
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


@pytest.fixture(scope="module")
def alone(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What one process makes of it, all weights and adapters."""
    found = {}
    for name, more in (("full", ()), ("lora", ("lora=true",))):
        found[name] = tmp_path_factory.mktemp("alone") / name
        done("train", *TRAIN, *more, f"pairs={pairs}", f"out={found[name]}")
    return found


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("how", "ranks", "what", "words"),
    [
        ("torchrun", 2, "full", ()), ("deepspeed", 2, "lora", ("deepspeed=zero3", "lora=true")),
        *(pytest.param(*case, marks=SLOW) for case in (
            ("torchrun", 4, "lora", ("lora=true",)), ("accelerate", 2, "full", ()), ("torchrun", 4, "full", ("deepspeed=zero3",)),
            ("deepspeed", 2, "full", ("deepspeed=zero1",)), ("deepspeed", 2, "full", ("deepspeed=zero2",)),
            ("deepspeed", 2, "full", ("deepspeed=zero3",)), ("deepspeed", 4, "lora", ("deepspeed=zero2", "lora=true")),
        )),
    ],
)  # fmt: skip
def test_ranks_make_what_one_process_makes(
    how: str, ranks: int, what: str, words: tuple[str, ...], alone: dict[str, Path], pairs: Path, tmp_path: Path
) -> None:
    """Uneven lengths, and a last batch of half the size."""
    out = tmp_path / "run"
    run = started(how, ranks, "train", *TRAIN, *words, f"pairs={pairs}", f"out={out}")
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-4000:]
    assert losses(out) == pytest.approx(losses(alone[what]), abs=1e-4)
    one, other = (load_file(folder / "model" / "model.safetensors") for folder in (out, alone[what]))
    assert one.keys() == other.keys()
    assert all((one[name] - other[name]).abs().max() < 1e-3 for name in one)
    AutoModelForCausalLM.from_pretrained(out / "model")
    assert run.stdout.count("trained 6 steps") == 1


def test_what_is_wrong_is_said_once(pairs: Path, tmp_path: Path) -> None:
    run = started("torchrun", 2, "train", *TRAIN, "lr=-1", f"pairs={pairs}", f"out={tmp_path / 'x'}")
    assert run.returncode != 0
    assert run.stderr.count("lr=-1") == 1 and "ratiocine" not in run.stderr  # torchrun tells a trace of its own


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("train", "ratio=0.5", "model=tiny", "deepspeed=zero2"),
            "deepspeed=zero2 ",
        ),
        (("train", "ratio=0.5", "model=tiny", "deepspeed=zero4"), "unknown deepspeed 'zero4'; known: none, zero1, zero2"),
    ],
)
def test_what_cannot_work_is_refused(words: tuple[str, ...], said: str) -> None:
    refused = command(*words)
    assert (refused.returncode, said in refused.stderr) == (2, True)


def test_the_launchers_own_word_is_no_key(pairs: Path, tmp_path: Path) -> None:
    """deepspeed without --no_local_rank gives every process one more word."""
    done("train", "--local_rank=0", *TRAIN, "max_steps=1", f"pairs={pairs}", f"out={tmp_path / 'run'}")


def resumed(out: Path, pairs: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return started("torchrun", 2, "train", *TRAIN, "save_steps=2", *words, f"pairs={pairs}", f"out={out}")


@pytest.mark.slow
@pytest.mark.parametrize("words", [(), ("deepspeed=zero2",)])
def test_a_killed_rank_ends_all_and_they_go_on_together(
    words: tuple[str, ...], alone: dict[str, Path], pairs: Path, tmp_path: Path
) -> None:
    if words:
        pytest.importorskip("deepspeed", reason="needs the extra deepspeed")
    out = tmp_path / "run"
    port = str(free_port())
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    arguments = [
        str(BIN / "torchrun"), "--nproc_per_node", "2", "--master_port", port, "-m", "train", *TRAIN, "save_steps=2", *words,
        f"pairs={pairs}", f"out={out}",
    ]  # fmt: skip
    running = subprocess.Popen(arguments, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    log = out / "metrics.jsonl"
    while running.poll() is None and not (log.exists() and len(log.read_text().splitlines()) >= 3):
        time.sleep(0.02)
    children = psutil.Process(running.pid).children(recursive=True)
    victim = next(child for child in children if child.environ().get("RANK") == "1")
    victim.kill()
    assert running.wait(60) != 0
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert not (out / "DONE").exists()
    run = resumed(out, pairs, *words)
    assert run.returncode == 0, run.stderr[-3000:]
    assert losses(out) == pytest.approx(losses(alone["full"]), abs=1e-5)
