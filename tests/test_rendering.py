"""What is written for both formats in each template family, token for token, and that a student is
asked as it was taught."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import command, done

from ratiocine.errors import BadInput
from ratiocine.models import ModelConfig, load_tokenizer
from ratiocine.prompts import CHATML, GEMMA, PLAIN
from ratiocine.records import MODES
from ratiocine.rendering import Rendering
from ratiocine.stores import read_completions

# The families' own forms, as their cards describe them, for conversations of one user message.
BEGIN = (
    "{% if messages[0]['role'] == 'system' %}"
    "{{ '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}"
)
TURNS = (
    "{% for m in messages %}{% if m['role'] != 'system' %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
)
QWEN2 = (
    BEGIN
    + "{% else %}{{ '<|im_start|>system\nYou are Qwen.<|im_end|>\n' }}{% endif %}"
    + TURNS
    + "{% endif %}"
)
QWEN3 = (
    BEGIN
    + "{% endif %}"
    + TURNS
    + "{% if enable_thinking is defined and enable_thinking is false %}"
    "{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
R1 = BEGIN + "{% endif %}" + TURNS + "{{ '<think>\n' }}{% endif %}"
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] | trim + "
    "'<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
GEMMA3 = (
    "{{ bos_token }}{% for m in messages %}"
    "{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
SPECIAL = [
    "<|im_start|>",
    "<|im_end|>",
    "<|begin_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<bos>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<|endoftext|>",
]
BLOCK = "<think>\n\n</think>\n\n"
TRACE = "<think>\n2+2 is 4\n</think>\n\n\\boxed{4}"
# family: template, special tokens (begin, end), whether think tags are tokens, prompt, end of turn
FAMILIES = {
    "qwen2.5": (
        QWEN2,
        None,
        "<|im_end|>",
        "<|im_start|>system\nYou are Qwen.<|im_end|>\n"
        "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n",
        "<|im_end|>",
    ),
    "qwen3": (
        QWEN3,
        None,
        "<|im_end|>",
        "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n",
        "<|im_end|>",
    ),
    "llama-3": (
        LLAMA3,
        "<|begin_of_text|>",
        "<|eot_id|>",
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n2+2?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|eot_id|>",
    ),
    "gemma-3": (
        GEMMA3,
        "<bos>",
        "<end_of_turn>",
        "<bos><start_of_turn>user\n2+2?<end_of_turn>\n<start_of_turn>model\n",
        "<end_of_turn>",
    ),
    "gemma": (
        "{{ bos_token }}" + GEMMA,
        "<bos>",
        "<end_of_turn>",
        "<bos><start_of_turn>user\n2+2?<end_of_turn>\n<start_of_turn>model\n",
        "<end_of_turn>",
    ),
    "chatml": (
        CHATML,
        None,
        "<|im_end|>",
        "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n",
        "<|im_end|>",
    ),
    "base": (PLAIN, None, "<|endoftext|>", "Question: 2+2?\nAnswer:", "<|endoftext|>"),
}


def tokenizer_of(template: str, bos: str | None, eos: str, *, thinks: bool):
    """Bytes, and the families' special tokens; Qwen3 has tokens for its think tags as well."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    if thinks:
        tokenizer.add_tokens(["<think>", "</think>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=bos, eos_token=eos, chat_template=template
    )


def golden(text: str, *, thinks: bool) -> list[str]:
    """Its tokens: special ones whole, all else by bytes."""
    marks, found = [*SPECIAL, *(["<think>", "</think>"] if thinks else [])], []
    while text:
        mark = next((m for m in marks if text.startswith(m)), text[0])
        found.append(mark)
        text = text[len(mark) :]
    return found


@pytest.mark.parametrize("form", ["plain", "empty", "switch"])
@pytest.mark.parametrize("family", FAMILIES)
def test_golden_tokens(family: str, form: str) -> None:
    template, bos, eos, prompt, end = FAMILIES[family]
    thinks = family == "qwen3"
    tokenizer = tokenizer_of(template, bos, eos, thinks=thinks)
    rendering = Rendering(tokenizer, form)
    expected = {
        "plain": {"ift": (prompt, "\\boxed{4}"), "reasoning": (prompt, TRACE)},
        "empty": {"ift": (prompt, BLOCK + "\\boxed{4}"), "reasoning": (prompt, TRACE)},
        "switch": {"ift": (prompt + BLOCK, "\\boxed{4}"), "reasoning": (prompt, TRACE)},
    }[form]
    for mode, text in (("ift", "\\boxed{4}"), ("reasoning", TRACE)):
        asked, answered = rendering.prompt("2+2?", mode), rendering.completion(text, mode)
        assert [tokenizer.decode([i]) for i in asked] == golden(expected[mode][0], thinks=thinks)
        assert [tokenizer.decode([i]) for i in answered] == golden(
            expected[mode][1] + end, thinks=thinks
        )
        plain = Rendering(tokenizer_of(template, bos, eos, thinks=thinks), "plain")
        more = (
            len(asked) - len(plain.prompt("2+2?", mode)),
            len(answered) - len(plain.completion(text, mode)),
        )
        assert rendering.extra_tokens(mode) == more


@pytest.mark.parametrize(
    ("family", "form"), [("qwen2.5", "plain"), ("qwen3", "switch"), ("base", "plain")]
)
def test_the_form_is_the_templates_own(family: str, form: str) -> None:
    template, bos, eos, *_ = FAMILIES[family]
    assert Rendering(tokenizer_of(template, bos, eos, thinks=False)).form == form


def test_a_block_that_the_prompt_opens_is_not_opened_again() -> None:
    tokenizer = tokenizer_of(R1, None, "<|im_end|>", thinks=True)
    with pytest.raises(
        BadInput,
        match="opens a think block itself, which a direct answer would not close: "
        "direct_format=empty",
    ):
        Rendering(tokenizer)
    rendering = Rendering(tokenizer, "empty")
    asked = "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n<think>\n"
    whole = {
        "ift": asked + "\n</think>\n\n\\boxed{4}<|im_end|>",
        "reasoning": asked + "2+2 is 4\n</think>\n\n\\boxed{4}<|im_end|>",
    }
    for mode, text in (("ift", "\\boxed{4}"), ("reasoning", TRACE)):
        ids = [*rendering.prompt("2+2?", mode), *rendering.completion(text, mode)]
        assert tokenizer.decode(ids) == whole[mode]
    with pytest.raises(BadInput, match="opens a think block with"):
        rendering.completion("no trace at all", "reasoning")


def taught(pairs: Path, out: Path, *words: str) -> dict:
    done(
        "train", "model=tiny", f"pairs={pairs}", "batch_size=8", "max_steps=2", f"out={out}", *words
    )
    return json.loads((out / "model" / "rendering.json").read_text())


@pytest.mark.slow
def test_a_student_is_asked_as_it_was_taught(pairs: Path, tmp_path: Path) -> None:
    """A switch is given to a template that has none, and stays with the student; the direct one is
    asked without thinking."""
    record = taught(pairs, tmp_path / "run", "ratio=0", "direct_format=switch")
    assert (record["form"], record["taught"]) == ("switch", ["ift"])
    student = tmp_path / "run" / "model"
    tokenizer = load_tokenizer(ModelConfig(name="local", path=str(student)))
    messages = [{"role": "user", "content": "Hi"}]
    asked = tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
    )
    assert asked == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n" + BLOCK
    words = (f"model={student}", "benchmarks=[demo]", "limit=2", "max_new_tokens=4")
    for name, more in {
        "as taught": (),
        "direct": ("thinking=false",),
        "thinking": ("thinking=true",),
    }.items():
        done("eval", *words, *more, f"out={tmp_path / name}")
    rows, direct, thinking = (
        list(read_completions(tmp_path / n / "completions.jsonl"))
        for n in ("as taught", "direct", "thinking")
    )
    assert [row.n_prompt for row in rows] == [row.n_prompt for row in direct]
    assert all(a.n_prompt - b.n_prompt == len(BLOCK) for a, b in zip(direct, thinking, strict=True))


def test_another_template_than_the_students_is_refused(pairs: Path, tmp_path: Path) -> None:
    assert taught(pairs, tmp_path / "run", "ratio=0.5")["form"] == "plain"
    student = tmp_path / "run" / "model"
    words = (f"model={student}", "benchmarks=[demo]", "limit=1", "max_new_tokens=4")
    done("eval", *words, f"out={tmp_path / 'eval'}")
    refused = command("eval", *words, "model.chat_template=plain", f"out={tmp_path / 'other'}")
    assert refused.returncode == 2
    assert "was taught under another chat template" in refused.stderr
    copy = shutil.copytree(student, tmp_path / "copy")
    (copy / "chat_template.jinja").write_text("Be brief. " + CHATML)
    refused = command(
        "train",
        "ratio=0.5",
        f"model={copy}",
        "lr=1e-4",
        f"pairs={pairs}",
        f"out={tmp_path / 'next'}",
    )
    assert refused.returncode == 2
    assert "remove its rendering.json" in refused.stderr


@pytest.mark.parametrize("form", ["empty", "switch"])
def test_lengths_hold_in_every_form(form: str, pairs: Path, tmp_path: Path) -> None:
    """Rows are checked against the planned lengths while they are trained on; here, what is written
    down."""
    plain = tmp_path / "plain"
    taught(pairs, plain, "ratio=0.5")
    taught(pairs, tmp_path / form, "ratio=0.5", f"direct_format={form}")
    before, after = (
        json.loads((out / "mixture.json").read_text()) for out in (plain, tmp_path / form)
    )
    assert after["direct_format"] == form
    assert before["examples_hash"] == after["examples_hash"]
    blocks = len(BLOCK) * len(before["ids"]["ift"])
    assert after["tokens"] - before["tokens"] == blocks
    assert after["supervised_tokens"]["ift"] - before["supervised_tokens"]["ift"] == (
        blocks if form == "empty" else 0
    )
    assert after["supervised_tokens"]["reasoning"] == before["supervised_tokens"]["reasoning"]


def test_other_trainers_are_told_the_form(pairs: Path, tmp_path: Path) -> None:
    for form in ("empty", "switch"):
        done(
            "train",
            "ratio=0.5",
            "model=tiny",
            f"pairs={pairs}",
            f"direct_format={form}",
            f"export={tmp_path / form}",
        )
    rows = {
        form: [
            json.loads(line)
            for line in (tmp_path / form / "prompt_completion.jsonl").read_text().splitlines()
        ]
        for form in ("empty", "switch")
    }
    assert all(row["completion"][0]["content"].startswith("<think>") for row in rows["empty"])
    assert {
        (row["format"], row["chat_template_kwargs"]["enable_thinking"]) for row in rows["switch"]
    } == {
        ("ift", False),
        ("reasoning", True),
    }
    assert set(MODES) == {row["format"] for row in rows["empty"]}
