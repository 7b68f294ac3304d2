"""Rendering: how the two formats of a problem are written in one model's chat template, in training as in generation.

| form     | direct row                                                  | reasoning row                                 |
| plain    | generation prompt ⟦answer, end of turn⟧                      | generation prompt ⟦trace, answer, end of turn⟧ |
| empty    | generation prompt ⟦empty think block, answer, end of turn⟧   | the same                                      |
| switch   | prompt with thinking switched off ⟦answer, end of turn⟧      | prompt with thinking switched on ⟦…⟧            |

What stands between ⟦ ⟧ is supervised. `switch` is the template's own `enable_thinking` where it has one (Qwen3 puts an empty
think block into the prompt); a template without one is given one that does the same, and is saved with the student. A think
block that the prompt itself has opened is not opened again. A student's folder says how it was taught (`rendering.json`), and a
chat template that is not the one it was taught under is refused.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ratiocine.errors import BadInput
from ratiocine.hashing import digest
from ratiocine.prompts import (
    OPEN,
    SWITCH,
    completion_ids,
    opens_thinking,
    prompt_ids,
    prompt_text,
    render,
)
from ratiocine.records import MODES, Mode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Form = Literal["plain", "empty", "switch"]
EMPTY = render("", "")
FILE = "rendering.json"
# What a template without a switch gets: the same empty block that Qwen3's own puts there.
ADDED = (
    f"{{% if add_generation_prompt and {SWITCH} is defined and {SWITCH} is false %}}"
    "{{ '" + EMPTY.replace("\n", "\\n") + "' }}{% endif %}"
)


class Rendering:
    """Prompts and completions as token ids, in one form. `auto` is `switch` where the template has one, else `plain`. Raises
    BadInput where the template opens a think block that a direct answer cannot close."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, form: Form | Literal["auto"] = "auto"
    ) -> None:
        if form == "auto":
            form = "switch" if SWITCH in str(tokenizer.chat_template) else "plain"
        if form == "switch" and SWITCH not in str(tokenizer.chat_template):
            tokenizer.chat_template += ADDED
        self.tokenizer, self.form = tokenizer, form
        self.before = {"ift": self._ids(EMPTY) if form == "empty" else [], "reasoning": list[int]()}
        self.opened = {mode: self._opened(mode) for mode in MODES}
        if self.opened["ift"] and form != "empty":
            raise BadInput(
                "the chat template opens a think block itself, which a direct answer would not close: direct_format=empty closes it"
            )

    def thinking(self, mode: Mode) -> bool | None:
        """How the template's switch stands for this format; None where it is left alone."""
        return mode == "reasoning" if self.form == "switch" else None

    def prompt(self, text: str, mode: Mode) -> list[int]:
        return prompt_ids(self.tokenizer, text, thinking=self.thinking(mode))

    def completion(self, text: str, mode: Mode) -> list[int]:
        """What is supervised: the side of a pair, its end of turn included."""
        ids, opened = [*self.before[mode], *completion_ids(self.tokenizer, text)], self.opened[mode]
        if ids[: len(opened)] != opened:
            raise BadInput(
                f"the chat template opens a think block with {self.tokenizer.decode(opened)!r}, an answer not: {text[:80]!r}"
            )
        return ids[len(opened) :]

    def more(self, mode: Mode) -> tuple[int, int]:
        """Tokens that a prompt and a completion have more than in `plain` form."""
        prompt = len(self.prompt("?", mode)) - len(prompt_ids(self.tokenizer, "?"))
        return prompt, len(self.before[mode]) - len(self.opened[mode])

    def message(self, text: str, mode: Mode) -> str:
        """The assistant's message of a pair's side, for other trainers; `thinking` goes with it."""
        return EMPTY + text if self.form == "empty" and mode == "ift" else text

    def record(self, taught: Collection[Mode]) -> dict[str, Any]:
        """What is kept with a student that was taught these formats."""
        return {
            "schema_version": 1,
            "form": self.form,
            "taught": [mode for mode in MODES if mode in taught],
            "chat_template": digest(self.tokenizer.chat_template),
        }

    def _opened(self, mode: Mode) -> list[int]:
        """The tokens with which the prompt itself opens a think block."""
        prompt = prompt_text(self.tokenizer, "?", self.thinking(mode))
        return self._ids(prompt[prompt.rindex(OPEN) :]) if opens_thinking(prompt) else []

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]


def recorded(folder: Path) -> dict[str, Any] | None:
    """What is kept with a student; None for a model that was not trained here."""
    file = folder / FILE
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def check_template(folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise BadInput where a student would be asked in another template than it was taught in."""
    record = recorded(folder)
    if record is not None and record["chat_template"] != digest(tokenizer.chat_template):
        raise BadInput(
            f"model={folder} was taught under another chat template than the one it would be asked in; leave "
            "model.chat_template and the folder's own as they were, or remove its rendering.json"
        )


def asked_to_think(folder: Path) -> bool | None:
    """How the switch should stand when nothing is said: as the student was taught; None where it was taught without one."""
    record = recorded(folder)
    return None if record is None or record["form"] != "switch" else "reasoning" in record["taught"]
