"""Problem: the question that travels from a source to a teacher, a student, a grader and a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

CATEGORIES = ("general-mc", "general-oe", "math-mc", "math-oe")
LETTERS = "ABCDEFGHIJ"
Kind = Literal[
    "number", "expression", "choice", "span", "string", "instructions", "procedural", "countdown"
]


@dataclass(frozen=True)
class Problem:
    """One gradable question.

    `id` is unique within a source and does not depend on file order. `reference` is what `grading.grade` compares with
    (for `kind="choice"` the letter of the right option), or None where there is none; `accepted` holds further references
    that are as right. `instruction` is the task wording,
    the same for every format and arm. `source` names the data set, benchmark or family. `meta` holds what a teacher may
    need (a worked solution, generator variables) and never reaches a prompt.
    """

    id: str
    question: str
    reference: str | None
    kind: Kind
    category: str
    source: str
    instruction: str = ""
    choices: tuple[str, ...] = ()
    context: str = ""
    accepted: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)


Mode = Literal["ift", "reasoning"]
MODES: tuple[Mode, Mode] = ("ift", "reasoning")
SIDES = ("prompt", *MODES)


@dataclass(frozen=True)
class Completion:
    """One completion of one request: what an engine returns and every later step reads.

    `text` is the completion without its end-of-turn token. `stop` says whether the model ended the turn ("stop"), ran out of
    budget ("length"), or was never asked because its server refused ("refused": `text` holds the server's words). `token_ids`
    (end-of-turn token included) and `logprobs` (natural, one a token, of the model's own distribution at temperature 1) are
    None where the engine does not give them. `opened` says that the prompt itself ends inside a think block. Token counts are
    the model's own; `seconds` is the row's share of its batch's wall-clock.
    """

    id: str
    text: str
    stop: Literal["stop", "length", "refused"]
    n_prompt: int
    n_completion: int
    seconds: float
    token_ids: tuple[int, ...] | None = None
    logprobs: tuple[float, ...] | None = None
    sample: int = 0
    opened: bool = False


@dataclass(frozen=True)
class Pair:
    """One prompt answered twice. `reasoning` holds the whole completion, think block included; `ift` the plain answer."""

    id: str
    prompt: str
    reasoning: str
    ift: str
    reference: str | None
    category: str
    source: str
    n_tokens_prompt: int
    n_tokens_reasoning: int
    n_tokens_ift: int

    def side(self, mode: Mode) -> str:
        return self.reasoning if mode == "reasoning" else self.ift
