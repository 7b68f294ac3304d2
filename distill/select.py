"""What enters a set of pairs: which problems are asked, and which pairs are kept. Each step tells what it left out, and why.

Problems are left out before they cost a call: repeats, those that a benchmark holds, those that are too easy or too hard for
given models. Pairs are left out by their lengths and by the balance of domains; or a thousand are drawn as s1 draws them.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from ratiocine import cli
from ratiocine.config import ByContent, Hashed, StrictConfig
from ratiocine.data import DataConfig, Index, repeats, sources
from ratiocine.errors import BadInput
from ratiocine.evaluate import key
from ratiocine.hashing import Seen, digest, smallest
from ratiocine.records import Mode, Pair, Problem
from ratiocine.runs import check_finished


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"'{pattern}' is no regular expression: {error}") from None
    return pattern


Share = Annotated[float, Field(ge=0, le=1)]
Side = Literal["prompt", "ift", "reasoning"]
Pattern = Annotated[str, AfterValidator(_compiles)]
Drop = Callable[[Problem, str], None]
RANKS = 64  # 2^-64 of the first one's chance: none further down is ever drawn


class PassRate(StrictConfig):
    """Keep a problem if the share of right answers, in one mode, is between `least` and `most`: in the finished `distill` run
    of any model over the same data, or among the answers of this run where `run` is None."""

    run: ByContent[str | None] = None
    mode: Hashed[Mode] = "reasoning"
    min_rate: Hashed[Share] = 0.0
    max_rate: Hashed[Share] = 1.0

    def holds(self, right: int, n: int) -> bool:
        return n > 0 and self.min_rate <= right / n <= self.max_rate


class Preferred(StrictConfig):
    """Pairs that an s1 selection takes at once: those of a source whose reasoning answer has `min_tokens` or more."""

    source: Hashed[str]
    min_tokens: Hashed[NonNegativeInt] = 0


class S1Config(StrictConfig):
    """The selection of s1 (Muennighoff et al. 2025, arXiv 2501.19393, and its code): after the preferred pairs, a domain is
    drawn, uniformly until `uniform` pairs are there and then by `weights`, and from it a pair with probability proportional
    to 2^-rank, rank 0 being the longest trace that is left."""

    n: Hashed[PositiveInt] = 1000
    uniform: Hashed[NonNegativeInt] = 700
    preferred: Hashed[list[Preferred]] = []
    weights: Hashed[dict[str, PositiveFloat] | None] = None


class SelectConfig(StrictConfig):
    """conf/select says what the keys mean."""

    name: Hashed[str]
    exact: Hashed[bool] = True
    exclude_regex: Hashed[list[Pattern]] = []
    dedup_threshold: Hashed[Annotated[float, Field(gt=0, le=100)] | None] = None
    decontaminate: Hashed[list[str]] = []
    ngram: Hashed[PositiveInt] = 13
    data_dir: ByContent[str | None] = None
    pass_rates: Hashed[list[PassRate]] = []
    tokens: Hashed[dict[Side, tuple[NonNegativeInt, NonNegativeInt]] | None] = None
    per_domain: Hashed[PositiveInt | None] = None
    s1: Hashed[S1Config | None] = None

    @model_validator(mode="after")
    def _one_draw(self) -> Self:
        if self.s1 is not None and self.per_domain is not None:
            raise ValueError("s1 draws by domain itself: leave per_domain out")
        return self

    @property
    def draws(self) -> bool:
        """Whether what is kept depends on all pairs there are."""
        return self.s1 is not None or self.per_domain is not None

    def benchmarks(self) -> list[DataConfig]:
        """The benchmarks that no problem may be in, as they are read."""
        named = (
            cli.named("data", name, DataConfig, called="benchmark") for name in self.decontaminate
        )
        return [data.model_copy(update={"data_dir": self.data_dir}) for data in named]


def domain(problem: Problem) -> str:
    """What a source says a problem is about, else the source itself."""
    return str(problem.meta.get("domain") or problem.meta.get("subject") or problem.source)


class Prompts:
    """The problems of a run, read anew from their source each time they are gone through: a source may be larger than memory.

    Made by a first reading, which tells `drop` what it leaves out. Nearly equal problems can only be found by holding all
    texts; no other step holds more than ids.
    """

    def __init__(
        self, data: DataConfig, select: SelectConfig, *, seed: int, limit: int | None, drop: Drop
    ) -> None:
        self.data, self.seed, self.n = data, seed, 0
        self.held_out = _held_out(data, seed)
        self.out: set[str] = set()
        self.only: set[str] | None = None if limit is None and not data.mix else set()
        texts: list[tuple[Problem, str]] = []

        def out(problem: Problem, reason: str) -> None:
            self.out.add(key(problem))
            drop(problem, reason)

        for problem in self._checked(select, limit, out):
            self.n += 1
            if self.only is not None:
                self.only.add(key(problem))
            if select.dedup_threshold is not None:
                texts.append((problem, _text(problem)))
        if select.dedup_threshold is not None:
            for place in repeats([text for _, text in texts], similar=select.dedup_threshold):
                out(texts[place][0], "nearly_repeated")
                self.n -= 1

    def _checked(self, select: SelectConfig, limit: int | None, out: Drop) -> Iterator[Problem]:
        """The problems that every step but the search for near-repeats lets through."""
        index = Index(benchmark_texts(select), select.ngram) if select.decontaminate else None
        rates = [
            (rule, _rates(Path(rule.run), rule.mode))
            for rule in select.pass_rates
            if rule.run is not None
        ]
        seen = Seen()
        for problem in sources.stream(self.data, "train", seed=self.seed, limit=limit, drop=out):
            content = sources.content(problem)
            found = index.held_by(_text(problem)) if index else {}
            if self.held_out and content in self.held_out:
                out(problem, "in_test_split")
            elif any(re.search(pattern, _text(problem)) for pattern in select.exclude_regex):
                out(problem, "pattern")
            elif select.exact and seen.has(content):
                out(problem, "repeated")
            elif found:
                out(problem, f"in_{next(iter(found)).partition('/')[0]}")
            elif any(not rule.holds(*of.get(key(problem), (0, 0))) for rule, of in rates):
                out(problem, "pass_rate")
            else:
                seen.add(content)
                yield problem

    def __iter__(self) -> Iterator[Problem]:
        for problem in sources.read(self.data, "train", self.seed):
            name = key(problem)
            if name not in self.out and (self.only is None or name in self.only):
                yield problem


def _held_out(data: DataConfig, seed: int) -> set[str] | None:
    """Contents of the test split, None where the source has none within reach."""
    if not sources.has(data, "test"):
        return None
    return {sources.content(problem) for problem in sources.read(data, "test", seed)}


def _text(problem: Problem) -> str:
    """A problem without its task's wording, which is no sign of a shared problem."""
    return f"{problem.context} {problem.question}".strip()


def benchmark_texts(select: SelectConfig) -> dict[str, str]:
    return {
        f"{data.name}/{p.id}": _text(p)
        for data in select.benchmarks()
        for p in sources.read(data, "test", 0)
    }


def _rates(run: Path, mode: Mode) -> dict[str, tuple[int, int]]:
    """Right answers and answers of each problem in a finished `distill` run."""
    found: dict[str, tuple[int, int]] = {}
    if check_finished(run).verb == "distill":
        with open(run / "pass_rates.jsonl", encoding="utf-8") as lines:
            found = {row["key"]: tuple(row[mode]) for row in map(json.loads, lines)}
    if not found:
        raise BadInput(
            f"select.pass_rates: {run} holds no `distill` run of a model over problems with references"
        )
    return found


@dataclass(frozen=True)
class Place:
    """What selection needs to know of one pair."""

    id: str
    source: str
    domain: str
    tokens: int  # of the reasoning answer
    level: str | None = None
    shared: bool = False  # with the test split


def outside(pair: Pair, select: SelectConfig) -> str | None:
    """The first side of a pair that is shorter or longer than it may be, as a reason."""
    for side, (least, most) in (select.tokens or {}).items():
        if not least <= getattr(pair, f"n_tokens_{side}") <= most:
            return f"{side}_length"
    return None


def drawn(places: Sequence[Place], select: SelectConfig, seed: int) -> set[int]:
    """The pairs that are kept, by their place: all, a number of each domain, or what s1 draws."""
    if select.s1 is not None:
        return set(s1(places, select.s1, seed))
    if select.per_domain is None:
        return set(range(len(places)))
    by_domain: dict[str, list[str]] = {}
    for place in places:
        by_domain.setdefault(place.domain, []).append(place.id)
    kept = {
        (name, i) for name, ids in by_domain.items() for i in smallest(ids, select.per_domain, seed)
    }
    return {at for at, place in enumerate(places) if (place.domain, place.id) in kept}


def s1(places: Sequence[Place], config: S1Config, seed: int) -> list[int]:
    """The places that s1 takes, in the order in which it takes them; all of them where there are no more than `n`."""
    rng = random.Random(digest("s1", seed))
    least = {rule.source: rule.min_tokens for rule in config.preferred}
    preferred = [
        at
        for at, place in enumerate(places)
        if place.source in least and place.tokens >= least[place.source]
    ]
    chosen = preferred[: config.n]
    taken, left = set(chosen), dict[str, list[int]]()
    for at in sorted(range(len(places)), key=lambda at: (-places[at].tokens, places[at].id)):
        if at not in taken:
            left.setdefault(places[at].domain, []).append(at)
    while left and len(chosen) < config.n:
        names = sorted(left)
        weights = [(config.weights or {}).get(name, 0.0) for name in names]
        if len(chosen) < config.uniform or not any(weights):
            weights = [1.0] * len(names)
        pool = left[name := rng.choices(names, weights)[0]]
        ranks = range(min(len(pool), RANKS))
        chosen.append(pool.pop(rng.choices(ranks, [2.0**-rank for rank in ranks])[0]))
        if not pool:
            del left[name]
    return chosen
