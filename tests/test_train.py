"""Training: rows, losses and what is saved, against plain transformers."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import combinations, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import command, done, tiny_gemma
from hypothesis import given, settings
from hypothesis import strategies as st

from ratiocine import cli, devices
from ratiocine.errors import BadInput
from ratiocine.models import ModelConfig, add_lora, load_model, load_tokenizer
from ratiocine.records import MODES, Pair
from ratiocine.rendering import Rendering
from ratiocine.runs import locks
from ratiocine.stores import read_pairs
from ratiocine.training import (
    DeepSpeedConfig,
    Session,
    losses_and_entropies,
    resolve_compute,
    token_losses,
)
from ratiocine.training.session import load_trainable
from train import micro_batch, preflight, sft
from train.batches import MicroBatchSampler, Row, least_padding, row_of
from train.collation import IGNORED, collate, collate_packed, collate_weighted
from train.config import Config
from train.dataset import PairDataset, drop_too_long
from train.mixture import mix
from train.ratio_trainer import RatioTrainer
from train.scenario import ScenarioConfig, StageConfig

TINY = ModelConfig(name="tiny", kind="tiny")
MIXED = ScenarioConfig(name="mixed", stages=[StageConfig()])


class Log:
    """What the loss reports of its micro-batches."""

    def __init__(self) -> None:
        self.sums: list[torch.Tensor] = []
        self.tokens = 0

    def add_micro_batch(self, sums: torch.Tensor, tokens: int) -> None:
        self.sums.append(sums)
        self.tokens += tokens


def losses(out: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]


def fit(pairs: Path, out: Path, *more: str) -> list[float]:
    done(
        "train",
        "+ratio=0.5",
        "model=tiny",
        f"pairs={pairs}",
        "batch_size=16",
        "max_steps=3",
        f"out={out}",
        *more,
    )
    return losses(out)


@pytest.fixture(scope="module")
def reference_losses(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    return fit(pairs, tmp_path_factory.mktemp("fit") / "run")


def test_the_same_seed_gives_the_same_losses(
    pairs: Path, tmp_path: Path, reference_losses: list[float]
) -> None:
    assert fit(pairs, tmp_path / "again") == reference_losses
    assert fit(pairs, tmp_path / "other", "seed=1") != reference_losses


def test_micro_batches_that_fit_a_gpu_are_kept_by_a_resumed_run(
    pairs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`auto` by the memory of a GPU, for the longest rows of this run."""

    def begin(gb: float, *more: str) -> Session:
        monkeypatch.setattr(micro_batch, "available_memory", lambda device: round(gb * 2**30))
        words = ("model=tiny", "ratio=0.5", "batch_size=16", "device=cpu", "max_steps=2", *more)
        made = list[Session]()

        def fit(session: Session, *args: object) -> None:
            made.append(session)
            raise KeyboardInterrupt

        monkeypatch.setattr(Session, "fit", fit)
        words = (*words, f"pairs={pairs}", f"out={tmp_path / 'run'}")
        with pytest.raises(KeyboardInterrupt):
            sft.train(cli.compose("train", Config, words))
        locks.release(tmp_path / "run")
        return made[0]

    session = begin(100)
    assert "micro_batch_size: 16 (auto: the largest of [1, 2, 4, 8, 16] within" in (
        capsys.readouterr().out
    )
    assert session.arguments.per_device_train_batch_size == 16
    assert session.arguments.gradient_accumulation_steps == 1
    assert session.compute.facts["micro_batch_size"] == 16
    assert begin(1e-4).compute.micro_batch_size == 16, "the interrupted run's"
    assert begin(1e-4, "micro_batch_size=4").compute.micro_batch_size == 4
    shutil.rmtree(tmp_path / "run")
    assert begin(1e-4).compute.micro_batch_size == 1


def test_deepspeed_computes_in_the_dtype_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU its engine calls the model with autocast turned off."""
    found = []
    for stage in (0, 2):
        zero = DeepSpeedConfig.model_construct(name="x", stage=stage)
        config = cli.compose("train", Config, ["model=tiny", "ratio=0.5", "precision=bfloat16"])
        config = config.model_copy(update={"deepspeed": zero})
        model = load_trainable(config, resolve_compute(config))
        with torch.autocast("cpu", enabled=False):
            loss = model(torch.arange(8)[None], use_cache=False).logits
        loss.float().sum().backward()
        found.append((loss.dtype, {weight.grad.dtype for weight in model.parameters()}))
    assert found == [(torch.float32, {torch.float32}), (torch.bfloat16, {torch.float32})]


@pytest.mark.parametrize("size", [1, 2, 5, 8, 16])
def test_micro_batches_do_not_change_the_loss(
    pairs: Path, tmp_path: Path, reference_losses: list[float], size: int
) -> None:
    """Forty rows in batches of 16: the last batch of an epoch is smaller and has fewer
    micro-batches. Rounding differs, by 1e-6 until Adam divides by small gradients."""
    found = fit(pairs, tmp_path / "run", f"micro_batch_size={size}")
    assert found[0] == pytest.approx(reference_losses[0], abs=2e-6)
    assert found == pytest.approx(reference_losses, abs=1e-4)


@pytest.mark.parametrize(
    ("dtype", "n"),
    [(torch.float32, 7), (torch.float32, 1), (torch.float32, 0), (torch.bfloat16, 7)],
)
def test_losses_of_tokens_are_cross_entropy(
    dtype: torch.dtype, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three rows of logits at a time: values and gradients are torch's own, the gradients as exact
    as the logits' type."""
    monkeypatch.setattr("ratiocine.training.loss.CHUNK", 3 * 50)
    torch.manual_seed(0)
    scores, labels, weights = 9 * torch.randn(n, 50), torch.randint(50, (n,)), torch.rand(n)
    found = []
    for losses in (
        token_losses,
        lambda logits, labels: torch.nn.functional.cross_entropy(
            logits.float(), labels, reduction="none"
        ),
    ):
        logits = scores.to(dtype).requires_grad_()
        made = losses(logits, labels)
        (made * weights).sum().backward()
        found.append((made, logits.grad))
    assert found[0][0].dtype == torch.float32
    assert torch.allclose(found[0][0], found[1][0], atol=1e-5)
    assert torch.allclose(found[0][1], found[1][1], atol=1e-6 if dtype == torch.float32 else 4e-3)


def test_entropies_come_beside_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ratiocine.training.loss.CHUNK", 3 * 50)
    torch.manual_seed(0)
    logits, labels = (5 * torch.randn(7, 50)).requires_grad_(), torch.randint(50, (7,))
    losses, entropies = losses_and_entropies(logits, labels)
    assert torch.equal(losses, token_losses(logits, labels)) and not entropies.requires_grad
    assert torch.allclose(
        entropies, torch.distributions.Categorical(logits=logits).entropy(), atol=1e-5
    )


@pytest.mark.parametrize("make", [partial(load_model, TINY, "cpu"), tiny_gemma])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_rows_without_padding_have_their_own_losses(
    attention: str, make: Callable[[], Any]
) -> None:
    """Rows of one length, in which a row that saw the one before it would be told apart; and all
    their gradients."""
    model = make()
    model.set_attn_implementation(attention)
    rows = [
        Row(
            str(i),
            MODES[i % 2],
            (5, 9 + i, 6),
            (*range(20 + 7 * i, 20 + 12 * i), 7, 1),
            0.1 * (i + 1),
        )
        for i in range(5)
    ]
    with torch.no_grad():
        packed = collate_packed(rows)
        seen = {"input_ids": packed["input_ids"], "position_ids": packed["position_ids"]}
        together = model(**seen, use_cache=False).logits[
            0
        ]  # with a cache transformers takes it for one text
        for row, logits in zip(rows, together.split([*map(len, rows)])):
            alone = model(**{k: v for k, v in collate([row]).items() if k != "labels"}).logits[0]
            assert torch.allclose(logits, alone, atol=1e-5)
    found = []
    for padded in (True, False):
        log = Log()
        RatioTrainer.compute_loss(
            SimpleNamespace(step_log=log), model, collate_weighted(rows, padded=padded)
        ).backward()
        found.append(
            (log.sums[0], log.tokens, [weight.grad.clone() for weight in model.parameters()])
        )
        model.zero_grad()
    assert torch.allclose(found[0][0], found[1][0], atol=1e-4)
    assert found[0][1] == found[1][1] == sum(map(len, rows))
    for one, other in zip(found[0][2], found[1][2]):
        assert torch.allclose(one, other, atol=1e-5)


def test_training_without_padding_gives_the_same_losses(
    pairs: Path, tmp_path: Path, reference_losses: list[float]
) -> None:
    for attention in ("eager", "sdpa"):
        words = ("padding_free=true", f"attention={attention}", "micro_batch_size=5")
        assert fit(pairs, tmp_path / attention, *words) == pytest.approx(reference_losses, abs=1e-4)
    manifest = json.loads((tmp_path / "sdpa" / "manifest.json").read_text())
    assert (manifest["attention"], manifest["padding_free"]) == ("sdpa", True)
    said = done(
        "train",
        "ratio=0.5",
        "model=tiny",
        f"pairs={pairs}",
        "batch_size=8",
        "preflight=true",
        "padding_free=true",
    )
    rows, length = map(int, re.search(r"memory: .*\((\d+) rows? of (\d+) tokens\)", said).groups())
    lengths = sorted(
        (len(p.prompt) + len(p.reasoning) for p in read_pairs(pairs / "pairs.parquet")),
        reverse=True,
    )
    assert rows == 1, "attention is over all documents of a micro-batch, though none sees another"
    assert length > lengths[0]


def test_a_model_whose_rows_see_each_other_is_refused() -> None:
    model = load_model(TINY, "cpu")

    class Together(torch.nn.Module):
        def forward(self, input_ids, position_ids, use_cache):
            return model(input_ids=input_ids, use_cache=use_cache)

    trainer = SimpleNamespace(
        model=model, _prepare_inputs=dict, compute_loss_context_manager=nullcontext
    )
    RatioTrainer.check_documents_are_separate(trainer)
    trainer.model = Together()
    with pytest.raises(BadInput, match="concatenated rows attend to each other"):
        RatioTrainer.check_documents_are_separate(trainer)


def test_bfloat16_where_it_was_built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    for has, dtype in (
        ({"avx512_bf16": True}, "bfloat16"),
        ({"amx_bf16": True}, "bfloat16"),
        ({"avx512_f": True}, "float32"),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has=has: has)
        assert devices.dtype_name(devices.compute_dtype("auto", cpu)) == dtype
        assert devices.compute_dtype("float32", cpu) == torch.float32
    for native, chosen in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda native=native, **_: native)
        assert devices.compute_dtype("auto", cuda) == chosen
    assert devices.compute_dtype("auto", torch.device("mps")) == torch.float32
    monkeypatch.setattr("transformers.utils.is_flash_attn_2_available", lambda: True)
    assert devices.attention_implementation("auto", cuda, torch.bfloat16) == "flash_attention_2"
    assert devices.attention_implementation("auto", cuda, torch.float32) == "sdpa"
    assert devices.attention_implementation("auto", cpu, torch.bfloat16) == "eager"
    with pytest.raises(
        BadInput, match="cannot compute in float32; give precision=bfloat16 or attention=sdpa"
    ):
        devices.attention_implementation("flash_attention_2", cuda, torch.float32)


def test_products_in_bfloat16_over_weights_in_float32(
    pairs: Path, tmp_path: Path, reference_losses: list[float]
) -> None:
    found = fit(pairs, tmp_path / "run", "precision=bfloat16")
    assert found == pytest.approx(reference_losses, rel=5e-3)
    assert found != reference_losses
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["precision"] == "bfloat16"
    from safetensors.torch import load_file

    assert {
        weight.dtype
        for weight in load_file(tmp_path / "run" / "model" / "model.safetensors").values()
    } == {torch.float32}
    fit(pairs, tmp_path / "auto", "precision=auto")
    said = json.loads((tmp_path / "auto" / "manifest.json").read_text())["precision"]
    assert said == devices.dtype_name(devices.compute_dtype("auto", devices.resolve_device("auto")))


@pytest.mark.parametrize(
    ("words", "dtype"),
    [
        ((), "bfloat16"),
        (("lora=true",), "float32"),
        (("lora=true", "precision=bfloat16"), "bfloat16"),
    ],
)
def test_adapters_on_a_cpu_are_added_in_float32(
    words: tuple[str, ...], dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    config = cli.compose(
        "train", Config, ["ratio=0.5", "model=tiny", "device=cpu", "pairs=x", *words]
    )
    assert resolve_compute(config).facts["precision"] == dtype


@pytest.mark.skipif(torch.cuda.is_available(), reason="flash attention may be there")
def test_flash_attention_where_it_is_not(pairs: Path, tmp_path: Path) -> None:
    words = (
        "ratio=0.5",
        "model=tiny",
        f"pairs={pairs}",
        "attention=flash_attention_2",
        f"out={tmp_path / 'run'}",
    )
    refused = command("train", *words)
    assert refused.returncode == 2
    assert refused.stderr.startswith("train: attention=flash_attention_2 needs a CUDA device")


@pytest.mark.slow
def test_computing_layers_again_changes_nothing(
    pairs: Path, tmp_path: Path, reference_losses: list[float]
) -> None:
    for at, words in enumerate(((), ("lora=true",), ("precision=bfloat16",))):
        expected = fit(pairs, tmp_path / f"kept{at}", *words) if words else reference_losses
        found = fit(pairs, tmp_path / f"again{at}", "gradient_checkpointing=true", *words)
        assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("weight", ["token", "example"])
def test_micro_batches_do_not_change_the_loss_of_adapters(
    weight: str, pairs: Path, tmp_path: Path
) -> None:
    """One, two and four rows, accumulated four, two and one times; the rate is so high that a
    difference would grow."""
    words = (
        "batch_size=4",
        "max_steps=6",
        "lora=true",
        "lora_rank=4",
        "lr=1e-2",
        f"loss_weight={weight}",
    )
    found = [
        fit(pairs, tmp_path / str(size), *words, f"micro_batch_size={size}") for size in (1, 2, 4)
    ]
    assert found[1] == pytest.approx(found[0], abs=1e-4)
    assert found[2] == pytest.approx(found[0], abs=1e-4)
    assert found[0][-1] < found[0][0] - 0.01


def test_prompts_are_no_targets() -> None:
    """The head's row of a token that occurs in prompts only is moved by what the model believed of
    it at the completions' positions, and by nothing else: Σ weight · probability · hidden state."""
    model = load_model(TINY, "cpu")
    assert model.get_output_embeddings().weight is not model.get_input_embeddings().weight
    rows = [
        Row("a", "ift", (5, 9, 9, 6), (7, 8, 1), 0.25),
        Row("b", "reasoning", (9, 5), (8, 1), 0.5),
    ]
    batch = collate_weighted(rows)
    log = Log()
    RatioTrainer.compute_loss(SimpleNamespace(step_log=log), model, dict(batch)).backward()
    with torch.no_grad():
        hidden = model.model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
        ).last_hidden_state
        believed = model.lm_head(hidden).softmax(-1)
        places = [(0, 3, 0.25), (0, 4, 0.25), (0, 5, 0.25), (1, 1, 0.5), (1, 2, 0.5)]
        expected = sum(
            weight * believed[row, at, 9] * hidden[row, at] for row, at, weight in places
        )
    assert torch.allclose(model.lm_head.weight.grad[9], expected, atol=1e-7)
    taught = {(0, 4), (1, 1)}  # where 8 comes next
    target = sum(
        weight * (believed[row, at, 8] - float((row, at) in taught)) * hidden[row, at]
        for row, at, weight in places
    )
    assert torch.allclose(model.lm_head.weight.grad[8], target, atol=1e-7)


def test_adapters_for_modules_that_are_not_there(pairs: Path, tmp_path: Path) -> None:
    words = (
        "ratio=0.5",
        "model=tiny",
        f"pairs={pairs}",
        "lora=true",
        "batch_size=8",
        "max_steps=1",
    )
    refused = command("train", *words, "lora_targets=[q_proj,query]", f"out={tmp_path / 'run'}")
    assert refused.returncode == 2
    assert refused.stderr == (
        "train: lora_targets: 'query' is no module of this model; its linear layers: down_proj, "
        "gate_proj, k_proj, lm_head, o_proj, q_proj, up_proj, v_proj\n"
    )
    done("train", *words, "lora_targets=[q_proj,v_proj]", f"out={tmp_path / 'run'}")


def test_a_model_that_will_not_fit_is_refused_before_it_is_read(
    pairs: Path, tmp_path: Path, student: Path
) -> None:
    """A folder that says it is a model of a hundred billion weights; there are none in it."""
    folder = tmp_path / "model"
    folder.mkdir()
    for file in (student / "model").iterdir():
        if file.suffix != ".safetensors":
            (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "hidden_size": 8192,
        "intermediate_size": 28672,
        "num_hidden_layers": 120,
        "head_dim": 2048,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"")
    refused = command(
        "train",
        "ratio=0",
        f"model={folder}",
        "lr=1e-4",
        f"pairs={pairs}",
        f"out={tmp_path / 'run'}",
    )
    assert refused.returncode == 2
    assert re.search(
        r"will not fit: it needs about .*[GM]B: .* of weights, .*[GM]B are free; try a smaller",
        refused.stderr,
    )


def test_the_first_loss_is_that_of_plain_transformers(
    pairs: Path, reference_losses: list[float]
) -> None:
    """The mean cross-entropy over all completion tokens of the first global batch, by the model's
    own loss."""
    by_id = {pair.id: pair for pair in read_pairs(pairs / "pairs.parquet")}
    mixture = mix({i: p.category for i, p in by_id.items()}, 0.5, 0)
    tokenizer, model = load_tokenizer(TINY), load_model(TINY, "cpu")
    rows = [row_of(Rendering(tokenizer), by_id[i], mixture.mode(i)) for i in mixture.order[:16]]
    with torch.no_grad():
        assert model(**collate(rows)).loss.item() == pytest.approx(reference_losses[0], abs=1e-4)


def test_epochs_see_every_problem_once_each(pairs: Path, tmp_path: Path) -> None:
    done(
        "train",
        "ratio=1",
        "model=tiny",
        f"pairs={pairs}",
        "batch_size=16",
        "epochs=2",
        f"out={tmp_path / 'run'}",
    )
    assert len(losses(tmp_path / "run")) == 6
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    rows = [
        json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert manifest["tokens"] == rows[-1]["tokens"] == 2 * rows[2]["tokens"]


def test_lora_saves_a_plain_folder(pairs: Path, tmp_path: Path) -> None:
    fit(pairs, tmp_path / "run", "lora=true", "lora_rank=4")
    code = (
        "import sys; sys.modules['ratiocine'] = sys.modules['peft'] = None\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        f"m = AutoModelForCausalLM.from_pretrained({str(tmp_path / 'run' / 'model')!r})\n"
        f"t = AutoTokenizer.from_pretrained({str(tmp_path / 'run' / 'model')!r})\n"
        "ids = t.apply_chat_template([{'role': 'user', 'content': 'Hi'}], "
        "add_generation_prompt=True, return_tensors='pt', "
        "return_dict=True)\nprint(m.generate(**ids, max_new_tokens=3).shape[1] - "
        "ids['input_ids'].shape[1], m.generation_config.eos_token_id)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.stdout.split() == ["3", "1"], result.stderr


def test_frozen_weights_beside_four_bits_have_the_dtype_of_matmuls(student: Path) -> None:
    """Else hidden states, and with them what every 4-bit layer returns, are float32."""
    pytest.importorskip("bitsandbytes")
    folder = ModelConfig(name="local", path=str(student / "model"))
    base = load_model(folder, "cpu", four_bit=torch.bfloat16)
    model = add_lora(base, 4, "all-linear", seed=0)
    returned = {}
    for name, module in base.named_modules():
        if type(module).__name__ in ("Linear4bit", "LlamaRMSNorm", "Embedding"):
            module.register_forward_hook(
                lambda module, inputs, output, name=name: returned.update({name: output.dtype})
            )
    with torch.autocast("cpu", torch.bfloat16):
        model(torch.arange(8)[None]).logits.float().sum().backward()
    assert returned
    assert set(returned.values()) == {torch.bfloat16}
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    assert {weight.dtype for weight in trained} == {torch.float32}
    assert {weight.grad.dtype for weight in trained} == {torch.float32}


def test_qlora_saves_what_was_trained(pairs: Path, student: Path, tmp_path: Path) -> None:
    """The plain folder has the held-out loss that was taken over 4-bit weights; the student's own,
    in float32, has not."""
    words = (
        f"model={student / 'model'}",
        "lr=1e-2",
        "lora=true",
        "val_size=8",
        "max_steps=2",
        "load_in_4bit=true",
    )
    done("train", "ratio=0.5", f"pairs={pairs}", "batch_size=8", f"out={tmp_path / 'run'}", *words)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    held = json.loads((tmp_path / "run" / "mixture.json").read_text())["validation"]
    by_id = {pair.id: pair for pair in read_pairs(pairs / "pairs.parquet")}
    folder = ModelConfig(name="local", path=str(tmp_path / "run" / "model"))
    model, rendering = load_model(folder, "cpu"), Rendering(load_tokenizer(folder))
    found = []
    for mode in MODES:
        batch = collate([row_of(rendering, by_id[name], mode) for name in held])
        with torch.no_grad():
            found.append(model(**batch).loss.item())
    assert sum(found) / 2 == pytest.approx(manifest["val_loss"], abs=1e-3)
    assert "quantization_config" not in (tmp_path / "run" / "model" / "config.json").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("load_in_4bit=true",), "load_in_4bit=True is for adapters; lora=true trains them"),
        (
            ("load_in_4bit=true", "lora=true"),
            "load_in_4bit=true needs a model folder; model=tiny has none",
        ),
    ],
)
def test_what_cannot_be_held_in_four_bits(
    words: tuple[str, ...], message: str, pairs: Path, tmp_path: Path
) -> None:
    refused = command(
        "train", "ratio=0.5", "model=tiny", f"pairs={pairs}", f"out={tmp_path / 'run'}", *words
    )
    assert refused.returncode == 2
    assert message in refused.stderr


def test_mixture_json_says_what_was_trained(student: Path) -> None:
    mixture = json.loads((student / "mixture.json").read_text())
    ids = mixture["ids"]
    assert len(ids["reasoning"]) == mixture["n_reasoning"] == 20 == len(ids["ift"])
    assert sorted(ids["ift"] + ids["reasoning"]) == sorted(mixture["order"])
    assert all(c == {"ift": 5, "reasoning": 5} for c in mixture["categories"].values())
    share = mixture["supervised_tokens"]
    assert (
        mixture["reasoning_token_share"]
        == share["reasoning"] / (share["reasoning"] + share["ift"])
        > 0.5
    )


def dataset_of(tokens: dict[str, tuple[int, int, int]]) -> PairDataset:
    dataset = PairDataset(["x"])
    same = {
        "id": list(tokens),
        "category": ["math-oe"] * len(tokens),
        "source": ["s"] * len(tokens),
    }
    sides = zip(("prompt", "ift", "reasoning"), zip(*tokens.values(), strict=True), strict=True)
    dataset.add(0, range(len(tokens)), same, dict(sides))
    return dataset


def test_a_pair_with_a_long_side_is_dropped_whole() -> None:
    kept, dropped = drop_too_long(dataset_of({"a": (1, 1, 9), "b": (1, 1, 8)}), 9)
    assert kept == ["b"]
    assert dropped == {"pairs": 1, "ift": 0, "reasoning": 1}


@pytest.mark.parametrize("weight", ["token", "example"])
def test_micro_batches_partition_each_global_batch(weight: str) -> None:
    dataset = dataset_of({str(i): (3, 1 + i % 4, 5 + i * 7 % 5) for i in range(21)})
    examples = [(name, ("ift", "reasoning")[i % 2]) for i, name in enumerate(dataset.index)]
    batches = [examples[:8], examples[8:16], examples[16:]]
    sampler = MicroBatchSampler(batches, dataset, batch_size=8, micro_batch_size=3, weight=weight)
    micro = list(sampler)
    assert len(micro) == len(sampler) == 9
    for number, batch in enumerate(batches):
        rows = [row for part in micro[3 * number : 3 * number + 3] for row in part]
        counted = [row for row in rows if row[2]]
        assert sorted(row[:2] for row in counted) == sorted(batch)
        assert sum(row[2] * dataset.supervised(*row[:2]) for row in rows) == pytest.approx(1)
        if weight == "token":
            assert len({row[2] for row in counted}) == 1
        else:
            assert all(
                row[2] * dataset.supervised(*row[:2]) == pytest.approx(1 / len(batch))
                for row in counted
            )
        lengths = [dataset.length(*row[:2]) for row in counted]
        assert lengths == sorted(lengths, reverse=True)
    most = max(len(part) * max(dataset.length(*row[:2]) for row in part) for part in micro)
    assert len(sampler.largest()) * dataset.length(*sampler.largest()[0][:2]) == most


def test_the_longest_micro_batch_is_another_without_padding() -> None:
    dataset = dataset_of(
        {
            "a": (4, 6, 1),
            "b": (4, 2, 1),
            "c": (4, 2, 1),
            "d": (4, 5, 1),
            "e": (4, 5, 1),
            "f": (4, 5, 1),
        }
    )
    sampler = MicroBatchSampler(
        [[(name, "ift") for name in names] for names in ("abc", "def")], dataset, 3, 3
    )
    assert {name for name, *_ in sampler.largest()} == set("abc"), "30 tokens with their padding"
    assert {name for name, *_ in replace(sampler, padded=False).largest()} == set("def"), (
        "27 tokens against 22"
    )


def test_the_longest_micro_batch_is_told_by_its_rows_too_and_by_when_it_comes() -> None:
    """By tokens a batch of many short rows; where memory grows steeply with length that of the long
    one."""
    dataset = dataset_of({"a": (4, 26, 1), **dict.fromkeys("bcde", (4, 4, 1)), "f": (4, 6, 1)})
    sampler = MicroBatchSampler(
        [[("a", "ift"), ("f", "ift")], [(name, "ift") for name in "bcde"]], dataset, 4, 4
    )
    assert {name for name, *_ in sampler.largest()} == set("af"), "60 tokens with their padding"
    one = replace(sampler, batches=[[("a", "ift")], [(name, "ift") for name in "bcde"]])
    assert {name for name, *_ in one.largest()} == set("bcde"), "32 tokens against 30"
    assert {name for name, *_ in replace(one, quadratic=0.1).largest()} == {"a"}, (
        "30 · 4 against 32 · 1.8"
    )
    assert not sampler.largest(after_first=True), "each of these batches is one micro-batch"
    two = replace(sampler, micro_batch_size=2)
    assert {name for name, *_ in two.largest(after_first=True)} == set("de")


@given(st.lists(st.integers(1, 400), min_size=1, max_size=24), st.integers(1, 6))
@settings(deadline=None)
def test_cuts_waste_least_and_never_need_more_memory(lengths: list[int], size: int) -> None:
    """Against every way to cut them."""
    lengths = sorted(lengths, reverse=True)
    n, parts = len(lengths), -(-len(lengths) // size)

    def tokens(ends: list[int]) -> list[int]:
        return [lengths[a] * (b - a) for a, b in pairwise([0, *ends])]

    equal = tokens([*range(size, n, size), n])
    ends = least_padding(lengths, size)
    assert len(ends) == parts
    assert ends[-1] == n
    assert max(tokens(ends)) <= max(equal)
    assert sum(tokens(ends)) <= sum(equal)
    if n <= 10 and max(tokens(ends)) <= max(equal):
        every = (tokens([*cut, n]) for cut in combinations(range(1, n), parts - 1))
        allowed = [t for t in every if max(t) <= max(equal)]
        assert (
            sum(tokens(ends)) == min(map(sum, allowed)) or size < 4
        )  # a part has at most three times `size` rows


def test_rates_are_interpolated_on_a_log_scale() -> None:
    model = ModelConfig(name="m", lr={"ift": 1e-5, "reasoning": 4e-5})
    config = Config(model=model, scenario=MIXED, ratio=0.5, pairs=None)
    assert [config.peak_rate(r) for r in (0, 0.5, 1)] == pytest.approx([1e-5, 2e-5, 4e-5])
    assert config.model_copy(update={"lr": 3e-6}).peak_rate(0.5) == 3e-6
    assert config.model_copy(update={"lr_policy": "matched"}).peak_rate(0) == pytest.approx(2e-5)


PAIR = Pair(
    "p",
    "Add 2 and 2.",
    "<think>\n2 + 2 = 4\n</think>\n\n\\boxed{4}",
    "\\boxed{4}",
    "4",
    "math-oe",
    "s",
    1,
    1,
    1,
)


def check(tokenizer, rows: list[Row]) -> None:
    preflight.check_rows(Rendering(tokenizer), rows, {"p": PAIR})


def test_preflight_passes_what_is_right() -> None:
    tokenizer = load_tokenizer(TINY)
    check(tokenizer, [row_of(Rendering(tokenizer), PAIR, mode) for mode in MODES])


def test_preflight_finds_each_fault() -> None:
    tokenizer = load_tokenizer(TINY)
    row = row_of(Rendering(tokenizer), PAIR, "reasoning")

    def completion(text: str) -> tuple[int, ...]:
        return (*tokenizer(text)["input_ids"], 1)

    faults = {
        "end-of-turn token": row.completion[:-1],
        "trace is not whole": completion("\\boxed{4}"),
        "answer is not whole": completion("<think>\n2 + 2 = 4\n</think>"),
    }
    for message, broken in faults.items():
        with pytest.raises(BadInput, match=message):
            check(tokenizer, [Row("p", "reasoning", row.prompt, broken)])
    with pytest.raises(BadInput, match="not the generation prompt"):
        check(tokenizer, [Row("p", "reasoning", row.prompt[:-1], row.completion)])


def test_preflight_refuses_a_template_that_rewrites_the_prompt() -> None:
    tokenizer = load_tokenizer(TINY)
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "message['content']", "message['content'] | upper"
    )
    with pytest.raises(BadInput, match="changes the prompt"):
        check(tokenizer, [row_of(Rendering(tokenizer), PAIR, "ift")])


def test_preflight_true_shows_a_row_and_trains_nothing(pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shown = done(
        "train", "+ratio=0.5", "model=tiny", f"pairs={pairs}", "preflight=true", f"out={out}"
    )
    assert "<|im_start|>assistant\n⟦<think>" in shown
    assert "<|im_end|>⟧" in shown
    assert not out.exists()
    assert "max_steps" not in shown
    more = ("preflight=true", "batch_size=8", "max_steps=500", f"pairs={pairs}")
    beyond = done("train", "ratio=0.5", "model=tiny", *more)
    (n, epochs) = re.search(
        r"max_steps=500 is above the (\d+) steps of epochs=1, which .*; epochs=(\d+) has", beyond
    ).groups()
    assert (int(epochs) - 1) * int(n) < 500 <= int(epochs) * int(n)
    more = ("batch_size=8", "max_steps=1", f"out={out}")
    trained = done("train", "ratio=0.5", "model=tiny", f"pairs={pairs}", *more)
    assert "rows have the prompts and endings of generation (preflight=true shows one)" in trained
    assert "⟦" not in trained
    model = cli.quoted(str(out / "model"))
    assert f"next: python -m eval model={model} 'benchmarks=[{pairs}]'" in trained, "its test split"


@pytest.mark.parametrize(
    ("words", "reasoning"),
    [
        (("ratio=0",), False),
        (("ratio=1",), True),
        (("ratio=0.5",), True),
        (("scenario=general_ift+math_ift",), False),
        (("scenario=general_ift+math_reasoning",), True),
    ],
)
def test_preflight_shows_a_row_that_is_trained(
    words: tuple[str, ...], reasoning: bool, pairs: Path
) -> None:
    """A direct row where no trace is trained."""
    shown = done("train", *words, "model=tiny", f"pairs={pairs}", "batch_size=8", "preflight=true")
    assert ("⟦<think>" in shown) == reasoning
    assert shown.count("⟦") == 2  # in the heading and around the row's completion


def test_labels_are_the_completion_and_padding_is_told_by_length() -> None:
    batch = collate([Row("a", "ift", (5, 6), (7, 1)), Row("b", "ift", (5,), (1,))])
    assert batch["labels"].tolist() == [[IGNORED, IGNORED, 7, 1], [IGNORED, 1, IGNORED, IGNORED]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]


def test_a_template_fault_stops_training_before_it_starts(
    pairs: Path, tmp_path: Path, student: Path
) -> None:
    folder = tmp_path / "model"
    subprocess.run(["cp", "-r", str(student / "model"), str(folder)], check=True)
    (folder / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ m['content'] }} ### End{% endfor %}"
    )
    result = command(
        "train",
        "ratio=0",
        f"model={folder}",
        "lr=1e-4",
        f"pairs={pairs}",
        f"out={tmp_path / 'run'}",
    )
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith("train: ")
