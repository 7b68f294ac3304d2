"""What leaves a run: mixtures for other trainers, which must come to the same losses, and models
merged."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import command, done
from hypothesis import given, settings
from hypothesis import strategies as st

from ratiocine.errors import BadInput
from ratiocine.models import average, extrapolate
from ratiocine.stores import read_pairs

# A turn ends with its token and nothing after it: TRL also supervises what the template writes
# there
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def student_folder(student: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("student") / "model"
    shutil.copytree(student / "model", folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    (folder / "rendering.json").unlink()  # with another template it is a model like any other
    return folder


def lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_the_exported_mixture_is_what_is_trained(pairs: Path, tmp_path: Path) -> None:
    words = (
        "train",
        "ratio=0.25",
        "model=tiny",
        "scenario=sequential",
        f"pairs={pairs}",
        "batch_size=8",
        "epochs=2",
    )
    done(*words, f"export={tmp_path / 'export'}")
    done(*words, f"out={tmp_path / 'run'}")
    mixture = json.loads((tmp_path / "run" / "mixture.json").read_text())
    messages, completions = (
        lines(tmp_path / "export" / f"{name}.jsonl") for name in ("messages", "prompt_completion")
    )
    assert [row["id"] for row in messages] == [row["id"] for row in completions] == mixture["order"]
    for mode in ("ift", "reasoning"):
        assert [row["id"] for row in messages if row["format"] == mode] == mixture["ids"][mode]
    by_id = {pair.id: pair for pair in read_pairs(pairs / "pairs.parquet")}
    for row, split in zip(messages, completions, strict=True):
        assert row["messages"] == split["prompt"] + split["completion"]
        assert row["messages"][0]["content"] == by_id[row["id"]].prompt
        assert row["messages"][1]["content"] == by_id[row["id"]].side(row["format"])
    assert not (tmp_path / "export" / "manifest.json").exists()


def test_plain_trl_comes_to_our_losses(pairs: Path, student_folder: Path, tmp_path: Path) -> None:
    """In float32, at a constant rate, over the exported mixture in its order."""
    trl = pytest.importorskip("trl")
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer

    words = (
        "train",
        "ratio=0.5",
        f"model={student_folder}",
        f"pairs={pairs}",
        "batch_size=8",
        "lr=1e-3",
        "warmup=0",
        "decay=0",
    )
    done(*words, f"out={tmp_path / 'run'}")
    done(*words, f"export={tmp_path / 'export'}")
    ours = [row["loss"] for row in lines(tmp_path / "run" / "metrics.jsonl")]
    rows = [
        {key: row[key] for key in ("prompt", "completion")}
        for row in lines(tmp_path / "export" / "prompt_completion.jsonl")
    ]
    arguments = trl.SFTConfig(
        output_dir=str(tmp_path / "trl"),
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        num_train_epochs=1,
        learning_rate=1e-3,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        max_grad_norm=1.0,
        optim="adamw_torch_fused",
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        logging_steps=1,
        train_sampling_strategy="sequential",
        disable_tqdm=True,
    )
    model, tokenizer = (
        kind.from_pretrained(student_folder) for kind in (AutoModelForCausalLM, AutoTokenizer)
    )
    trainer = trl.SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    trainer.train()
    theirs = [float(row["loss"]) for row in trainer.state.log_history if "loss" in row]
    assert theirs == pytest.approx(ours, abs=1e-3)


SHAPES = st.dictionaries(
    st.sampled_from("abc"), st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=1
)


@given(SHAPES, st.floats(-2, 3), st.integers(0, 99))
@settings(deadline=None)
def test_the_length_dial(shapes: dict, alpha: float, seed: int) -> None:
    torch.manual_seed(seed)
    a, b = ({name: torch.randn(shape) for name, shape in shapes.items()} for _ in range(2))
    for name in shapes:
        assert torch.allclose(
            extrapolate(a, b, alpha)[name], a[name] + alpha * (b[name] - a[name]), atol=1e-5
        )
        assert torch.equal(extrapolate(a, b, 0)[name], a[name])
        assert torch.equal(extrapolate(a, b, 1)[name], b[name])
        assert torch.allclose(average([a, b])[name], extrapolate(b, a, 0.5)[name])
        assert torch.allclose(average([a, a, a])[name], a[name])


def test_models_of_other_shapes_are_refused() -> None:
    with pytest.raises(BadInput, match=r"'a' is \(2,\) and \(3,\)"):
        average([{"a": torch.ones(2)}, {"a": torch.ones(3)}])
    with pytest.raises(BadInput, match="only one of them has 'b'"):
        average([{"a": torch.ones(2)}, {"a": torch.ones(2), "b": torch.ones(1)}])


def test_a_merged_model_is_a_plain_folder(student_folder: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    done(
        "train.merge",
        str(student_folder),
        str(student_folder),
        "--alpha",
        "1.5",
        "--out",
        str(tmp_path / "merged"),
    )
    mine, other = (
        AutoModelForCausalLM.from_pretrained(f).state_dict()
        for f in (tmp_path / "merged", student_folder)
    )
    assert all(torch.allclose(mine[name], other[name], atol=1e-6) for name in other)
    refused = command("train.merge", str(student_folder), "--out", str(tmp_path / "x"))
    assert (refused.returncode, refused.stderr.splitlines()[-1]) == (
        2,
        "merge: a merge takes two models or more, not 1",
    )
    refused = command(
        "train.merge", *[str(student_folder)] * 3, "--alpha", "2", "--out", str(tmp_path / "x")
    )
    assert (refused.returncode, "give two models, not 3" in refused.stderr) == (2, True)
