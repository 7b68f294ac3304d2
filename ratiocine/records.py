"""The records that travel: a problem, a completion, a pair, and a scored completion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
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


Verdict = Literal["right", "wrong", "ungradable"]


@dataclass(frozen=True)
class ScoredCompletion:
    """One judged completion: a line of `completions.jsonl`."""

    key: str
    """`source/id` of the problem."""
    id: str
    benchmark: str
    category: str
    prompt: str
    """The user message."""
    reference: str | None
    completion: str
    """The text, without its end-of-turn token."""
    verdict: Verdict
    extracted: str | None
    """The answer that was judged; None where none was found."""
    reason: str
    """How the answer was found, or why none was."""
    stop: Literal["stop", "length", "refused"]
    thought: bool
    """Whether the completion has a think block that is not empty."""
    n_prompt: int
    """Tokens of the prompt."""
    n_completion: int
    """Tokens of the completion, end of turn included."""
    n_think: int
    """Tokens of the reasoning trace, tags included."""
    n_answer: int
    """Tokens after the trace."""
    seconds: float
    """Share of its batch's wall-clock."""
    sample: int = 0
    level: str | None = None
    """Difficulty, where the benchmark has levels."""
    opened: bool = False
    """Whether the prompt itself ends inside a think block."""
    expected: bool | None = None
    """Whether the model should think; None where both are as they should be."""
    detail: Mapping[str, float] = field(default_factory=dict)
    """Further measures of the grader, such as `f1`."""
    efficiency: tuple[float, float] | None = None
    """Outcome and process efficiency of a completion that thought."""
    token_ids: tuple[int, ...] | None = None
    logprobs: tuple[float, ...] | None = None

    @property
    def right(self) -> bool:
        return self.verdict == "right"

    @staticmethod
    def from_row(row: Mapping[str, Any]) -> ScoredCompletion:
        """A stored line; the one place that reads its keys."""
        names = {one.name for one in fields(ScoredCompletion)}
        values = {name: value for name, value in row.items() if name in names}
        for name in ("efficiency", "token_ids", "logprobs"):
            if values.get(name) is not None:
                values[name] = tuple(values[name])
        return ScoredCompletion(**values)

    def row(self) -> dict[str, Any]:
        """As it is stored."""
        return {one.name: getattr(self, one.name) for one in fields(self)}
