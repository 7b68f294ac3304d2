"""Problem → prompt, text → parts. The one place that knows `<think>`, `<answer>` and `\\boxed{}`.

One rendering, used by training and generation alike: the prompt is the chat template's own generation prompt for one user
message, the completion follows token for token and ends with the template's end-of-turn token. An IFT completion is the
plain answer with no think block; a reasoning completion is `<think>\\n…\\n</think>\\n\\n` and then the same answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ratiocine.errors import BadInput
from ratiocine.problems import LETTERS, Problem

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

OPEN, CLOSE = "<think>", "</think>"
ANSWER_OPEN, ANSWER_CLOSE = "<answer>", "</answer>"

# For models that bring no chat template, and for the packaged one (whose own adds 20 tokens of system prompt a turn).
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


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
    options = "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, problem.choices, strict=False))
    return "\n".join(part for part in (problem.instruction, problem.context, problem.question, options) if part)


def render(answer: str, think: str | None = None) -> str:
    """The completion text for an answer, with its reasoning trace where there is one. Inverse of `split`."""
    return answer if think is None else f"{OPEN}\n{think}\n{CLOSE}\n\n{answer}"


def split(text: str, *, finished: bool = True) -> Parts:
    """Take a completion apart. The answer is what follows the *last* closing tag, so nothing inside a trace is ever an
    answer; a bare closing tag counts, because some templates put the opening one into the prompt."""
    head, tag, answer = text.rpartition(CLOSE)
    if OPEN in answer:
        return Parts(think=text.replace(OPEN, "", 1).strip(), answer="", boxed=None, closed=False, finished=finished)
    think = head.replace(OPEN, "", 1).strip() if tag else None
    begin = answer.rfind(ANSWER_OPEN)
    if begin >= 0:
        answer = answer[begin + len(ANSWER_OPEN) :].partition(ANSWER_CLOSE)[0]
    answer = answer.strip()
    return Parts(think, answer, last_boxed(answer), closed=True, finished=finished)


def last_boxed(text: str) -> str | None:
    """Content of the last `\\boxed{…}` with balanced braces, or None."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth, begin = 0, start + len("\\boxed")
    for position in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[begin + 1 : position].strip()
    return None


def prompt_ids(tokenizer: PreTrainedTokenizerBase, user: str) -> list[int]:
    """Token ids of the generation prompt for one user message."""
    messages = [{"role": "user", "content": user}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return tokenizer(text, add_special_tokens=False)["input_ids"]


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
        raise BadInput(f"the chat template ends a turn with {tokenizer.decode(tail)!r}, which is no special token")
    return token
