"""Texts that are in other texts, word for word, in 13 words in a row, or nearly: benchmarks in a
training set, and a training set in itself.

Exact: the same text but for case and spacing. 13-gram: 13 consecutive words in common (Brown et al.
2020, arXiv 2005.14165, appendix C). Fuzzy: a normalised edit similarity of at least 95 of 100, as
OpenThoughts filters (`rapidfuzz.fuzz.ratio`).
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
SIMILAR = 95  # of 100
SHINGLE = 3  # words
BANDS, ROWS = (
    12,
    5,
)  # of MinHash values: with 45 of 51 shingles in common (a word of fifty replaced) 1 in 9,700 goes unseen
NEIGHBOURS = 16  # of each band's earlier members, so many are compared with
NUMBERS = re.compile(r"\d+")
WORDS = re.compile(r"[^\W_]+")
How = Literal["exact", "ngram", "fuzzy"]


@dataclass(frozen=True)
class Match:
    """How a problem is found in the training set, and the id of the first row that holds it."""

    how: How
    row: str


class Index:
    """Texts by name, to be found in others; each is held once, and looked for in as many texts as
    there are."""

    def __init__(self, texts: Mapping[str, str], n: int = N) -> None:
        self.n = n
        self.exact: dict[str, list[str]] = {}
        self.grams: dict[tuple[str, ...], list[str]] = {}
        for name, text in texts.items():
            self.exact.setdefault(content_key(text), []).append(name)
            for gram in set(ngrams(text, n)):
                self.grams.setdefault(gram, []).append(name)

    def held_by(self, text: str) -> dict[str, How]:
        """The names of the texts that this one holds, and how."""
        shared = (name for gram in ngrams(text, self.n) for name in self.grams.get(gram, ()))
        found: dict[str, How] = dict.fromkeys(shared, "ngram")
        return found | dict.fromkeys(self.exact.get(content_key(text), ()), "exact")


def overlaps(
    train: Mapping[str, str], test: Mapping[str, str], *, n: int = N, similar: float = SIMILAR
) -> dict[str, Match]:
    """The problems of `test` that `train` holds, both as texts by id; the strictest way in which
    each is found is named."""
    index = Index(test, n)
    found: dict[How, dict[str, Match]] = {"exact": {}, "ngram": {}}
    for row, text in train.items():
        for name, how in index.held_by(text).items():
            found[how].setdefault(name, Match(how, row))
    sure = found["ngram"] | found["exact"]
    rest = {name: text for name, text in test.items() if name not in sure}
    return sure | {name: Match("fuzzy", row) for name, row in _similar(train, rest, similar)}


def repeats(texts: Sequence[str], *, similar: float = SIMILAR) -> dict[int, int]:
    """Near-duplicates: the places of texts that nearly repeat an earlier one which is no repeat
    itself, each with that one's.

    Texts whose numbers differ are different problems, however alike. Candidates share a band of
    MinHash values of word trigrams (Broder 1997; Leskovec et al., Mining of Massive Datasets, 3.4)
    and are then compared in full: what is found is certain, and of texts with one word of fifty
    replaced fewer than one in a thousand is missed.
    """
    from rapidfuzz import fuzz

    found: dict[int, int] = {}
    for earlier, later in _candidates(texts):
        if later in found or earlier in found:
            continue
        one, other = texts[earlier], texts[later]
        if NUMBERS.findall(one) == NUMBERS.findall(other) and fuzz.ratio(
            one, other, score_cutoff=similar
        ):
            found[later] = earlier
    return found


def _candidates(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Pairs of places whose texts share a band, by the later place and then by the earlier."""
    import numpy as np

    signatures = _signatures(texts)
    found = []
    for band in range(BANDS):
        key = _mixed(signatures[:, band * ROWS : (band + 1) * ROWS])
        order = np.argsort(
            key, kind="stable"
        )  # members of a band stand together, the earliest first
        same = key[order][1:] == key[order][:-1]
        start = np.arange(len(order))
        start[1:][same] = 0
        start = np.maximum.accumulate(start)
        for back in range(NEIGHBOURS):  # each member with the `back`-th earliest of its band
            there = start + back < np.arange(len(order))
            if not there.any():
                break
            found.append(np.stack([order[there], order[(start + back)[there]]], axis=1))
    if not found:
        return
    pairs = np.unique(np.concatenate(found), axis=0)
    for later, earlier in pairs.tolist():
        yield earlier, later


def _signatures(texts: Sequence[str]) -> np.ndarray:
    """MinHash values of the word trigrams of each text, as texts × values of 32 bits."""
    import numpy as np
    from datasketch import MinHash

    found = np.empty((len(texts), BANDS * ROWS), dtype=np.uint32)
    shingled = (_shingles(text) for text in texts)
    for row, minhash in zip(
        found,
        MinHash.generator(shingled, num_perm=BANDS * ROWS, seed=1, hashfunc=zlib.crc32),
        strict=True,
    ):
        row[:] = minhash.hashvalues
    return found


def _shingles(text: str) -> list[bytes]:
    words = WORDS.findall(text.casefold()) or [text]
    return [
        " ".join(words[i : i + SHINGLE]).encode("utf-8", "replace")
        for i in range(max(1, len(words) - SHINGLE + 1))
    ]


def _mixed(values: np.ndarray) -> np.ndarray:
    """One number of 64 bits for each row of values."""
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
    from rapidfuzz import fuzz, process

    rows, texts = list(train), [" ".join(text.casefold().split()) for text in train.values()]
    for name, text in test.items():
        best = process.extractOne(
            " ".join(text.casefold().split()), texts, scorer=fuzz.ratio, score_cutoff=similar
        )
        if best is not None:
            yield name, rows[best[2]]


def without_wording(prompts: Sequence[str]) -> list[str]:
    """The prompts without the lines that at least half of them share: a task's wording is no sign
    of a shared problem. Fewer than four prompts stay as they are."""
    if len(prompts) < 4:
        return list(prompts)
    counts = Counter(line for prompt in prompts for line in set(prompt.splitlines()))
    shared = {line for line, count in counts.items() if count >= len(prompts) / 2}
    return [
        "\n".join(line for line in prompt.splitlines() if line not in shared) for prompt in prompts
    ]


def by_how(matches: Iterable[Match]) -> dict[How, int]:
    """How many there are of each kind."""
    counts = Counter(match.how for match in matches)
    return {how: counts[how] for how in ("exact", "ngram", "fuzzy")}
