"""Declared hypotheses: what a study is to show, stated before it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isclose
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, ValidationError, model_validator

from ratiocine import renames
from ratiocine.config import StrictConfig
from ratiocine.errors import BadInput
from ratiocine.stats import (
    PairedDifference,
    conditional_power,
    holm,
    in_order,
    sequential_p,
    weighted,
)
from ratiocine.stores import PLAN, read_object

MARGIN = 0.05


class Hypothesis(StrictConfig):
    """A gain, or none beyond the margin, of a contrast's arms over its bases in a group."""

    group: str
    """A benchmark (or family), a category or `all`."""
    hypothesis: Literal["gain", "no_gain"]
    margin: Annotated[PositiveFloat, Field(lt=1)] = MARGIN
    """Of `no_gain`: the largest difference in accuracy that counts as none."""
    contrast: Literal["ratio", "rewards", "scenario", "training_flops", "inference_flops"] = "ratio"
    """The pairs of arms: the highest ratio against the lowest, after rewards against before,
    scenarios against the mixed one, reasoning against direct at equal training or inference
    FLOPs."""
    model: str | None = None
    """Null: each model of the study."""
    primary: bool = False
    """Tested before all others, at the full level."""
    weight: Annotated[PositiveFloat, Field(le=1)] | None = None
    """Share of the level. Without weights, primary hypotheses are tested in their order."""


def check_hypotheses(
    hypotheses: Sequence[Hypothesis], groups: Sequence[str], models: Sequence[str]
) -> None:
    """Raise BadInput for a hypothesis on a group or model that the study lacks, for one that is
    declared twice, and for incomplete weights."""
    seen = set()
    for one in hypotheses:
        if one.group not in groups:
            raise BadInput(
                f"hypotheses: unknown group '{one.group}'; the study has {', '.join(groups)}"
            )
        if one.model is not None and one.model not in models:
            raise BadInput(
                f"hypotheses: unknown model '{one.model}'; the study has {', '.join(models)}"
            )
        if one.weight is not None and not one.primary:
            raise BadInput(f"hypotheses: {one.group} has a weight, but is not primary")
        key = (one.group, one.contrast, one.model)
        if key in seen:
            raise BadInput(f"hypotheses: {one.group} ({one.contrast}) is declared twice")
        seen.add(key)
    weights = [one.weight for one in hypotheses if one.primary]
    given = [weight for weight in weights if weight is not None]
    if given and len(given) < len(weights):
        raise BadInput("hypotheses: give a weight to each primary hypothesis or to none")
    if given and not isclose(sum(given), 1, abs_tol=1e-6):
        raise BadInput(f"hypotheses: weights add up to {sum(given):g}, not 1")


class Rounds(StrictConfig):
    """Seeds in rounds: `first` seeds, then one at a time, up to `most`, for the arms of undecided
    primary hypotheses."""

    first: Annotated[int, Field(ge=2)] = 3
    most: int = 10
    until: Literal["decided"] = "decided"
    max_flops: PositiveFloat | None = None
    """Of all training so far: no further round beyond."""
    max_hours: PositiveFloat | None = None
    """Of all training and evaluation so far."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.most < self.first:
            raise ValueError(f"most={self.most} is below first={self.first}")
        return self

    def looks(self, seeds: int) -> range:
        """The numbers of seeds at which hypotheses are tested, with so many seeds by now."""
        return range(min(self.first, seeds), seeds + 1)


class Declared(StrictConfig):
    """What the plan of a study states before it runs."""

    hypotheses: list[Hypothesis] = Field(default=[])
    rounds: Rounds | None = None


def declared(folders: Sequence[Path]) -> Declared:
    """What the plans of studies among the folders state.

    Raises BadInput where two of them state different things.
    """
    found: list[tuple[Path, Declared]] = []
    for folder in folders:
        if (file := folder / PLAN).is_file():
            plan = renames.renamed_study(read_object(file))
            seeds = (plan.get("grid") or {}).get("seeds")
            stated = {
                "hypotheses": plan.get("hypotheses") or [],
                "rounds": seeds if isinstance(seeds, dict) else None,
            }
            try:
                found.append((folder, Declared.model_validate(stated)))
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"]))
                raise BadInput(f"{file}: {where}: {first['msg']}") from None
    for folder, one in found[1:]:
        if one != found[0][1]:
            raise BadInput(f"{found[0][0]} and {folder} declare different hypotheses")
    return found[0][1] if found else Declared()


def of_families(families: Mapping[str, str], hypotheses: Sequence[Hypothesis]) -> list[Hypothesis]:
    """The hypotheses of a study, then those of its families on which it declares nothing."""
    named = {one.group for one in hypotheses if one.contrast == "ratio"}
    return [
        *hypotheses,
        *(
            Hypothesis.model_validate({"group": name, "hypothesis": one})
            for name, one in families.items()
            if name not in named
        ),
    ]


@dataclass(frozen=True)
class Outcome:
    """A hypothesis on one pair of arms."""

    hypothesis: Hypothesis
    found: PairedDifference
    p: float
    p_adjusted: float = 1.0
    power: float | None = None
    """Of seeds in rounds: the chance that the hypothesis is shown with all seeds, if the present
    difference is the truth."""

    @staticmethod
    def of(hypothesis: Hypothesis, found: PairedDifference) -> Outcome:
        """Tested once."""
        return Outcome(hypothesis, found, _p_value(hypothesis, found))

    @staticmethod
    def of_rounds(
        hypothesis: Hypothesis, looks: Sequence[PairedDifference], rounds: Rounds
    ) -> Outcome:
        """Tested after each round of seeds: `sequential_p`."""
        sides = 2 if hypothesis.hypothesis == "no_gain" else 1  # a one-sided test at each look
        p_values = [min(1.0, sides * _p_value(hypothesis, found)) for found in looks]
        fractions = [min(1.0, found.seeds / rounds.most) for found in looks]
        p = sequential_p(p_values, fractions) / sides
        power = conditional_power(p_values[-1], fractions[-1], 0.05 * sides)
        return Outcome(hypothesis, looks[-1], p, power=power)

    @property
    def verdict(self) -> str:
        found, n = self.found, self.found.n
        shown, unknown = self.p_adjusted < 0.05, f"inconclusive with {n} problems"
        if self.hypothesis.hypothesis == "gain":
            seen = {"better": "gain seen, uncorrected", "worse": "loss seen instead"}
            return "gain shown" if shown else seen.get(found.conclusion, unknown)
        if shown:
            return f"no gain beyond {100 * self.hypothesis.margin:g} points shown"
        seen = {"better": "gain seen after all, uncorrected", "worse": "loss seen, uncorrected"}
        return seen.get(found.conclusion, unknown)


def _p_value(hypothesis: Hypothesis, found: PairedDifference) -> float:
    """Of a gain: that of the two-sided test, 1 where the difference is no gain; of no gain: that of
    equivalence within the margin."""
    if hypothesis.hypothesis == "no_gain":
        return found.equivalence(hypothesis.margin)
    return found.p if found.difference > 0 else 1.0


def adjusted(tested: Sequence[Outcome]) -> list[Outcome]:
    """With p-values adjusted for all: the primary ones in their order or by weight (that of a
    hypothesis divided among its pairs), the others by Holm's method, once all primary ones are
    rejected. The family-wise error rate over all is 5 %."""
    primary = [one for one in tested if one.hypothesis.primary]
    p_values = [one.p for one in primary]
    if primary and primary[0].hypothesis.weight is not None:
        pairs = [sum(one.hypothesis is other.hypothesis for other in primary) for one in primary]
        shares = [(one.hypothesis.weight or 0.0) / n for one, n in zip(primary, pairs, strict=True)]
        total = sum(shares)  # below 1 where a hypothesis has no pair
        first = iter(weighted(p_values, [share / total for share in shares]))
    else:
        first = iter(in_order(p_values))
    found_first = list(first)
    least = max(found_first, default=0.0)
    rest = iter(holm([one.p for one in tested if not one.hypothesis.primary]))
    of_primary = iter(found_first)
    return [
        replace(
            one,
            p_adjusted=next(of_primary) if one.hypothesis.primary else max(least, next(rest)),
        )
        for one in tested
    ]
