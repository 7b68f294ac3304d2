"""Contamination of a training set with benchmarks, and near-duplicates within a set.

Exact: the same text but for case and spacing. 13-gram: 13 consecutive words in common (Brown et al.
2020, arXiv 2005.14165, appendix C). Fuzzy: a normalised edit similarity of at least 95 of 100, as
OpenThoughts filters (`rapidfuzz.fuzz.ratio`), between texts with the same numbers: with others it
is another problem, here as in a split.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ratiocine.hashing import content_key

if TYPE_CHECKING:
    import numpy as np

N = 13  # words
SIMILAR = 95  # edit similarity, of 100
SHINGLE = 3  # words
# MinHash bands and rows per band: texts with 45 of 51 shingles in common (one word of fifty
# replaced) share no band in 1 of 9,700 cases.
BANDS, ROWS = 12, 5
NEIGHBOURS = 16  # earlier members of its band that a text is compared with, at most
NUMBERS = re.compile(r"\d+")
WORDS = re.compile(r"[^\W_]+")
How = Literal["exact", "ngram", "fuzzy"]


@dataclass(frozen=True)
class Match:
    """A benchmark problem found in the training set."""

    how: How
    row: str
    """Id of the first training row that contains it."""


class Index:
    """Texts by name, to be looked up in any number of others."""

    def __init__(self, texts: Mapping[str, str], n: int = N) -> None:
        self.n = n
        self.exact: dict[str, list[str]] = {}
        self.grams: dict[tuple[str, ...], list[str]] = {}
        for name, text in texts.items():
            self.exact.setdefault(content_key(text), []).append(name)
            for gram in set(ngrams(text, n)):
                self.grams.setdefault(gram, []).append(name)

    def held_by(self, text: str) -> dict[str, How]:
        """How indexed texts are found in `text`, by name: equal (`exact`) or sharing an n-gram."""
        shared = (name for gram in ngrams(text, self.n) for name in self.grams.get(gram, ()))
        found: dict[str, How] = dict.fromkeys(shared, "ngram")
        return found | dict.fromkeys(self.exact.get(content_key(text), ()), "exact")


def overlaps(
    train: Mapping[str, str], test: Mapping[str, str], *, n: int = N, similar: float = SIMILAR
) -> dict[str, Match]:
    """The problems of `test` found in `train`, both texts by id: each with its strictest match
    (exact, n-gram, fuzzy)."""
    index = Index(test, n)
    found: dict[How, dict[str, Match]] = {"exact": {}, "ngram": {}}
    for row, text in train.items():
        for name, how in index.held_by(text).items():
            found[how].setdefault(name, Match(how, row))
    sure = found["ngram"] | found["exact"]
    rest = {name: text for name, text in test.items() if name not in sure}
    return sure | {name: Match("fuzzy", row) for name, row in _similar(train, rest, similar)}


def repeats(texts: Sequence[str], *, similar: float = SIMILAR) -> dict[int, int]:
    """Near-duplicates: index of each → index of an earlier text that is not one itself.

    Texts with different numbers are different problems, however similar. Candidates share a band of
    MinHash values of word trigrams (Broder 1997; Leskovec et al., Mining of Massive Datasets, 3.4)
    and are then compared in full: no false positives, and fewer than one in a thousand texts with
    one word of fifty replaced is missed.
    """
    found: dict[int, int] = {}
    for earlier, later in _candidates(texts):
        if later in found or earlier in found:
            continue
        if _repeated(texts[earlier], texts[later], similar):
            found[later] = earlier
    return found


def groups(texts: Sequence[str], *, similar: float = SIMILAR) -> list[int]:
    """Index of the first text of each text's group. Near-duplicates, as of `repeats` but without
    regard to case and spacing, are in one group, transitively."""
    first = list(range(len(texts)))

    def root(at: int) -> int:
        while first[at] != at:
            first[at] = at = first[first[at]]
        return at

    plain = [" ".join(text.casefold().split()) for text in texts]
    by_numbers: dict[tuple[str, ...], list[int]] = {}  # others are no near-duplicates
    for at, text in enumerate(plain):
        by_numbers.setdefault(tuple(NUMBERS.findall(text)), []).append(at)
    for members in by_numbers.values():
        if len(members) == 1:
            continue
        for earlier, later in _candidates([plain[at] for at in members]):
            one, other = sorted((root(members[earlier]), root(members[later])))
            if one != other and _repeated(plain[members[earlier]], plain[members[later]], similar):
                first[other] = one
    return [root(at) for at in range(len(texts))]


def _repeated(one: str, other: str, similar: float) -> bool:
    from rapidfuzz import fuzz

    return NUMBERS.findall(one) == NUMBERS.findall(other) and bool(
        fuzz.ratio(one, other, score_cutoff=similar)
    )


def _candidates(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Index pairs (earlier, later) of texts that share a band, ordered by the later, then the
    earlier."""
    import numpy as np

    signatures = _signatures(texts)
    found = []
    for band in range(BANDS):
        key = _mixed(signatures[:, band * ROWS : (band + 1) * ROWS])
        order = np.argsort(key, kind="stable")  # groups members of a band, the earliest first
        same = key[order][1:] == key[order][:-1]
        start = np.arange(len(order))
        start[1:][same] = 0
        start = np.maximum.accumulate(start)
        for nth in range(NEIGHBOURS):  # each member with the nth earliest of its band
            later = start + nth < np.arange(len(order))
            if not later.any():
                break
            found.append(np.stack([order[later], order[(start + nth)[later]]], axis=1))
    if not found:
        return
    pairs = np.unique(np.concatenate(found), axis=0)
    for later, earlier in pairs.tolist():
        yield earlier, later


def _signatures(texts: Sequence[str]) -> np.ndarray:
    """MinHash values of each text's word trigrams: uint32, (texts, BANDS * ROWS)."""
    import numpy as np
    from datasketch import MinHash

    values = np.empty((len(texts), BANDS * ROWS), dtype=np.uint32)
    shingled = (_shingles(text) for text in texts)
    hashes = MinHash.generator(shingled, num_perm=BANDS * ROWS, seed=1, hashfunc=zlib.crc32)
    for row, minhash in zip(values, hashes, strict=True):
        row[:] = minhash.hashvalues
    return values


def _shingles(text: str) -> list[bytes]:
    words = WORDS.findall(text.casefold()) or [text]
    return [
        " ".join(words[i : i + SHINGLE]).encode("utf-8", "replace")
        for i in range(max(1, len(words) - SHINGLE + 1))
    ]


def _mixed(values: np.ndarray) -> np.ndarray:
    """A 64-bit hash of each row."""
    import numpy as np

    key = np.zeros(len(values), dtype=np.uint64)
    for column in values.T:
        key = (key ^ column.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(32)
    return key


def ngrams(text: str, n: int) -> Iterator[tuple[str, ...]]:
    """Every `n` consecutive words, without case or punctuation."""
    words = WORDS.findall(text.casefold())
    return zip(*(words[i:] for i in range(n)), strict=False)


def _similar(
    train: Mapping[str, str], test: Mapping[str, str], similar: float
) -> Iterator[tuple[str, str]]:
    """The most similar training text with the same numbers."""
    from rapidfuzz import fuzz, process

    plain = {row: " ".join(text.casefold().split()) for row, text in train.items()}
    by_numbers: dict[tuple[str, ...], dict[str, str]] = {}  # others are no near-duplicates
    for row, text in plain.items():
        by_numbers.setdefault(tuple(NUMBERS.findall(text)), {})[row] = text
    for name, text in test.items():
        near = by_numbers.get(tuple(NUMBERS.findall(text)), {})
        query = " ".join(text.casefold().split())
        best = process.extractOne(query, near, scorer=fuzz.ratio, score_cutoff=similar)
        if best is not None:
            yield name, best[2]


def without_wording(prompts: Sequence[str]) -> list[str]:
    """The prompts without the lines shared by at least half of them: a task's wording is no sign of
    a shared problem. Fewer than four prompts are returned unchanged."""
    if len(prompts) < 4:
        return list(prompts)
    counts = Counter(line for prompt in prompts for line in set(prompt.splitlines()))
    shared = {line for line, count in counts.items() if count >= len(prompts) / 2}
    return [
        "\n".join(line for line in prompt.splitlines() if line not in shared) for prompt in prompts
    ]


def by_how(matches: Iterable[Match]) -> dict[str, int]:
    """Number of matches of each kind."""
    counts = Counter(match.how for match in matches)
    return {how: counts[how] for how in ("exact", "ngram", "fuzzy")}
