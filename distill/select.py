"""Selection of problems before they cost a call: duplicates, benchmark problems and those too easy
or too hard for given models are rejected, and reported with the reason."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from distill import difficulty_scores, pass_counts
from distill.select_config import SelectConfig
from ratiocine.data import DataConfig, Index, TextReferences, content, paraphrases, repeats, sources
from ratiocine.evaluate import key
from ratiocine.hashing import Seen
from ratiocine.records import Problem


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
        self.without_reference = 0
        self.references = TextReferences(decimal=data.decimal)
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
            self.without_reference += problem.reference is None
            self.references.add(problem)
            if self.included is not None:
                self.included.add(key(problem))
            if select.dedup_threshold is not None or select.embedding_model is not None:
                texts.append((problem, sources.text(problem)))
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
            self.without_reference -= texts[at][0].reference is None

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
            asked, text = content(problem), sources.text(problem)
            found = index.held_by(text) if index else {}
            if self.test_contents and asked in self.test_contents:
                reject(problem, "in_test_split")
            elif any(re.search(pattern, text) for pattern in select.exclude_regex):
                reject(problem, "pattern")
            elif select.exact and seen.has(asked):
                reject(problem, "repeated")
            elif found:
                reject(problem, f"in_{next(iter(found)).partition('/')[0]}")
            elif any(not rule.accepts(*n.get(key(problem), (0, 0))) for rule, n in rules):
                reject(problem, "pass_rate")
            elif scores is not None and (fault := _score_fault(scores.get(key(problem)), select)):
                reject(problem, fault)
            else:
                seen.add(asked)
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
    return {content(problem) for problem in sources.read(data, "test", seed)}


def benchmark_texts(select: SelectConfig) -> dict[str, str]:
    """The texts of all benchmark problems, by `benchmark/id`."""
    return {
        f"{data.name}/{p.id}": sources.text(p)
        for data in select.benchmarks()
        for p in sources.read(data, "test", 0)
    }
