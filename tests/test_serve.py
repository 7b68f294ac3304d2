"""The HTTP engine against a real server: `transformers serve` on loopback, killed for real."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import ROOT, done

from ratiocine import models
from ratiocine.models import ModelConfig
from ratiocine.traces import TraceStore, read_traces

Start = Callable[[Path, int], subprocess.Popen[bytes]]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    running: list[subprocess.Popen[bytes]] = []

    def started(folder: Path, port: int) -> subprocess.Popen[bytes]:
        program = Path(sys.executable).with_name("transformers")
        words = [program, "serve", folder, "--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", "float32"]
        with open(tmp_path / "server.log", "ab") as log:
            running.append(subprocess.Popen([*words, "--attn-implementation", "sdpa"], stdout=log, stderr=log))
        for _ in range(600):
            assert running[-1].poll() is None, (tmp_path / "server.log").read_text()[-2000:]
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                return running[-1]
            except OSError:
                time.sleep(0.2)
        raise AssertionError("the server does not come up")

    yield started
    for process in running:
        process.kill()
        process.wait()


def completions(out: Path) -> dict[str, str]:
    """By problem; a server does not send special tokens."""
    return {row["key"]: row["completion"].replace("<|im_start|>", "") for row in read_traces(out / "traces.jsonl")}


def test_a_server_that_is_killed_and_comes_back_gives_what_the_process_gives(
    student: Path, start: Start, tmp_path: Path
) -> None:
    folder, port = student / "model", free_port()
    words = ("eval", "benchmarks=demo", "limit=6", "budget=12")
    done(*words, f"model={folder}", f"out={tmp_path / 'here'}")
    server = start(folder, port)
    served = ["engine=openai", f"engine.url=http://127.0.0.1:{port}/v1", f"engine.model='{folder}'", "engine.concurrency=2"]
    process = subprocess.Popen([sys.executable, "-m", *words, *served, f"out={tmp_path / 'served'}"], cwd=ROOT)
    partial = tmp_path / "served" / "traces.partial.jsonl"
    while not (partial.exists() and partial.stat().st_size > 3000) and process.poll() is None:
        time.sleep(0.01)
    server.send_signal(signal.SIGKILL)
    server.wait()
    assert process.poll() is None
    before = {row["key"]: row for row in TraceStore(partial).rows}
    assert 0 < len(before) < 48
    start(folder, port)
    assert process.wait(timeout=300) == 0
    after = {row["key"]: row for row in read_traces(tmp_path / "served" / "traces.jsonl")}
    assert len(after) == 48
    assert {key: after[key] for key in before} == before
    assert completions(tmp_path / "served") == completions(tmp_path / "here")


@pytest.mark.slow
def test_the_packaged_model_served_answers_as_in_process(start: Start, tmp_path: Path) -> None:
    """Greedy texts differ only where the server's one-row batches and ours round differently, which shows in the logits."""
    import torch

    config = ModelConfig(name="smollm2-135m", kind="packaged", chat_template="chatml")
    tokenizer, model, port = models.load_tokenizer(config), models.load_model(config, "cpu"), free_port()
    models.save_student(model, tokenizer, tmp_path / "model")
    words = ("eval", "benchmarks=demo", "limit=5", "budget=40")
    done(*words, f"model={tmp_path / 'model'}", "engine.attention=sdpa", f"out={tmp_path / 'here'}")
    start(tmp_path / "model", port)
    served = ("engine=openai", f"engine.url=http://127.0.0.1:{port}/v1", f"engine.model='{tmp_path / 'model'}'")
    done(*words, *served, "engine.concurrency=1", f"out={tmp_path / 'served'}")
    here, there = completions(tmp_path / "here"), completions(tmp_path / "served")
    differing = [key for key in here if here[key] != there[key]]
    print(f"{len(differing)} of {len(here)} differ")
    rows = {row["key"]: row for row in read_traces(tmp_path / "here" / "traces.jsonl")}
    for key in differing:
        ids = rows[key]["token_ids"]
        other = tokenizer(there[key], add_special_tokens=False)["input_ids"]
        at = next((i for i, (a, b) in enumerate(zip(ids, other, strict=False)) if a != b), None)
        if at is None:
            continue
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": rows[key]["prompt"]}], tokenize=False, add_generation_prompt=True
        )
        prefix = tokenizer(prompt, add_special_tokens=False)["input_ids"] + ids[:at]
        with torch.inference_mode():
            logits = model(torch.tensor([prefix])).logits[0, -1]
        assert abs(logits[ids[at]] - logits[other[at]]) < 1e-2
    assert os.path.getsize(tmp_path / "served" / "scores.json")
