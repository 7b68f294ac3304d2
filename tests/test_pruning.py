"""Depth pruning: the kept layers compute as in the whole model, and every verb takes the result."""

import json
from pathlib import Path

import pytest
import torch
from conftest import command, done, reshaped

from ratiocine import models
from ratiocine.models import ModelConfig, kept_layers, renumber_layers


@pytest.fixture(scope="module")
def deep(student: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of five layers."""
    return reshaped(student, tmp_path_factory.mktemp("deep") / "deep", num_hidden_layers=5)


def test_the_first_and_the_last_are_kept_layers() -> None:
    assert kept_layers(5, 3) == [0, 1, 4]
    names = [
        "model.embed_tokens.weight",
        *(f"model.layers.{i}.mlp.up_proj.weight" for i in range(12)),
        "model.norm.weight",
    ]
    found = renumber_layers({name: name for name in names}, kept_layers(12, 3))
    assert list(found) == [
        names[0],
        "model.layers.0.mlp.up_proj.weight",
        "model.layers.1.mlp.up_proj.weight",
        "model.layers.2.mlp.up_proj.weight",
        names[-1],
    ]
    assert found["model.layers.2.mlp.up_proj.weight"] == "model.layers.11.mlp.up_proj.weight"


def test_it_computes_as_those_layers_do(deep: Path) -> None:
    named = ModelConfig(name="local", path=str(deep))
    whole, short = (
        models.load_model(one, "cpu") for one in (named, named.model_copy(update={"layers": 3}))
    )
    assert short.config.num_hidden_layers == 3
    assert (
        models.size(named.model_copy(update={"layers": 3}))
        == short.num_parameters()
        < whole.num_parameters()
    )
    ids = torch.arange(12)[None] + 5
    with torch.no_grad():
        x, mask = whole.model.embed_tokens(ids), None
        position = whole.model.rotary_emb(x, torch.arange(12)[None])
        for number in (0, 1, 4):
            x = whole.model.layers[number](x, attention_mask=mask, position_embeddings=position)
            x = x[0] if isinstance(x, tuple) else x
        assert torch.allclose(short(ids).logits, whole.lm_head(whole.model.norm(x)), atol=1e-5)


def test_verbs_take_it(deep: Path, pairs: Path, tmp_path: Path) -> None:
    words = (
        "ratio=0.5",
        f"pairs={pairs}",
        "batch_size=8",
        "max_steps=1",
        "lr=1e-4",
        "precision=float32",
    )
    done("train", f"model={deep}", "model.layers=2", *words, f"out={tmp_path / 'run'}")
    assert (
        json.loads((tmp_path / "run" / "model" / "config.json").read_text())["num_hidden_layers"]
        == 2
    )
    assert models.fingerprint(ModelConfig(name="local", path=str(deep))) != models.fingerprint(
        ModelConfig(name="local", path=str(deep), layers=2)
    )


@pytest.mark.parametrize("layers", [1, 5, 9])
def test_what_is_not_fewer_is_refused(deep: Path, layers: int) -> None:
    result = command("eval", f"model={deep}", f"model.layers={layers}", "benchmarks=demo")
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
    assert (
        f"model.layers={layers}: deep has 5 layers; at least 2 and fewer than that are allowed"
        in result.stderr
    )
    assert (
        "needs a model folder"
        in command("eval", "model=tiny", "model.layers=2", "benchmarks=demo").stderr
    )
