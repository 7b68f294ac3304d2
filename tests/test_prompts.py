"""Rendering and its inverse; the tokens that train are the tokens that generate."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers.processors import TemplateProcessing

from ratiocine.completion_parts import Parts, last_boxed, render, split
from ratiocine.errors import BadInput
from ratiocine.models import ModelConfig, load_tokenizer
from ratiocine.prompts import (
    TEMPLATES,
    chat_template,
    completion_ids,
    end_of_turn,
    prompt_ids,
    prompt_text,
    stop_ids,
    user_text,
)
from ratiocine.records import Problem

TINY = load_tokenizer(ModelConfig(name="tiny", kind="tiny"))
PLAIN = st.text(alphabet=st.characters(blacklist_categories=["Cs"]), max_size=60).map(str.strip)


@given(st.one_of(st.none(), PLAIN), PLAIN)
def test_split_undoes_render(think: str | None, answer: str) -> None:
    parts = split(render(answer, think))
    assert (parts.think, parts.answer, parts.closed) == (think, answer, True)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("4", Parts(None, "4", None, True)),
        ("<think>\n2+2\n</think>\n\n\\boxed{4}", Parts("2+2", "\\boxed{4}", "4", True)),
        (
            "2+2</think>\\boxed{4}",
            Parts("2+2", "\\boxed{4}", "4", True),
        ),  # the template opened the block
        (
            "<think>\\boxed{4}",
            Parts("\\boxed{4}", "", None, False),
        ),  # cut off while thinking: no answer
        (
            "<think>a</think>\\boxed{3}<think>\\boxed{4}",
            Parts("a</think>\\boxed{3}<think>\\boxed{4}", "", None, False),
        ),
        ("<think>a</think>b</think>\\boxed{4}", Parts("a</think>b", "\\boxed{4}", "4", True)),
        ("", Parts(None, "", None, True)),
    ],
)
def test_split(text: str, parts: Parts) -> None:
    assert split(text) == parts


@pytest.mark.parametrize(
    ("text", "boxed"),
    [
        ("\\boxed{1} then \\boxed{2}", "2"),
        ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("\\boxed{ 3 }.", "3"),
        ("\\boxed{3", None),
        ("none", None),
    ],
)
def test_last_boxed(text: str, boxed: str | None) -> None:
    assert last_boxed(text) == boxed


def test_user_text_shows_the_options() -> None:
    problem = Problem(
        "1", "Which?", "B", "choice", "general-mc", "t", "Box it.", ("x", "y"), context="Read."
    )
    assert user_text(problem) == "Box it.\nRead.\nWhich?\nA. x\nB. y"


def test_golden_tokens() -> None:
    """ChatML, byte for byte: the prompt ends where the completion starts, the completion ends the
    turn."""
    text = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert TINY.decode(prompt_ids(TINY, "Hi")) == text
    assert prompt_ids(TINY, "Hi")[0] == 0
    ids = completion_ids(TINY, render("4", "2+2"))
    assert TINY.decode(ids) == "<think>\n2+2\n</think>\n\n4<|im_end|>"
    assert ids[-1] == 1


LLAMA = (
    "{% for m in messages %}<|start|>{{ m['role'] }}\n\n{{ m['content'] }}<|eot|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n\n{% endif %}"
)
GEMMA = (
    "{% for m in messages %}<turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{{ m['content'] }}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}<turn>model\n{% endif %}"
)


@pytest.mark.parametrize(
    ("template", "special", "stop"),
    [(LLAMA, ["<|start|>", "<|eot|>"], "<|eot|>"), (GEMMA, ["<turn>", "<end>"], "<end>")],
)
def test_a_turn_ends_as_the_template_ends_it(template: str, special: list[str], stop: str) -> None:
    """Not with the tokenizer's eos_token, which in these families is another one."""
    tokenizer = load_tokenizer(ModelConfig(name="tiny", kind="tiny"))
    tokenizer.add_tokens(special, special_tokens=True)
    tokenizer.chat_template = template
    assert end_of_turn(tokenizer) == tokenizer.convert_tokens_to_ids(stop) != tokenizer.eos_token_id


@pytest.mark.parametrize("name", ["chatml", "gemma", "plain", "r1-zero"])
def test_a_tokenizer_that_begins_texts_has_one_beginning_in_a_prompt(name: str) -> None:
    """And a tokenizer that does not, none."""
    tokenizer = load_tokenizer(ModelConfig(name="tiny", kind="tiny"))
    plain = chat_template(name, tokenizer)
    assert plain == TEMPLATES[name]
    special = ["<bos>", "<start_of_turn>", "<end_of_turn>"]
    tokenizer.add_special_tokens({"bos_token": "<bos>", "additional_special_tokens": special})
    bos = tokenizer.bos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", bos)]
    )
    assert tokenizer("a")["input_ids"][0] == bos
    tokenizer.chat_template = chat_template(name, tokenizer)
    turns = [{"role": role, "content": "?"} for role in ("user", "assistant", "user")]
    for messages in ("What is <bos>?", turns):
        ids = prompt_ids(tokenizer, messages)
        assert ids[0] == bos and ids.count(bos) == 1
        tokenizer.chat_template = plain
        assert prompt_ids(tokenizer, messages) == ids[1:]
        tokenizer.chat_template = "{{ bos_token }}" + plain


def test_gemma_puts_the_system_message_into_the_users_turn() -> None:
    tokenizer = load_tokenizer(ModelConfig(name="tiny", kind="tiny", chat_template="gemma"))
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "2+2?"},
    ]
    assert prompt_text(tokenizer, messages) == (
        "<start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\nHello"
        "<end_of_turn>\n<start_of_turn>user\n2+2?<end_of_turn>\n<start_of_turn>model\n"
    )


def test_a_completion_ends_at_the_end_of_turn_and_of_text() -> None:
    tokenizer = load_tokenizer(ModelConfig(name="tiny", kind="tiny"))
    assert stop_ids(tokenizer) == (1,)
    tokenizer.add_tokens(["<start_of_turn>", "<end_of_turn>"], special_tokens=True)
    tokenizer.chat_template = TEMPLATES["gemma"]
    assert stop_ids(tokenizer) == (tokenizer.convert_tokens_to_ids("<end_of_turn>"), 1)


def test_a_template_that_never_ends_a_turn_is_refused() -> None:
    tokenizer = load_tokenizer(ModelConfig(name="tiny", kind="tiny"))
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}### End\n{% endfor %}"
    with pytest.raises(BadInput, match="no special token"):
        end_of_turn(tokenizer)
