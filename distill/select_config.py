"""Configuration of the selection of problems (`select`) and of pairs (`pair_selection`)."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from distill.difficulty_scores import HIGHEST, LOWEST, Difficulty
from distill.trace_patterns import FAMILIES
from ratiocine import cli
from ratiocine.config import ByContent, Hashed, HashedIfSet, PositiveShare, Share, StrictConfig
from ratiocine.data import DataConfig
from ratiocine.records import Mode


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"'{pattern}' is no regular expression: {error}") from None
    return pattern


Side = Literal["prompt", "ift", "reasoning"]
Pattern = Annotated[str, AfterValidator(_compiles)]


class PassRate(StrictConfig):
    """Accept a problem by the pass rate of a model in one mode."""

    run: ByContent[str | None] = None
    """A finished `distill` run over the same data; None for this run."""
    mode: Hashed[Mode] = "reasoning"
    min_rate: Hashed[Share] = 0.0
    max_rate: Hashed[Share] = 1.0

    def accepts(self, right: int, n: int) -> bool:
        return n > 0 and self.min_rate <= right / n <= self.max_rate


class Preferred(StrictConfig):
    """Pairs that s1 selects first: those of a source whose reasoning answer has `min_tokens` or
    more."""

    source: Hashed[str]
    min_tokens: Hashed[NonNegativeInt] = 0


class S1Config(StrictConfig):
    """The selection of s1 (Muennighoff et al. 2025, arXiv 2501.19393, and its code). After the
    preferred pairs, a domain is sampled, uniformly for the first `uniform` pairs and then by
    `weights`; from it a pair with probability proportional to 2^-rank, rank 0 being the longest
    remaining trace.

    The paper's filters of quality and difficulty are other steps here (`exclude_regex`,
    `pass_rates`).
    """

    n: Hashed[PositiveInt] = 1000
    uniform: Hashed[NonNegativeInt] = 700
    preferred: Hashed[list[Preferred]] = Field(default=[])
    weights: Hashed[dict[str, PositiveFloat] | None] = None


class SelectConfig(StrictConfig):
    """conf/select/plain.yaml documents the keys."""

    name: Hashed[str]
    exact: Hashed[bool] = True
    exclude_regex: Hashed[list[Pattern]] = Field(default=[])
    dedup_threshold: Hashed[Annotated[float, Field(gt=0, le=100)] | None] = None
    embedding_model: ByContent[str | None] = None
    embedding_threshold: HashedIfSet[PositiveShare] = 0.9
    decontaminate: Hashed[list[str]] = Field(default=[])
    ngram: Hashed[PositiveInt] = 13
    data_dir: ByContent[str | None] = None
    pass_rates: Hashed[list[PassRate]] = Field(default=[])
    difficulty: ByContent[str | None] = None
    min_difficulty: HashedIfSet[Difficulty] = LOWEST
    max_difficulty: HashedIfSet[Difficulty] = HIGHEST
    tokens: Hashed[dict[Side, tuple[NonNegativeInt, NonNegativeInt]] | None] = None
    patterns: HashedIfSet[dict[str, Pattern] | None] = None
    require_patterns: HashedIfSet[list[str]] = Field(default=[])
    exclude_patterns: HashedIfSet[list[str]] = Field(default=[])
    per_domain: Hashed[PositiveInt | None] = None
    s1: Hashed[S1Config | None] = None

    @field_validator("require_patterns", "exclude_patterns")
    @classmethod
    def _known(cls, names: list[str], info: ValidationInfo) -> list[str]:
        known = {**FAMILIES, **(info.data.get("patterns") or {})}
        if unknown := [name for name in names if name not in known]:
            raise ValueError(f"unknown pattern '{unknown[0]}'; known: {', '.join(known)}")
        return names

    @model_validator(mode="after")
    def _one_draw(self) -> Self:
        if self.s1 is not None and self.per_domain is not None:
            raise ValueError("s1 draws by domain itself: leave per_domain out")
        return self

    @model_validator(mode="after")
    def _difficulty_has_scores(self) -> Self:
        lowest, highest = self.min_difficulty, self.max_difficulty
        if self.difficulty is None and (lowest, highest) != (LOWEST, HIGHEST):
            raise ValueError(
                "min_difficulty and max_difficulty need difficulty=FILE, written by "
                "`python -m distill.difficulty`"
            )
        if lowest > highest:
            raise ValueError(f"min_difficulty={lowest:g} is above max_difficulty={highest:g}")
        return self

    @property
    def needs_all(self) -> bool:
        """Whether the selection depends on all pairs."""
        return self.s1 is not None or self.per_domain is not None

    def benchmarks(self) -> list[DataConfig]:
        """The benchmarks that no problem may be in."""
        named = (
            cli.named("data", name, DataConfig, called="benchmark") for name in self.decontaminate
        )
        return [data.model_copy(update={"data_dir": self.data_dir}) for data in named]
