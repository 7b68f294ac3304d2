"""A folder with a LoRA adapter as `model=`: it is the adapter's model, merged in the cache."""

import json
from pathlib import Path

import pytest
import torch
from conftest import ROOT, command, done
from peft import PeftModel

from ratiocine import models
from ratiocine.models import ModelConfig

PROMPT = torch.arange(12)[None] + 5


@pytest.fixture
def adapter(student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An adapter of a tiny student that changes its logits."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    base = models.load_model(ModelConfig(name="local", path=str(student / "model")), "cpu")
    adapted = models.add_lora(base, 4, "all-linear", seed=0)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3, generator=torch.Generator().manual_seed(1))
    adapted.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def test_it_computes_as_the_base_model_with_the_adapter(adapter: Path, student: Path) -> None:
    base = models.load_model(ModelConfig(name="local", path=str(student / "model")), "cpu")
    named = ModelConfig(name="local", path=str(adapter))
    with torch.no_grad():
        plain = base(PROMPT).logits
        adapted = PeftModel.from_pretrained(base, str(adapter)).eval()(PROMPT).logits
        merged = models.load_model(named, "cpu")(PROMPT).logits
    assert torch.allclose(merged, adapted, atol=1e-5)
    assert not torch.allclose(merged, plain, atol=1e-2)


def test_only_its_weights_need_merging(adapter: Path, student: Path, tmp_path: Path) -> None:
    named = ModelConfig(name="local", path=str(adapter))
    of_base = ModelConfig(name="local", path=str(student / "model"))
    assert models.size(named) == models.size(of_base)
    assert models.load_tokenizer(named).vocab_size == models.load_tokenizer(of_base).vocab_size
    before = models.fingerprint(named)
    assert before != models.fingerprint(of_base)
    assert not list(tmp_path.rglob("merged-*"))
    models.load_model(named, "cpu")
    assert list(tmp_path.rglob("merged-*"))
    assert models.fingerprint(named) == before


def test_what_is_more_than_plain_lora_is_named(adapter: Path, student: Path) -> None:
    assert models.more_than_lora(adapter) is None
    config = json.loads((adapter / "adapter_config.json").read_text())
    for changed, reason in (
        ({"use_dora": True}, "use_dora=True"),
        ({"rank_pattern": {"q_proj": 2}}, "rank_pattern={'q_proj': 2}"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save=['lm_head']"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights=pissa"),
        ({"peft_type": "LOHA"}, "peft_type=LOHA"),
        ({"r": 8}, "r=8, and weights of rank 4"),
    ):
        (adapter / "adapter_config.json").write_text(json.dumps(config | changed))
        assert models.more_than_lora(adapter) == reason
    base = models.load_model(ModelConfig(name="local", path=str(student / "model")), "cpu")
    models.add_lora(base, 4, ["lm_head"], seed=0).save_pretrained(adapter)
    assert models.more_than_lora(adapter).startswith("weights of lm_head")


def test_eval_takes_it(adapter: Path, tmp_path: Path) -> None:
    words = ("benchmarks=demo", "limit=1", "max_new_tokens=4")
    done("eval", f"model={adapter}", *words, f"out={tmp_path / 'scores'}")
    assert (tmp_path / "scores" / "DONE").exists()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"base_model_name_or_path": "./gone"},
            f"is an adapter of ./gone, which is neither a folder in {ROOT} nor found on the "
            "Hugging Face hub; give the path of the base model as base_model_name_or_path in ",
        ),
        ({"base_model_name_or_path": None}, "is an adapter whose adapter_config.json names no"),
    ],
)
def test_an_adapter_without_its_base_is_one_line(
    config: dict[str, object], message: str, tmp_path: Path
) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"} | config))
    refused = command("eval", f"model={tmp_path}", "benchmarks=demo", "limit=1")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1), refused.stderr
    assert f"model={tmp_path} {message}" in refused.stderr


def test_an_adapter_of_another_shape_is_one_line(adapter: Path, tmp_path: Path) -> None:
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"r": 8}))
    refused = command("eval", f"model={adapter}", "benchmarks=demo", "limit=1")
    assert refused.returncode == 2
    last = refused.stderr.splitlines()[-1]
    assert f"model={adapter} cannot be merged with its base model" in last
