"""The HTTP engine against a real server: `transformers serve` on loopback, killed for real."""

import json
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

from ratiocine import cli, models
from ratiocine.data import DataConfig, problem_of
from ratiocine.models import ModelConfig
from ratiocine.prompts import completion_ids, prompt_ids, user_text
from ratiocine.stores import CompletionStore, read_completions, read_pairs

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
        words = [
            program,
            "serve",
            folder,
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--device",
            "cpu",
            "--dtype",
            "float32",
        ]
        with open(tmp_path / "server.log", "ab") as log:
            running.append(
                subprocess.Popen([*words, "--attn-implementation", "sdpa"], stdout=log, stderr=log)
            )
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
    return {
        row.key: row.completion.replace("<|im_start|>", "")
        for row in read_completions(out / "completions.jsonl")
    }


@pytest.mark.slow
def test_a_server_that_is_killed_and_comes_back_gives_what_the_process_gives(
    student: Path, start: Start, tmp_path: Path
) -> None:
    folder, port = student / "model", free_port()
    words = ("eval", "benchmarks=demo", "limit=6", "max_new_tokens=12")
    done(*words, f"model={folder}", f"out={tmp_path / 'here'}")
    server = start(folder, port)
    served = [
        "engine=openai",
        f"engine.base_url=http://127.0.0.1:{port}/v1",
        f"engine.model='{folder}'",
        "engine.concurrency=2",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", *words, *served, f"out={tmp_path / 'served'}"], cwd=ROOT
    )
    partial = tmp_path / "served" / "completions.partial.jsonl"
    while not (partial.exists() and partial.stat().st_size > 3000) and process.poll() is None:
        time.sleep(0.01)
    server.send_signal(signal.SIGKILL)
    server.wait()
    assert process.poll() is None
    before = {row.key: row for row in CompletionStore(partial).rows}
    assert 0 < len(before) < 48
    start(folder, port)
    assert process.wait(timeout=300) == 0
    after = {row.key: row for row in read_completions(tmp_path / "served" / "completions.jsonl")}
    assert len(after) == 48
    assert {key: after[key] for key in before} == before
    assert completions(tmp_path / "served") == completions(tmp_path / "here")


@pytest.mark.slow
def test_the_packaged_model_served_answers_as_in_process(start: Start, tmp_path: Path) -> None:
    """Greedy texts differ only where logits are tied up to the rounding of different batches."""
    import torch

    config = ModelConfig(name="smollm2-135m", kind="packaged", chat_template="chatml")
    tokenizer, model, port = (
        models.load_tokenizer(config),
        models.load_model(config, "cpu"),
        free_port(),
    )
    models.save_student(model, tokenizer, tmp_path / "model", None)
    words = ("eval", "benchmarks=demo", "limit=5", "max_new_tokens=40")
    done(*words, f"model={tmp_path / 'model'}", "engine.attention=sdpa", f"out={tmp_path / 'here'}")
    start(tmp_path / "model", port)
    served = (
        "engine=openai",
        f"engine.base_url=http://127.0.0.1:{port}/v1",
        f"engine.model='{tmp_path / 'model'}'",
    )
    done(*words, *served, "engine.concurrency=1", f"out={tmp_path / 'served'}")
    here, there = completions(tmp_path / "here"), completions(tmp_path / "served")
    differing = [key for key in here if here[key] != there[key]]
    print(f"{len(differing)} of {len(here)} differ")
    rows = {row.key: row for row in read_completions(tmp_path / "here" / "completions.jsonl")}
    for key in differing:
        ids = rows[key].token_ids
        other = tokenizer(there[key], add_special_tokens=False)["input_ids"]
        at = next((i for i, (a, b) in enumerate(zip(ids, other, strict=False)) if a != b), None)
        if at is None:
            continue
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": rows[key].prompt}],
            tokenize=False,
            add_generation_prompt=True,
        )
        prefix = tokenizer(prompt, add_special_tokens=False)["input_ids"] + list(ids[:at])
        with torch.inference_mode():
            logits = model(torch.tensor([prefix])).logits[0, -1]
        assert abs(logits[ids[at]] - logits[other[at]]) < 1e-2
    assert os.path.getsize(tmp_path / "served" / "scores.json")


# As Qwen3 has it: thinking is on unless it is switched off, and then the prompt ends in an empty
# think block.
QWEN3 = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% "
    "endif %}{% endif %}"
)


@pytest.fixture(scope="module")
def qwen3(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny Qwen3 that knows twenty sums by heart, with its thoughts where its flag is on, and the
    file of the sums."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    folder = tmp_path_factory.mktemp("qwen3")
    tokenizer = models.load_tokenizer(ModelConfig(name="tiny", kind="tiny"))
    tokenizer.chat_template = QWEN3
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,
            max_position_embeddings=512,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
            tie_word_embeddings=False,
        )
    )
    rows = [
        {"id": str(i), "question": f"{i} + {i}?", "answer": str(2 * i), "kind": "number"}
        for i in range(1, 21)
    ]
    file = folder / "sums.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ids, labels = [], []
    for row in rows:
        prompt = user_text(problem_of(cli.named("data", "local", DataConfig), row, row["id"]))
        for thinking, thought in (
            (True, f"<think>\nTwice {row['id']} is {row['answer']}\n</think>\n\n"),
            (False, ""),
        ):
            before = prompt_ids(
                tokenizer, ({"role": "user", "content": prompt},), thinking=thinking
            )
            after = completion_ids(tokenizer, f"{thought}\\boxed{{{row['answer']}}}")
            ids.append([*before, *after])
            labels.append([*[-100] * len(before), *after])
    width = max(map(len, ids))
    x = torch.tensor([[*row, *[tokenizer.eos_token_id] * (width - len(row))] for row in ids])
    y = torch.tensor([[*row, *[-100] * (width - len(row))] for row in labels])
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.0)
    for step in range(1500):
        loss = model(x, labels=y).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 25 == 0 and loss.item() < 0.003:
            break
    assert loss.item() < 0.01, loss.item()
    models.save_student(model.eval(), tokenizer, folder / "model", None)
    return folder / "model", file


def check_thinking_pairs(out: Path) -> None:
    pairs = read_pairs(out / "pairs.parquet")
    assert [pair.id for pair in pairs] == [str(i) for i in range(1, 21)]
    for pair in pairs:
        assert pair.ift == f"\\boxed{{{pair.reference}}}"
        assert (
            pair.reasoning
            == f"<think>\nTwice {pair.id} is {pair.reference}\n</think>\n\n{pair.ift}"
        )


@pytest.mark.slow
def test_a_models_own_flag_over_http_gives_reasoning_content(
    qwen3: tuple[Path, Path], start: Start, tmp_path: Path
) -> None:
    (folder, file), port = qwen3, free_port()
    start(folder, port)
    ask = json.dumps(
        {
            "model": str(folder),
            "messages": [{"role": "user", "content": "1 + 1?"}],
            "max_tokens": 64,
        }
    ).encode()
    call = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions", ask, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(call, timeout=60) as answer:
        assert "reasoning_content" in json.loads(answer.read())["choices"][0]["message"]
    done(
        "distill",
        "teacher=openai",
        f"teacher.engine.base_url=http://127.0.0.1:{port}/v1",
        f"teacher.engine.model='{folder}'",
        f"data={file}",
        "temperature=0",
        "max_new_tokens=80",
        "model=tiny",
        f"answer_cache={tmp_path / 'a.sqlite'}",
        f"out={tmp_path / 'run'}",
    )
    check_thinking_pairs(tmp_path / "run")


@pytest.mark.slow
def test_a_models_own_flag_in_process_gives_its_thoughts_inline(
    qwen3: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, file = qwen3
    done(
        "distill",
        "teacher=transformers",
        f"teacher.model={folder}",
        f"data={file}",
        "temperature=0",
        "max_new_tokens=80",
        "model=tiny",
        f"answer_cache={tmp_path / 'a.sqlite'}",
        f"out={tmp_path / 'run'}",
    )
    check_thinking_pairs(tmp_path / "run")
    told = json.loads((tmp_path / "run" / "manifest.json").read_text())["answers"]
    assert (told["ift"]["closed_trace"], told["reasoning"]["closed_trace"]) == (0, 1)
