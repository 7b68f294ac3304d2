"""Records: a problem, a completion, a pair, and a scored completion."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

JsonObject = dict[str, Any]  # as `json.loads` and `yaml.safe_load` return it
CATEGORIES = ("general-mc", "general-oe", "math-mc", "math-oe")
LETTERS = "ABCDEFGHIJ"
Kind = Literal[
    "number",
    "expression",
    "choice",
    "span",
    "string",
    "instructions",
    "procedural",
    "countdown",
    "puzzle",
]

Decimal = Literal["point", "comma"]
"""What separates the decimals of a number."""


def category_name(text: str) -> str:
    """A category: one of `CATEGORIES`, or any name of one's own. Raises ValueError for another
    spelling of one of these, which would be a category beside it."""
    meant = re.sub(r"[\s_-]+", "-", text.strip().casefold())
    if meant in CATEGORIES and text != meant:
        raise ValueError(f"did you mean '{meant}'?")
    if not meant or meant == "all":
        raise ValueError("should be a name other than 'all', which is the total")
    return text


@dataclass(frozen=True)
class Problem:
    """One gradable question."""

    id: str
    """Unique within a source, independent of file order."""
    question: str
    reference: str | None
    """The right answer for `grading.grade`, of kind "choice" the letter of the right option; None
    where there is none."""
    kind: Kind
    """How the answer is graded."""
    category: str
    """One of `CATEGORIES`, or a name of one's own."""
    source: str
    """Data set, benchmark or family."""
    instruction: str = ""
    """Task wording, the same in every mode and arm."""
    choices: tuple[str, ...] = ()
    context: str = ""
    """Text before the question, such as a passage."""
    accepted: tuple[str, ...] = ()
    """Further right answers."""
    tolerance: float | None = None
    """Relative error up to which a number is right; None compares exactly."""
    decimal: Decimal = "point"
    """Of the reference and the answers, where the kind is `number`."""
    row: int | None = None
    """Number of its row in a file or data set, from 1."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """For teachers (a worked solution, generator variables); never part of a prompt."""
    line: int | None = None
    """Line of its file in which its row begins, from 1; None in a file without lines."""

    @property
    def place(self) -> str | None:
        """Its row, and its line where that is another number; None for a generated problem."""
        if self.row is None:
            return None
        line = "" if self.line in (None, self.row) else f" (line {self.line})"
        return f"row {self.row}{line}"

    def named(self, name: str) -> str:
        """A name of the problem with its place, for people."""
        return name if self.place is None else f"{name}, {self.place}"


Mode = Literal["ift", "reasoning"]
MODES: tuple[Mode, Mode] = ("ift", "reasoning")
SIDES = ("prompt", *MODES)
Stop = str
"""How a completion ended: `stop` if the model ended its turn, `length` at `max_new_tokens`,
`refused` if it was never asked, `failed` if its server failed on it alone, else the server's own
finish reason, such as `content_filter`. Only `stop` is a complete answer."""
UNANSWERED: tuple[Stop, ...] = ("refused", "failed")
"""Completions whose text is the engine's words about the request, not an answer."""


def is_answered(stop: Stop) -> bool:
    """Whether a completion is the model's; others have no tokens, and are left out of means of
    them."""
    return stop not in UNANSWERED


def is_truncated(stop: Stop) -> bool:
    """Whether a completion was begun and not ended by the model."""
    return stop not in ("stop", *UNANSWERED)


@dataclass(frozen=True)
class Completion:
    """One completion of one request, as an engine returns it."""

    id: str
    """Of the request."""
    text: str
    """Without the end-of-turn token; where a server refused, its words."""
    stop: Stop
    n_prompt: int
    """Tokens of the prompt."""
    n_completion: int
    """Tokens of the completion, end of turn included."""
    seconds: float
    """Share of the wall-clock time of its batch."""
    token_ids: tuple[int, ...] | None = None
    """End-of-turn token included; None where the engine does not return them."""
    logprobs: tuple[float, ...] | None = None
    """Natural, one for each token, at temperature 1; None where the engine does not return them."""
    sample: int = 0
    """Number among the completions of the request."""
    opened: bool = False
    """Whether the prompt ends inside a think block."""
    margins: tuple[float, ...] | None = None
    """Of each token, the difference between the probabilities of the two most probable ones; of a
    ranked request."""
    counted: bool = True
    """Whether the numbers of tokens are counts, no estimates."""


@dataclass(frozen=True)
class Pair:
    """One prompt with two answers of one teacher."""

    id: str
    prompt: str
    reasoning: str
    """The whole completion with its think block."""
    ift: str
    """The direct answer."""
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
    """One graded completion: a line of `completions.jsonl`."""

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
    """The answer in the completion; None where none was found."""
    reason: str
    """How the answer was found, or why not."""
    stop: Stop
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
    """Share of the wall-clock time of its batch."""
    sample: int = 0
    """Number among the completions of the problem."""
    level: str | None = None
    """Difficulty, where the benchmark has levels."""
    opened: bool = False
    """Whether the prompt ends inside a think block."""
    expected: bool | None = None
    """Whether the model should think; None where either is fine."""
    looping: bool | None = None
    """Whether it was truncated while it repeated itself; None in files of earlier releases."""
    detail: Mapping[str, float] = field(default_factory=dict)
    """Further measures of the grader, such as `f1`."""
    efficiency: tuple[float, float] | None = None
    """Outcome and process efficiency (arXiv 2412.21187) of a completion with a trace: the share of
    its text up to the first right answer, and the share of them in distinct solutions."""
    token_ids: tuple[int, ...] | None = None
    logprobs: tuple[float, ...] | None = None
    calls: tuple[tuple[int, ...], ...] | None = None
    """Of a strategy's answer, the tokens of every call: those of its prompt, then those of each of
    its completions, which `n_completion` is the sum of."""

    @property
    def right(self) -> bool:
        """Whether the grader accepts the answer."""
        return self.verdict == "right"

    @property
    def answered(self) -> bool:
        """Whether the completion is the model's, not the engine's words about the request."""
        return is_answered(self.stop)

    @property
    def mode_flip(self) -> bool:
        """Whether the model thought although it should not, or the reverse."""
        return self.expected is not None and self.thought != self.expected

    @staticmethod
    def from_row(row: JsonObject) -> ScoredCompletion:
        """From a stored line; the one place that reads its keys."""
        known = ScoredCompletion.__dataclass_fields__
        values = {name: value for name, value in row.items() if name in known}
        for name in ("efficiency", "token_ids", "logprobs"):
            if values.get(name) is not None:
                values[name] = tuple(values[name])
        if values.get("calls") is not None:
            values["calls"] = tuple(map(tuple, values["calls"]))
        return ScoredCompletion(**values)

    def without_tokens(self) -> ScoredCompletion:
        """Without token ids and log-probabilities, which are most of what it holds."""
        return replace(self, token_ids=None, logprobs=None)

    def row(self) -> dict[str, object]:
        """For storage."""
        return dict(vars(self))
