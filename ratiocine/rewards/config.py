"""TODO."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Self

from pydantic import Field, model_validator

from ratiocine.config import Hashed, StrictConfig
from ratiocine.records import Problem
from ratiocine.rewards.rollout import Graded, Rollout
from ratiocine.rewards.terms import (
    Accuracy,
    Binary,
    Cosine,
    Detection,
    Format,
    GroupLength,
    Instructions,
    Label,
    Language,
    Levels,
    Overlong,
    Partial,
    Repetition,
    TagCount,
)

AnyTerm = Annotated[
    Accuracy
    | Format
    | Binary
    | Levels
    | Partial
    | TagCount
    | Language
    | Cosine
    | GroupLength
    | Overlong
    | Repetition
    | Instructions
    | Label
    | Detection,
    Field(discriminator="name"),
]


class RewardConfig(StrictConfig):
    """conf/reward: the terms that are added up by weight."""

    name: Hashed[str]
    terms: Hashed[Annotated[list[AnyTerm], Field(min_length=1)]]

    @model_validator(mode="after")
    def _terms_fit_together(self) -> Self:
        names = [term.name for term in self.terms]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"the term '{twice[0]}' occurs twice")
        for term in self.terms:
            if isinstance(term, Graded) and term.gate is not None and term.gate not in names:
                raise ValueError(
                    f"{term.name}: gate={term.gate} is none of the terms, which are: {', '.join(names)}"
                )
        return self

    def lacking(self, problem: Problem) -> str | None:
        """What a term needs of a problem and this one has not."""
        return next((found for term in self.terms if (found := term.lacking(problem))), None)

    def components(self, rollouts: Sequence[Rollout]) -> dict[str, list[float]]:
        """What each term gives to each completion of one prompt, before weights and gates."""
        assert rollouts
        return {term.name: term.group(rollouts) for term in self.terms}

    def totals(self, components: Mapping[str, Sequence[float]]) -> list[float]:
        """The rewards that these components add up to."""
        found = [0.0] * len(next(iter(components.values())))
        for term in self.terms:
            gate = (
                components[term.gate]
                if isinstance(term, Graded) and term.gate
                else [1.0] * len(found)
            )
            for at, (value, opened) in enumerate(zip(components[term.name], gate, strict=True)):
                found[at] += term.weight * value * opened
        return found

    @property
    def graded(self) -> bool:
        """Whether a term looks at the grader's verdict, for which a problem needs a reference."""
        return any(term.graded for term in self.terms)

    def __call__(
        self, rollouts: Sequence[Rollout], components: Mapping[str, Sequence[float]] | None = None
    ) -> list[float | None]:
        """The rewards of all completions of one prompt; None where the problem, not the completion, is at fault. `components`
        are taken where they are known already."""
        totals = self.totals(self.components(rollouts) if components is None else components)
        return [
            None
            if self.lacking(r.problem) or (self.graded and r.grade.verdict == "ungradable")
            else total
            for r, total in zip(rollouts, totals, strict=True)
        ]
