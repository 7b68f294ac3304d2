"""A model's own flag for thinking: in process, and over `transformers serve`, which sends
`reasoning_content`."""

import json
import urllib.request
from pathlib import Path

import pytest
from conftest import done
from servers import QWEN3, Server, transformers_serve

from ratiocine import cli, models
from ratiocine.data import DataConfig, problem_of
from ratiocine.models import ModelConfig
from ratiocine.prompts import completion_ids, prompt_ids, user_text
from ratiocine.stores import read_pairs


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


def check_thinking_pairs(folder: Path, file: Path, *teacher: str) -> None:
    """Whether the pairs of a teacher for the problems of a file hold its thoughts."""
    done(
        "distill",
        *teacher,
        f"data={file}",
        "temperature=0",
        "max_new_tokens=80",
        "model=tiny",
        f"answer_cache={folder / 'a.sqlite'}",
        f"out={folder / 'run'}",
    )
    pairs = read_pairs(folder / "run" / "pairs.parquet")
    assert [pair.id for pair in pairs] == [str(i) for i in range(1, 21)]
    for pair in pairs:
        assert pair.ift == f"\\boxed{{{pair.reference}}}"
        assert (
            pair.reasoning
            == f"<think>\nTwice {pair.id} is {pair.reference}\n</think>\n\n{pair.ift}"
        )


@pytest.mark.slow
def test_a_models_own_flag_over_http_gives_reasoning_content(
    qwen3: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, file = qwen3
    body = {
        "model": str(folder),
        "messages": [{"role": "user", "content": "1 + 1?"}],
        "max_tokens": 64,
    }
    with Server(transformers_serve, folder, tmp_path / "log") as server:
        call = urllib.request.Request(
            f"{server.url}/chat/completions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(call, timeout=60) as answer:
            assert "reasoning_content" in json.loads(answer.read())["choices"][0]["message"]
        url = f"teacher.engine.base_url={server.url}"
        check_thinking_pairs(
            tmp_path, file, "teacher=openai", url, f"teacher.engine.model='{folder}'"
        )


@pytest.mark.slow
def test_a_models_own_flag_in_process_gives_its_thoughts_inline(
    qwen3: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, file = qwen3
    check_thinking_pairs(tmp_path, file, "teacher=transformers", f"teacher.model={folder}")
    told = json.loads((tmp_path / "run" / "manifest.json").read_text())["answers"]
    assert (told["ift"]["closed_trace"], told["reasoning"]["closed_trace"]) == (0, 1)
