"""Models with sliding-window attention: a random Gemma 3 with a window of eight tokens."""

from functools import cache

import pytest
import torch
from conftest import tiny_gemma

from ratiocine import models
from ratiocine.engines import Request, TransformersConfig, TransformersEngine
from ratiocine.models import ModelConfig
from ratiocine.prompts import prompt_ids
from ratiocine.records import Completion

TOKENIZER = models.load_tokenizer(ModelConfig(name="tiny", kind="tiny"))
LENGTHS = (1, 3, 5, 8, 9, 20, 21, 40, 70)  # of the question; the prompt has 12 tokens more


@cache
def model():
    return tiny_gemma().eval()


def asked(length: int, **more) -> Request:
    text = "abcdefgh"[length % 8 :] + "xyz" * length
    return Request(
        f"q{length}", ({"role": "user", "content": text[:length]},), 10 + 13 * length % 60, **more
    )


def generated(requests: list[Request], **options) -> dict[tuple[str, int], Completion]:
    engine = TransformersEngine(model(), TOKENIZER, (1,), TransformersConfig(**options))
    return {(one.id, one.sample): one for found in engine.generate(requests) for one in found}


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["auto", "sdpa", "eager"])
@torch.inference_mode()
def test_our_tokens_are_stock_tokens(attention: str) -> None:
    """Token by token against transformers' `generate`, each prompt alone; rows that end early leave
    and waiting ones join."""
    requests = [asked(length, logprobs=True) for length in LENGTHS]
    ours = generated(requests, attention=attention, max_batch_size=4)
    model().set_attn_implementation("eager")
    for request in requests:
        prompt = prompt_ids(TOKENIZER, request.messages)
        ids = model().generate(
            torch.tensor([prompt]),
            max_new_tokens=request.max_new_tokens,
            do_sample=False,
            eos_token_id=1,
        )[0]
        one = ours[request.id, 0]
        assert one.token_ids == tuple(ids[len(prompt) :].tolist())
        logits = model()(ids[None], use_cache=False).logits[0, len(prompt) - 1 : -1]
        logprobs = logits.log_softmax(-1).gather(-1, ids[len(prompt) :, None])[:, 0]
        assert torch.allclose(torch.tensor(one.logprobs), logprobs, atol=1e-4)


def test_a_sample_does_not_depend_on_its_batch() -> None:
    requests = [asked(n, temperature=1.0, samples=(0, 1, 2)) for n in LENGTHS]
    whole = {key: one.token_ids for key, one in generated(requests).items()}
    assert len(set(whole.values())) == 3 * len(LENGTHS)
    for size in (1, 5):
        some = generated(requests, max_batch_size=size)
        assert {key: one.token_ids for key, one in some.items()} == whole
