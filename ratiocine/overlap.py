"""Which problems of a benchmark a training set already holds: word for word, in 13 words in a row, or nearly.

Exact: the same text but for case and spacing. 13-gram: 13 consecutive words in common (Brown et al. 2020, arXiv 2005.14165,
appendix C). Fuzzy: a normalised edit similarity of at least 95 of 100, as OpenThoughts filters (`rapidfuzz.fuzz.ratio`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ratiocine.problems import content_key

N = 13  # words
SIMILAR = 95  # of 100
WORDS = re.compile(r"[^\W_]+")
How = Literal["exact", "ngram", "fuzzy"]


@dataclass(frozen=True)
class Match:
    """How a problem is found in the training set, and the id of the first row that holds it."""

    how: How
    row: str


def overlaps(train: Mapping[str, str], test: Mapping[str, str], *, n: int = N, similar: float = SIMILAR) -> dict[str, Match]:
    """The problems of `test` that `train` holds, both as texts by id; the strictest way in which each is found is named."""
    exact: dict[str, str] = {}
    for row, text in train.items():
        exact.setdefault(content_key(text), row)
    found = {name: Match("exact", exact[key]) for name, text in test.items() if (key := content_key(text)) in exact}
    wanted = {gram for name, text in test.items() if name not in found for gram in ngrams(text, n)}
    grams: dict[tuple[str, ...], str] = {}
    for row, text in train.items():
        for gram in ngrams(text, n):
            if gram in wanted:
                grams.setdefault(gram, row)
    for name, text in test.items():
        if name not in found and (shared := next((grams[g] for g in ngrams(text, n) if g in grams), None)) is not None:
            found[name] = Match("ngram", shared)
    rest = {name: text for name, text in test.items() if name not in found}
    found.update({name: Match("fuzzy", row) for name, row in _similar(train, rest, similar)})
    return found


def ngrams(text: str, n: int) -> Iterator[tuple[str, ...]]:
    """Every `n` consecutive words, without case or punctuation."""
    words = WORDS.findall(text.casefold())
    return zip(*(words[i:] for i in range(n)), strict=False)


def _similar(train: Mapping[str, str], test: Mapping[str, str], similar: float) -> Iterator[tuple[str, str]]:
    from rapidfuzz import fuzz, process

    rows, texts = list(train), [" ".join(text.casefold().split()) for text in train.values()]
    for name, text in test.items():
        best = process.extractOne(" ".join(text.casefold().split()), texts, scorer=fuzz.ratio, score_cutoff=similar)
        if best is not None:
            yield name, rows[best[2]]


def without_wording(prompts: Sequence[str]) -> list[str]:
    """The prompts without the lines that at least half of them share: a task's wording is no sign of a shared problem. Fewer
    than four prompts stay as they are."""
    if len(prompts) < 4:
        return list(prompts)
    counts = Counter(line for prompt in prompts for line in set(prompt.splitlines()))
    shared = {line for line, count in counts.items() if count >= len(prompts) / 2}
    return ["\n".join(line for line in prompt.splitlines() if line not in shared) for prompt in prompts]


def by_how(matches: Iterable[Match]) -> dict[How, int]:
    """How many there are of each kind."""
    counts = Counter(match.how for match in matches)
    return {how: counts[how] for how in ("exact", "ngram", "fuzzy")}
