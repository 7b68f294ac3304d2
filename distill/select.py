"""Selection of problems and pairs. Each step reports what it rejects, and why.

Problems are rejected before they cost a call: duplicates, benchmark problems, those too easy or too
hard for given models. Pairs are rejected by length and by the balance of domains, or selected as s1
does.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
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

from distill import difficulty_scores, pass_counts
from distill.difficulty_scores import HIGHEST, LOWEST, Difficulty
from distill.trace_patterns import FAMILIES, count_patterns, pattern_fault, patterns
from ratiocine import cli
from ratiocine.config import ByContent, Hashed, HashedIfSet, StrictConfig
from ratiocine.data import DataConfig, Index, paraphrases, repeats, sources
from ratiocine.evaluate import key
from ratiocine.hashing import Seen, digest, smallest
from ratiocine.records import Mode, Pair, Problem


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"'{pattern}' is no regular expression: {error}") from None
    return pattern


Share = Annotated[float, Field(ge=0, le=1)]
Side = Literal["prompt", "ift", "reasoning"]
Pattern = Annotated[str, AfterValidator(_compiles)]
RANKS = (
    64  # a pair of rank 64 has 2^-64 of the first one's probability: lower ranks are never drawn
)


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
    embedding_threshold: HashedIfSet[Annotated[float, Field(gt=0, le=1)]] = 0.9
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


def domain(problem: Problem) -> str:
    """The domain or subject of a problem, else its source."""
    return str(problem.meta.get("domain") or problem.meta.get("subject") or problem.source)


class Prompts:
    """The problems of a run, streamed from their source at every iteration: a source may be larger
    than memory.

    The constructor reads them once and reports to `drop` what it rejects. Only the search for
    near-duplicates holds all texts in memory; the other steps hold ids.
    """

    def __init__(
        self,
        data: DataConfig,
        select: SelectConfig,
        *,
        seed: int,
        limit: int | None,
        drop: sources.Drop,
    ) -> None:
        self.data, self.seed, self.n = data, seed, 0
        self.test_contents = _test_contents(data, seed)
        self.rejected: set[str] = set()
        # With a limit or a mixture, a source has more problems than the run.
        self.included: set[str] | None = None if limit is None and not data.mix else set()
        texts: list[tuple[Problem, str]] = []

        def reject(problem: Problem, reason: str) -> None:
            self.rejected.add(key(problem))
            drop(problem, reason)

        for problem in self._checked(select, limit, reject):
            self.n += 1
            if self.included is not None:
                self.included.add(key(problem))
            if select.dedup_threshold is not None or select.embedding_model is not None:
                texts.append((problem, _text(problem)))
        if select.dedup_threshold is not None:
            found = repeats([text for _, text in texts], similar=select.dedup_threshold)
            self._reject_all(texts, found, "nearly_repeated", reject)
            texts = [one for at, one in enumerate(texts) if at not in found]
        if select.embedding_model is not None:
            model, threshold = select.embedding_model, select.embedding_threshold
            plain = [text for _, text in texts]
            found = paraphrases(plain, model, threshold=threshold, seed=seed)
            self._reject_all(texts, found, "paraphrased", reject)

    def _reject_all(
        self,
        texts: Sequence[tuple[Problem, str]],
        found: Iterable[int],
        reason: str,
        reject: sources.Drop,
    ) -> None:
        for at in found:
            reject(texts[at][0], reason)
            self.n -= 1

    def _checked(
        self, select: SelectConfig, limit: int | None, reject: sources.Drop
    ) -> Iterator[Problem]:
        """The problems that pass every step but the search for near-duplicates."""
        index = Index(benchmark_texts(select), select.ngram) if select.decontaminate else None
        rules = [
            (rule, pass_counts.read(Path(rule.run), rule.mode))
            for rule in select.pass_rates
            if rule.run is not None
        ]
        scores = None if select.difficulty is None else difficulty_scores.read(select.difficulty)
        seen = Seen()
        for problem in sources.stream(self.data, "train", seed=self.seed, limit=limit, drop=reject):
            content, text = sources.content(problem), _text(problem)
            found = index.held_by(text) if index else {}
            if self.test_contents and content in self.test_contents:
                reject(problem, "in_test_split")
            elif any(re.search(pattern, text) for pattern in select.exclude_regex):
                reject(problem, "pattern")
            elif select.exact and seen.has(content):
                reject(problem, "repeated")
            elif found:
                reject(problem, f"in_{next(iter(found)).partition('/')[0]}")
            elif any(not rule.accepts(*n.get(key(problem), (0, 0))) for rule, n in rules):
                reject(problem, "pass_rate")
            elif scores is not None and (fault := _score_fault(scores.get(key(problem)), select)):
                reject(problem, fault)
            else:
                seen.add(content)
                yield problem

    def __iter__(self) -> Iterator[Problem]:
        for problem in sources.read(self.data, "train", self.seed):
            name = key(problem)
            if name not in self.rejected and (self.included is None or name in self.included):
                yield problem


def _score_fault(score: float | None, select: SelectConfig) -> str | None:
    """Why a problem of this difficulty is rejected, or None."""
    if score is None:
        return "no_difficulty"
    return None if select.min_difficulty <= score <= select.max_difficulty else "difficulty"


def _test_contents(data: DataConfig, seed: int) -> set[str] | None:
    """Contents of the test split; None if the source has none."""
    if not sources.has(data, "test"):
        return None
    return {sources.content(problem) for problem in sources.read(data, "test", seed)}


def _text(problem: Problem) -> str:
    """A problem without the task wording, which is no sign of a shared problem."""
    return f"{problem.context} {problem.question}".strip()


def benchmark_texts(select: SelectConfig) -> dict[str, str]:
    """The texts of all benchmark problems, by `benchmark/id`."""
    return {
        f"{data.name}/{p.id}": _text(p)
        for data in select.benchmarks()
        for p in sources.read(data, "test", 0)
    }


@dataclass(frozen=True)
class PairSummary:
    """What the selection of pairs depends on."""

    id: str
    source: str
    domain: str
    tokens: int
    """Of the reasoning answer."""
    level: str | None = None
    shared: bool = False
    """Whether the problem is in the test split too."""
    row: int | None = None
    """Number of its row in the source."""


def outside(pair: Pair, select: SelectConfig) -> str | None:
    """The first side of a pair outside its token limits, or the pattern that its trace lacks or
    should not have, as a reason."""
    for side, (lowest, highest) in (select.tokens or {}).items():
        if not lowest <= getattr(pair, f"n_tokens_{side}") <= highest:
            return f"{side}_length"
    required, excluded = select.require_patterns, select.exclude_patterns
    if not required and not excluded:
        return None
    return pattern_fault(
        count_patterns(pair.reasoning, patterns(select.patterns or {})), required, excluded
    )


def selected(summaries: Sequence[PairSummary], select: SelectConfig, seed: int) -> set[int]:
    """Indices of the selected pairs: all, a number per domain, or the selection of s1."""
    if select.s1 is not None:
        return set(s1(summaries, select.s1, seed))
    if select.per_domain is None:
        return set(range(len(summaries)))
    by_domain: dict[str, list[str]] = {}
    for summary in summaries:
        by_domain.setdefault(summary.domain, []).append(summary.id)
    chosen = {
        (name, i) for name, ids in by_domain.items() for i in smallest(ids, select.per_domain, seed)
    }
    return {at for at, summary in enumerate(summaries) if (summary.domain, summary.id) in chosen}


def s1(summaries: Sequence[PairSummary], config: S1Config, seed: int) -> list[int]:
    """Indices of the pairs that s1 selects, in order; all of them if there are at most `n`."""
    rng = random.Random(digest("s1", seed))
    min_tokens = {rule.source: rule.min_tokens for rule in config.preferred}
    preferred = [
        at
        for at, summary in enumerate(summaries)
        if summary.source in min_tokens and summary.tokens >= min_tokens[summary.source]
    ]
    chosen = preferred[: config.n]
    pools = _by_domain(summaries, set(chosen))
    while pools and len(chosen) < config.n:
        names = sorted(pools)
        weights = [(config.weights or {}).get(name, 0.0) for name in names]
        if len(chosen) < config.uniform or not any(weights):
            weights = [1.0] * len(names)
        pool = pools[name := rng.choices(names, weights)[0]]
        ranks = range(min(len(pool), RANKS))
        chosen.append(pool.pop(rng.choices(ranks, [2.0**-rank for rank in ranks])[0]))
        if not pool:
            del pools[name]
    return chosen


def _by_domain(summaries: Sequence[PairSummary], taken: set[int]) -> dict[str, list[int]]:
    """Indices of the remaining pairs, by domain, the longest trace first."""
    pools: dict[str, list[int]] = {}
    longest_first = sorted(
        range(len(summaries)), key=lambda at: (-summaries[at].tokens, summaries[at].id)
    )
    for at in longest_first:
        if at not in taken:
            pools.setdefault(summaries[at].domain, []).append(at)
    return pools
