"""The packaged model: training, and the same tokens as stock transformers."""

import json
from pathlib import Path

import pytest
import torch
from conftest import done

from ratiocine import models
from ratiocine.data import FAMILIES, generate
from ratiocine.engines import Request, TransformersConfig, TransformersEngine
from ratiocine.models import ModelConfig
from ratiocine.prompts import end_of_turn, prompt_ids, user_text
from ratiocine.stats import paired_difference
from ratiocine.stores import read_completions

SMOL = ModelConfig(name="smollm2-135m", kind="packaged", chat_template="chatml")


def generated(engine: TransformersEngine, requests: list[Request]) -> dict[str, tuple[int, ...]]:
    return {trace.id: trace.token_ids for traces in engine.generate(requests) for trace in traces}


def stock(
    model, prompts: dict[str, list[int]], stop: int, budget: int
) -> dict[str, tuple[int, ...]]:
    """transformers' `generate` over one left-padded batch, longest prompt first."""
    ordered = sorted(prompts, key=lambda name: (-len(prompts[name]), name))
    width = len(prompts[ordered[0]])
    ids = torch.tensor([[stop] * (width - len(prompts[name])) + prompts[name] for name in ordered])
    mask = torch.tensor(
        [[0] * (width - len(prompts[name])) + [1] * len(prompts[name]) for name in ordered]
    )
    found = model.generate(
        input_ids=ids,
        attention_mask=mask,
        max_new_tokens=budget,
        do_sample=False,
        eos_token_id=stop,
        pad_token_id=stop,
    )
    rows = found[:, width:].tolist()
    return {
        name: tuple(row[: row.index(stop) + 1] if stop in row else row)
        for name, row in zip(ordered, rows, strict=True)
    }


def asking(
    tokenizer, texts: dict[str, str], budget: int
) -> tuple[list[Request], dict[str, list[int]]]:
    """Requests, and their prompts as token ids."""
    requests = [
        Request(name, ({"role": "user", "content": text},), budget) for name, text in texts.items()
    ]
    return requests, {name: prompt_ids(tokenizer, text) for name, text in texts.items()}


def problems(n: int):
    return [
        p
        for name in FAMILIES
        for p in generate(
            name,
            n,
            seed=3,
            difficulty=1,
            split="test",
            instruction="Put only the answer in \\boxed{}.",
        )
    ]


@pytest.mark.slow
@pytest.mark.model
@torch.inference_mode()
def test_at_the_same_attention_and_batch_our_tokens_are_stock_tokens() -> None:
    tokenizer, model = models.load_tokenizer(SMOL), models.load_model(SMOL, "cpu")
    stop = end_of_turn(tokenizer)
    requests, prompts = asking(tokenizer, {p.id: user_text(p) for p in problems(2)}, 24)
    ours = generated(
        TransformersEngine(
            model,
            tokenizer,
            (stop,),
            TransformersConfig(max_batch_size=len(requests), attention="sdpa"),
        ),
        requests,
    )
    assert ours == stock(model, prompts, stop, 24)


@pytest.mark.slow
@torch.inference_mode()
def test_the_fast_attention_differs_only_where_logits_are_nearly_tied() -> None:
    """Over 405 problems: the first differing token has nearly the logit of the best one, and
    accuracies agree within the paired interval."""
    from ratiocine.completion_parts import split
    from ratiocine.grading import grade

    tokenizer, model = models.load_tokenizer(SMOL), models.load_model(SMOL, "cpu")
    stop = end_of_turn(tokenizer)
    asked = problems(45)
    requests, prompts = asking(tokenizer, {p.id: user_text(p) for p in asked}, 32)
    fast = generated(TransformersEngine(model, tokenizer, (stop,)), requests)
    slow = generated(
        TransformersEngine(model, tokenizer, (stop,), TransformersConfig(attention="sdpa")), requests
    )
    differing = [i for i in fast if fast[i] != slow[i]]
    for i in differing:
        at = next(k for k, (a, b) in enumerate(zip(fast[i], slow[i], strict=False)) if a != b)
        logits = model(torch.tensor([[*prompts[i], *slow[i][:at]]])).logits[0, -1]
        assert abs(logits[fast[i][at]] - logits[slow[i][at]]) < 1e-2

    def right(tokens: dict[str, tuple[int, ...]]) -> list[bool]:
        return [
            grade(p, split(tokenizer.decode([t for t in tokens[p.id] if t != stop]))).verdict
            == "right"
            for p in asked
        ]

    difference, low, high = paired_difference(right(slow), right(fast))
    print(
        f"{len(differing)} of {len(fast)} differ; accuracy differs by {difference:+.4f} "
        f"({low:+.4f} to {high:+.4f})"
    )
    assert len(asked) >= 400
    assert low <= 0 <= high


@pytest.mark.slow
def test_two_trainings_give_one_loss_sequence_and_the_student_is_stock(tmp_path: Path) -> None:
    done("distill", "limit=8", f"out={tmp_path / 'pairs'}")
    for name in ("a", "b"):
        done(
            "train",
            "+ratio=0.5",
            f"pairs={tmp_path / 'pairs'}",
            "batch_size=16",
            f"out={tmp_path / name}",
        )
    losses = [
        [
            json.loads(line)["loss"]
            for line in (tmp_path / n / "metrics.jsonl").read_text().splitlines()
        ]
        for n in ("a", "b")
    ]
    assert losses[0] == losses[1]
    assert losses[0][-1] < losses[0][0]
    out = tmp_path / "scores"
    done(
        "eval",
        f"model={tmp_path / 'a' / 'model'}",
        "limit=2",
        "max_new_tokens=24",
        "engine.attention=sdpa",
        f"out={out}",
    )
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(
        tmp_path / "a" / "model", attn_implementation="sdpa"
    )
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "a" / "model")
    rows = list(read_completions(out / "completions.jsonl"))
    prompts = asking(tokenizer, {row.key: row.prompt for row in rows}, 24)[1]
    with torch.inference_mode():
        found = stock(model, prompts, end_of_turn(tokenizer), 24)
    for row in rows:
        assert (
            tokenizer.decode([t for t in found[row.key] if t != end_of_turn(tokenizer)])
            == row.completion
        )
