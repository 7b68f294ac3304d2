"""A completion as a reward sees it, and what every term of a reward is."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ratiocine.config import Hashed, StrictConfig
from ratiocine.grading import Grade, grade
from ratiocine.prompts import OPEN, Parts, split
from ratiocine.records import Problem

LOOP = re.compile(r"(.{12,200}?)\1{5,}\Z", re.DOTALL)
DENSE = 0.06  # a longer text that zlib makes smaller than this share says the same again and again
LONG = 2000  # characters
Positive = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]


@dataclass(frozen=True)
class Rollout:
    """One completion of one prompt. `length` is its number of tokens, end-of-turn token included; `token_ids` are None where
    the engine gives none. `opened` says that the prompt itself ends inside a think block, `finished` that the model ended its
    turn."""

    problem: Problem
    text: str
    length: int
    token_ids: tuple[int, ...] | None = None
    finished: bool = True
    opened: bool = False

    @cached_property
    def parts(self) -> Parts:
        return split(self.text, finished=self.finished, opened=self.opened)

    @cached_property
    def grade(self) -> Grade:
        return grade(self.problem, self.parts)

    @property
    def right(self) -> bool:
        return self.grade.verdict == "right"

    @property
    def whole(self) -> str:
        """What a format is checked on: the completion, behind the tag that its prompt may have opened."""
        return f"{OPEN}\n{self.text}" if self.opened else self.text


def looping(text: str) -> bool:
    """Whether a text ends in the same words again and again, or says little in many words."""
    if LOOP.search(text[-3000:].rstrip()):
        return True
    return len(text) >= LONG and len(zlib.compress(text.encode("utf-8", "replace"))) < DENSE * len(
        text
    )


class Term(StrictConfig):
    """One term of a reward. `graded` ones look at the grader's verdict, and have none where the problem is at fault."""

    graded: ClassVar[bool] = False
    weight: Hashed[Positive] = 1.0

    def lacking(self, problem: Problem) -> str | None:
        """What the term needs of a problem and this one has not."""
        return None

    def one(self, rollout: Rollout) -> float:
        """The reward of one completion, before the weight."""
        raise NotImplementedError

    def group(self, rollouts: Sequence[Rollout]) -> list[float]:
        """The rewards of all completions of one prompt."""
        return [self.one(rollout) for rollout in rollouts]


class Graded(Term):
    """With `gate`, it counts only for completions in the right format: those to which the term `format` gives 1."""

    graded = True
    gate: Hashed[Literal["format"] | None] = None
