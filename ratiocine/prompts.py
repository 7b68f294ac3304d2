"""Problem → prompt: chat templates, system prompts, instructions and few-shot examples.

One format for training and generation: the prompt is the chat template's generation prompt for one
user message; the completion (`completion_parts`) follows token by token and ends with the
template's end-of-turn token.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from ratiocine.completion_parts import CLOSE, OPEN
from ratiocine.errors import BadInput
from ratiocine.records import LETTERS, Problem

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SWITCH = "enable_thinking"  # of chat templates

# For models that know its markers, and for the packaged one (whose own template adds 20 tokens of
# system prompt per turn).
CHATML = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Gemma's own: a system message is the first part of the user's.
GEMMA = (
    "{% set system = messages[0]['content'] + '\n\n' if messages[0]['role'] == 'system' else '' %}"
    "{% for message in messages if message['role'] != 'system' %}"
    "<start_of_turn>{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n"
    "{{ system if loop.first else '' }}{{ message['content'] }}<end_of_turn>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
# For base models: text without markers; a turn ends with the tokenizer's own end token.
PLAIN = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}"
    " {{ message['content'] }}\n\n"
    "{% else %}Question: {{ message['content'] }}\nAnswer:{% endif %}{% endfor %}"
)
# DeepSeek-R1-Zero's, for base models (arXiv 2501.12948, table 1)
R1_ZERO = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves "
    "it. The assistant first thinks about the reasoning process in the mind and then provides the "
    "user with the answer. The reasoning process and answer are enclosed within <think> </think> "
    "and <answer> </answer> tags, respectively, i.e., <think> reasoning process here </think> "
    "<answer> answer here </answer>."
    "{% for message in messages %}{% if message['role'] == 'assistant' %}"
    " {{ message['content'] }}"
    "{% else %} User: {{ message['content'] }} Assistant:{% endif %}{% endfor %}"
)
PLAIN_STOP = ("\nQuestion:",)  # a base model continues with the next question
# Appended to any template: the generation prompt itself opens the think block.
PREFILLED = "{% if add_generation_prompt %}{{ '" + OPEN + "\\n' }}{% endif %}"
TEMPLATES = {"chatml": CHATML, "gemma": GEMMA, "plain": PLAIN, "r1-zero": R1_ZERO}


def chat_template(name: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """One of `TEMPLATES`, which begins with the beginning-of-text token if the tokenizer puts it
    before every text: a rendered prompt is tokenized without."""
    first = tokenizer("?")["input_ids"][0]
    begins = tokenizer.bos_token_id is not None and first == tokenizer.bos_token_id
    return "{{ bos_token }}" * begins + TEMPLATES[name]


def user_text(problem: Problem) -> str:
    """The user message: instruction, context, question, lettered options; the same for both modes
    and all arms."""
    options = "\n".join(
        f"{letter}. {text}" for letter, text in zip(LETTERS, problem.choices, strict=False)
    )
    return "\n".join(
        part for part in (problem.instruction, problem.context, problem.question, options) if part
    )


def prompt_text(
    tokenizer: PreTrainedTokenizerBase,
    messages: str | Sequence[Mapping[str, str]],
    thinking: bool | None = None,
) -> str:
    """The generation prompt of a conversation, or of one user message. `thinking` sets
    `enable_thinking` of the template; None leaves its default. Raises NoSwitch if the template
    lacks it."""
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    switch = {} if thinking is None else {SWITCH: thinking}
    if switch:
        check_switch(tokenizer)
    return tokenizer.apply_chat_template(
        list(messages), tokenize=False, add_generation_prompt=True, **switch
    )


class NoSwitch(BadInput):
    """A chat template without `enable_thinking`."""


def check_switch(tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise NoSwitch if the chat template does not use `enable_thinking`."""
    if SWITCH not in str(tokenizer.chat_template):
        raise NoSwitch(
            f"thinking cannot be set: this model's chat template has no switch ({SWITCH})"
        )


def opens_thinking(prompt: str) -> bool:
    """Whether a prompt ends inside a think block: some templates open one."""
    return prompt.rstrip().endswith(OPEN)


def prompt_ids(
    tokenizer: PreTrainedTokenizerBase,
    messages: str | Sequence[Mapping[str, str]],
    prefix: str = "",
    thinking: bool | None = None,
) -> list[int]:
    """Token ids of `prompt_text` and of the `prefix` of the assistant's turn. Control tokens within
    a message are ordinary text."""
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    # The prefix is encoded apart: its tokens are those of a completion, not of a longer prompt.
    after = text_ids(tokenizer, prefix) if prefix else []
    control = control_tokens(tokenizer)
    if control is None or not any(control.search(message["content"]) for message in messages):
        text = prompt_text(tokenizer, messages, thinking)
        return [*tokenizer(text, add_special_tokens=False)["input_ids"], *after]
    found, mark = list[str](), "\ue0ff\ue0fe"  # private characters, in place of a control token
    while any(mark in message["content"] for message in messages):
        mark += "\ue0fe"

    def masked(match: re.Match[str]) -> str:
        found.append(match[0])
        return f"{mark}{len(found) - 1}{mark}"

    hidden = [{**m, "content": control.sub(masked, m["content"])} for m in messages]
    ids = list[int]()
    for at, part in enumerate(prompt_text(tokenizer, hidden, thinking).split(mark)):
        if at % 2:
            ids += text_ids(tokenizer, found[int(part)])
        elif part:
            ids += tokenizer(part, add_special_tokens=False)["input_ids"]
    return [*ids, *after]


# Control tokens of any model's chat template, for texts whose tokenizer is not known.
CONTROL_TOKEN = re.compile(
    r"<\|[A-Za-z0-9_▁ ]{1,40}\|>|<｜[^｜<>]{1,40}｜>|<(?:start|end)_of_turn>|\[/?INST\]|<</?SYS>>"
)
_control: WeakKeyDictionary[object, re.Pattern[str] | None] = WeakKeyDictionary()


def control_tokens(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str] | None:
    """The tokenizer's special tokens, such as `<|im_end|>`, as they would stand in a text; None if
    it has none."""
    if tokenizer not in _control:
        added = tokenizer.added_tokens_decoder.values()
        names = {*tokenizer.all_special_tokens, *(str(one) for one in added if one.special)}
        names -= {OPEN, CLOSE, ""}
        longest_first = sorted(names, key=lambda name: (-len(name), name))
        _control[tokenizer] = re.compile("|".join(map(re.escape, longest_first))) if names else None
    return _control[tokenizer]


def text_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of a text in which control tokens are ordinary characters."""
    control = control_tokens(tokenizer)
    if control is None or control.search(text) is None:
        return tokenizer(text, add_special_tokens=False)["input_ids"]
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]


def completion_ids(tokenizer: PreTrainedTokenizerBase, completion: str) -> list[int]:
    """Token ids of a completion and its end-of-turn token: the supervised tokens of training."""
    return [*text_ids(tokenizer, completion), end_of_turn(tokenizer)]


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int:
    """Id of the chat template's end-of-turn token (`<|im_end|>`, `<|eot_id|>`, …), not always the
    tokenizer's `eos_token`.

    Raises BadInput if the template ends a turn with ordinary text: a model cannot learn to stop
    there.
    """
    marker = "RATIOCINE"
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": marker}]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    tail = tokenizer(text.rpartition(marker)[2].strip(), add_special_tokens=False)["input_ids"]
    token = tail[0] if tail else tokenizer.eos_token_id
    if token not in tokenizer.all_special_ids and token not in tokenizer.added_tokens_decoder:
        raise BadInput(
            f"the chat template ends a turn with {tokenizer.decode(tail)!r}, which is no special "
            f"token"
        )
    return token


def stop_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Ids of the tokens that end a completion: the end of turn, and the tokenizer's `eos_token`,
    with which a base model ends a text."""
    end, eos = end_of_turn(tokenizer), tokenizer.eos_token_id
    return (end,) if eos in (None, end) else (end, eos)
