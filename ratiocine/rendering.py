"""How the direct and the reasoning completion of a problem are written in a model's chat template,
in training and generation.

| form     | direct row                                           | reasoning row                 |
| -------- | ---------------------------------------------------- | ----------------------------- |
| `plain`  | prompt ⟦answer, end of turn⟧                         | prompt ⟦trace, answer, end⟧   |
| `empty`  | prompt ⟦empty think block, answer, end of turn⟧      | prompt ⟦trace, answer, end⟧   |
| `switch` | prompt, `enable_thinking` false ⟦answer, end⟧        | prompt, true ⟦trace, …⟧       |

⟦ ⟧ encloses the supervised tokens. `switch` uses the template's own `enable_thinking` (Qwen3 puts
an empty think block into the prompt); a template without it gets an equivalent one, which is saved
with the student. A think block that the prompt itself opens is not opened again. A student's folder
records how it was trained (`rendering.json`), and another chat template is refused.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ratiocine.completion_parts import OPEN, render
from ratiocine.errors import BadInput
from ratiocine.hashing import digest
from ratiocine.prompts import SWITCH, completion_ids, opens_thinking, prompt_ids, prompt_text
from ratiocine.records import MODES, Mode
from ratiocine.stores import read_object

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Form = Literal["plain", "empty", "switch"]
EMPTY = render("", "")
FILE = "rendering.json"
# Appended to a template without the switch: the empty block of Qwen3's own.
ADDED = (
    f"{{% if add_generation_prompt and {SWITCH} is defined and {SWITCH} is false %}}"
    "{{ '" + EMPTY.replace("\n", "\\n") + "' }}{% endif %}"
)


@dataclass(frozen=True)
class TrainedFormat:
    """How a student was trained: its `rendering.json`."""

    form: Form
    taught: tuple[Mode, ...]
    chat_template: str
    """Hash of the template."""

    def write(self, folder: Path) -> None:
        values = {"schema_version": 1, **asdict(self)}
        (folder / FILE).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


class Rendering:
    """Prompts and completions as token ids, in one `direct_format`. `auto` is `switch` if the chat
    template can turn thinking off, else `plain`. Raises BadInput if the template opens a think
    block that a direct answer would not close."""

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
                "the chat template opens a think block itself, which a direct answer would not "
                "close: direct_format=empty closes it"
            )

    def thinking(self, mode: Mode) -> bool | None:
        """`enable_thinking` for this mode; None for the template's default."""
        return mode == "reasoning" if self.form == "switch" else None

    def prompt(self, text: str, mode: Mode) -> list[int]:
        return prompt_ids(self.tokenizer, text, thinking=self.thinking(mode))

    def completion(self, text: str, mode: Mode) -> list[int]:
        """The supervised tokens of one answer of a pair, end of turn included."""
        ids, opened = [*self.before[mode], *completion_ids(self.tokenizer, text)], self.opened[mode]
        if ids[: len(opened)] != opened:
            tag = self.tokenizer.decode(opened)
            raise BadInput(
                f"the chat template opens a think block with {tag!r}, an answer not: {text[:80]!r}"
            )
        return ids[len(opened) :]

    def extra_tokens(self, mode: Mode) -> tuple[int, int]:
        """Additional tokens of a prompt and of a completion, compared with the `plain` form."""
        prompt = len(self.prompt("?", mode)) - len(prompt_ids(self.tokenizer, "?"))
        return prompt, len(self.before[mode]) - len(self.opened[mode])

    def message(self, text: str, mode: Mode) -> str:
        """The assistant's message for one answer of a pair, for other trainers, to be used with
        `thinking`."""
        return EMPTY + text if self.form == "empty" and mode == "ift" else text

    def record(self, taught: Collection[Mode]) -> TrainedFormat:
        """The format of a student trained on these modes."""
        modes = tuple(mode for mode in MODES if mode in taught)
        return TrainedFormat(self.form, modes, digest(self.tokenizer.chat_template))

    def _opened(self, mode: Mode) -> list[int]:
        """The tokens with which the prompt itself opens a think block; empty if it does not."""
        prompt = prompt_text(self.tokenizer, "?", self.thinking(mode))
        return self._ids(prompt[prompt.rindex(OPEN) :]) if opens_thinking(prompt) else []

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]


def read_format(folder: Path) -> TrainedFormat | None:
    """The format of a student; None for a model that was not trained here."""
    file = folder / FILE
    if not file.exists():
        return None
    values = read_object(file)
    return TrainedFormat(values["form"], tuple(values["taught"]), values["chat_template"])


def check_template(folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise BadInput if a student's chat template is not the one it was trained with."""
    trained = read_format(folder)
    if trained is not None and trained.chat_template != digest(tokenizer.chat_template):
        raise BadInput(
            f"model={folder} was taught under another chat template than the one it would be asked "
            "in; leave model.chat_template and the folder's own as they were, or remove its "
            "rendering.json"
        )


def asked_to_think(folder: Path) -> bool | None:
    """`enable_thinking` for a `switch` student: whether it was trained on traces at all; None for
    any other model."""
    trained = read_format(folder)
    if trained is None or trained.form != "switch":
        return None
    return "reasoning" in trained.taught
