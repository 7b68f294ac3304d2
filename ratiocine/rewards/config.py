"""conf/reward: a reward as the weighted sum of its terms."""

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
    """A reward: the weighted sum of its terms.

    A term with `gate=format` counts only for completions that satisfy the term `format`: its value
    is multiplied by that of `format`, 0 or 1.
    """

    name: Hashed[str]
    terms: Hashed[Annotated[list[AnyTerm], Field(min_length=1)]]

    @model_validator(mode="after")
    def _terms_fit_together(self) -> Self:
        names = [term.name for term in self.terms]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"the term '{twice[0]}' occurs twice")
        for term in self.terms:
            if isinstance(term, Graded) and term.gate is not None and term.gate not in names:
                known = ", ".join(names)
                raise ValueError(
                    f"{term.name}: gate={term.gate} is none of the terms, which are: {known}"
                )
        return self

    def lacking(self, problem: Problem) -> str | None:
        """What a term needs and the problem lacks, as a message; None if it lacks nothing."""
        return next((found for term in self.terms if (found := term.lacking(problem))), None)

    def components(self, rollouts: Sequence[Rollout]) -> dict[str, list[float]]:
        """The value of each term for each completion of one prompt, before weights and gates."""
        assert rollouts
        return {term.name: term.group(rollouts) for term in self.terms}

    def totals(self, components: Mapping[str, Sequence[float]]) -> list[float]:
        """The weighted sum of the components, each times its gate, by completion."""
        totals = [0.0] * len(next(iter(components.values())))
        for term in self.terms:
            gates: Sequence[float] = [1.0] * len(totals)
            if isinstance(term, Graded) and term.gate:
                gates = components[term.gate]
            for at, (value, gate) in enumerate(zip(components[term.name], gates, strict=True)):
                totals[at] += term.weight * value * gate
        return totals

    @property
    def graded(self) -> bool:
        """Whether a term depends on the verdict, for which a problem needs a reference."""
        return any(term.graded for term in self.terms)

    def __call__(
        self, rollouts: Sequence[Rollout], components: Mapping[str, Sequence[float]] | None = None
    ) -> list[float | None]:
        """The rewards of all completions of one prompt; None where the problem lacks what a term
        needs or is ungradable. Pass `components` if they are known."""
        totals = self.totals(self.components(rollouts) if components is None else components)
        return [
            None
            if self.lacking(rollout.problem)
            or (self.graded and rollout.grade.verdict == "ungradable")
            else total
            for rollout, total in zip(rollouts, totals, strict=True)
        ]
