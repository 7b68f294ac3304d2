"""The input of a reward, a `Rollout`, and the interface of its terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ratiocine.completion_parts import OPEN, Parts, split
from ratiocine.config import Hashed, StrictConfig
from ratiocine.grading import Grade, grade
from ratiocine.records import Problem

Positive = Annotated[float, Field(gt=0, le=1e6)]


@dataclass(frozen=True)
class Rollout:
    """One completion of one prompt."""

    problem: Problem
    text: str
    length: int
    """Tokens, end of turn included."""
    token_ids: tuple[int, ...] | None = None
    """None if the engine does not return them."""
    finished: bool = True
    """Whether the model ended its turn."""
    opened: bool = False
    """Whether the prompt itself ends inside a think block."""

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
        """The completion with the think tag that its prompt may have opened: the text whose format
        is checked."""
        return f"{OPEN}\n{self.text}" if self.opened else self.text


class Term(StrictConfig):
    """One term of a reward."""

    graded: ClassVar[bool] = False
    """Whether the term depends on the grader's verdict, and thus on a usable reference."""
    weight: Hashed[Positive] = 1.0

    def lacking(self, problem: Problem) -> str | None:
        """What the term needs and the problem lacks, as a message; None if it lacks nothing."""
        return None

    def one(self, rollout: Rollout) -> float:
        """The reward of one completion, before the weight."""
        raise NotImplementedError

    def group(self, rollouts: Sequence[Rollout]) -> list[float]:
        """The rewards of all completions of one prompt."""
        return [self.one(rollout) for rollout in rollouts]


class Graded(Term):
    """A term that depends on the verdict. With `gate`, it counts only for completions to which the
    term `format` gives 1."""

    graded = True
    gate: Hashed[Literal["format"] | None] = None
