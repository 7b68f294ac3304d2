"""Problem → prompt, text → parts. The one place that knows `<think>`, `<answer>` and `\\boxed{}`.

One rendering, used by training and generation alike: the prompt is the chat template's own generation prompt for one user
message, the completion follows token for token and ends with the template's end-of-turn token. An IFT completion is the
plain answer with no think block; a reasoning completion is `<think>\\n…\\n</think>\\n\\n` and then the same answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ratiocine.errors import BadInput
from ratiocine.records import LETTERS, Problem

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

OPEN, CLOSE = "<think>", "</think>"
ANSWER_OPEN, ANSWER_CLOSE = "<answer>", "</answer>"
SWITCH = "enable_thinking"  # what chat templates call it

# For models that know its markers, and for the packaged one (whose own adds 20 tokens of system prompt a turn).
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# For base models: text with no marker of any kind; a turn ends with the tokenizer's own end token.
PLAIN = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %} {{ message['content'] }}\n\n"
    "{% else %}Question: {{ message['content'] }}\nAnswer:{% endif %}{% endfor %}"
)
# DeepSeek-R1-Zero's, for base models (arXiv 2501.12948, table 1)
R1_ZERO = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. The assistant first "
    "thinks about the reasoning process in the mind and then provides the user with the answer. The reasoning process and "
    "answer are enclosed within <think> </think> and <answer> </answer> tags, respectively, i.e., <think> reasoning process "
    "here </think> <answer> answer here </answer>."
    "{% for message in messages %}{% if message['role'] == 'assistant' %} {{ message['content'] }}{% else %} User: "
    "{{ message['content'] }} Assistant:{% endif %}{% endfor %}"
)
PLAIN_STOP = ("\nQuestion:",)  # a base model goes on with the next question
# Behind any template: the generation prompt itself opens the think block.
PREFILLED = "{% if add_generation_prompt %}{{ '" + OPEN + "\\n' }}{% endif %}"
TEMPLATES = {"chatml": CHATML, "plain": PLAIN, "r1-zero": R1_ZERO}


@dataclass(frozen=True)
class Parts:
    """A completion taken apart. `think` is None where there was no think block; `answer` is what follows it, or stands in its
    last `<answer>` tag; `boxed` the content of the last `\\boxed{}` in the answer; `closed` is False where a think block was
    opened and never closed, `finished` where the model ran out of budget."""

    think: str | None
    answer: str
    boxed: str | None
    closed: bool
    finished: bool = True


def user_text(problem: Problem) -> str:
    """The user message: instruction, context, question, lettered options. The same in every format and arm."""
    options = "\n".join(
        f"{letter}. {text}" for letter, text in zip(LETTERS, problem.choices, strict=False)
    )
    return "\n".join(
        part for part in (problem.instruction, problem.context, problem.question, options) if part
    )


def render(answer: str, think: str | None = None) -> str:
    """The completion text for an answer, with its reasoning trace where there is one. Inverse of `split`."""
    return answer if think is None else f"{OPEN}\n{think}\n{CLOSE}\n\n{answer}"


def split(text: str, *, finished: bool = True, opened: bool = False) -> Parts:
    """Take a completion apart. The answer is what follows the *last* closing tag, so nothing inside a trace is ever an
    answer; a bare closing tag counts, because some templates put the opening one into the prompt (`opened`)."""
    head, tag, answer = text.rpartition(CLOSE)
    if OPEN in answer or (opened and not tag):
        return Parts(
            think=text.replace(OPEN, "", 1).strip(),
            answer="",
            boxed=None,
            closed=False,
            finished=finished,
        )
    think = head.replace(OPEN, "", 1).strip() if tag else None
    begin = answer.rfind(ANSWER_OPEN)
    if begin >= 0:
        answer = answer[begin + len(ANSWER_OPEN) :].partition(ANSWER_CLOSE)[0]
    answer = answer.strip()
    return Parts(think, answer, last_boxed(answer), closed=True, finished=finished)


def after_thinking(text: str, words: Sequence[str]) -> int | None:
    """Where the first of these stop strings stands after the thinking; None where none does, or it has not ended."""
    start = max(0, text.rfind(CLOSE))
    if OPEN in text[start:]:
        return None
    return min((at for word in words if (at := text.find(word, start)) >= 0), default=None)


BOXED = re.compile(r"\\boxed\s*\{")


def last_boxed(text: str) -> str | None:
    """Content of the last `\\boxed{…}` with balanced braces that is not empty, or None; the empty text where all are."""
    content = None
    for match in reversed(list(BOXED.finditer(text))):
        depth = 1
        for position in range(match.end(), len(text)):
            depth += {"{": 1, "}": -1}.get(text[position], 0)
            if depth == 0:
                break
        else:
            return None
        content = text[match.end() : position].strip()
        if content:
            break
    return content


def prompt_text(
    tokenizer: PreTrainedTokenizerBase,
    messages: str | Sequence[Mapping[str, str]],
    thinking: bool | None = None,
) -> str:
    """The generation prompt for a conversation, or for one user message; `thinking` sets the template's own switch, None
    leaves it. Raises BadInput where the template has none."""
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    switch = {} if thinking is None else {SWITCH: thinking}
    if switch:
        check_switch(tokenizer)
    return tokenizer.apply_chat_template(
        list(messages), tokenize=False, add_generation_prompt=True, **switch
    )


class NoSwitch(BadInput):
    """A chat template cannot be told to think or not."""


def check_switch(tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise NoSwitch where the chat template has no switch for thinking."""
    if SWITCH not in str(tokenizer.chat_template):
        raise NoSwitch(
            f"thinking cannot be set: this model's chat template has no switch ({SWITCH})"
        )


def opens_thinking(prompt: str) -> bool:
    """Whether a prompt ends inside a think block: some templates open it themselves."""
    return prompt.rstrip().endswith(OPEN)


def prompt_ids(
    tokenizer: PreTrainedTokenizerBase,
    messages: str | Sequence[Mapping[str, str]],
    prefix: str = "",
    thinking: bool | None = None,
) -> list[int]:
    """Token ids of `prompt_text` and of what the assistant's turn already begins with."""
    ids = tokenizer(prompt_text(tokenizer, messages, thinking), add_special_tokens=False)[
        "input_ids"
    ]
    return [*ids, *tokenizer(prefix, add_special_tokens=False)["input_ids"]] if prefix else ids


def completion_ids(tokenizer: PreTrainedTokenizerBase, completion: str) -> list[int]:
    """Token ids of a completion, the end-of-turn token included: exactly what is supervised in training."""
    return [*tokenizer(completion, add_special_tokens=False)["input_ids"], end_of_turn(tokenizer)]


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int:
    """Id of the token with which the chat template ends an assistant turn (`<|im_end|>`, `<|eot_id|>`, …), which is not
    always the tokenizer's `eos_token`.

    Raises BadInput where the template ends a turn with ordinary text: such a model could never be taught to stop.
    """
    marker = "RATIOCINE"
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": marker}]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    tail = tokenizer(text.rpartition(marker)[2].strip(), add_special_tokens=False)["input_ids"]
    token = tail[0] if tail else tokenizer.eos_token_id
    if token not in tokenizer.all_special_ids and token not in tokenizer.added_tokens_decoder:
        raise BadInput(
            f"the chat template ends a turn with {tokenizer.decode(tail)!r}, which is no special token"
        )
    return token
