"""The numbers of scored completions in arrays: what is held of many, whose texts stay on disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ratiocine.cost import Shape, exact_generation, generation, generations
from ratiocine.records import ScoredCompletion
from ratiocine.stores import completions_file, stored_completions

if TYPE_CHECKING:
    import numpy as np

VERDICTS = ("right", "wrong", "ungradable")
NONE = -1  # code of what is not known, or of no answer


@dataclass(frozen=True)
class ProblemTable:
    """The problems of an evaluation, in the order of their first completions."""

    keys: list[str]
    benchmarks: list[str]
    categories: list[str]
    levels: list[str | None]
    references: list[int]
    """Number of the first problem with the same reference, but for case and spaces around it;
    `NONE` without a reference."""
    _found: dict[int, tuple[Sequence[str], np.ndarray]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @cached_property
    def numbers(self) -> Mapping[str, int]:
        """By key."""
        return {key: at for at, key in enumerate(self.keys)}

    def at(self, keys: Sequence[str]) -> np.ndarray:
        """The numbers of these problems."""
        import numpy as np

        known = self._found.get(id(keys))
        # The list of keys is held, so that no other object gets its id.
        if known is not None and len(known[1]) == len(keys):
            return known[1]
        numbers = self.numbers
        found = np.fromiter((numbers[key] for key in keys), dtype=np.int64, count=len(keys))
        if len(self._found) >= 64:
            self._found.clear()
        self._found[id(keys)] = keys, found
        return found


@dataclass(frozen=True, eq=False)
class Columns:
    """Scored completions as arrays with one number each, ordered by problem."""

    problems: ProblemTable
    starts: np.ndarray
    """Of the completions of each problem; then the number of completions."""
    offsets: np.ndarray
    """Of the rows in their file, in bytes."""
    verdict: np.ndarray
    """Index in `VERDICTS`."""
    truncated: np.ndarray
    answered: np.ndarray
    thought: np.ndarray
    expected: np.ndarray
    """0, 1 or `NONE`."""
    looping: np.ndarray
    """0, 1 or `NONE`."""
    n_prompt: np.ndarray
    n_completion: np.ndarray
    n_think: np.ndarray
    n_answer: np.ndarray
    vote: np.ndarray
    """Number of the first completion whose answer is equal (`grading.canonical`); `NONE` without an
    answer."""
    text: np.ndarray
    """The same of answers with equal texts, but for case and spaces around them."""
    reason: np.ndarray
    """Index in `reasons`."""
    reasons: list[str]
    efficiency: tuple[np.ndarray, np.ndarray]
    """Completions with an efficiency; outcome and process efficiency of each."""
    detail: Mapping[str, tuple[np.ndarray, np.ndarray]]
    """By measure: completions that have it, and its values."""
    calls: Mapping[int, Sequence[Sequence[int]]] = field(default_factory=dict)
    """Those of a strategy's answers (`ScoredCompletion.calls`), by completion."""
    _sums: dict[object, np.ndarray] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.verdict)

    @property
    def right(self) -> np.ndarray:
        return self.verdict == 0

    @property
    def wrong(self) -> np.ndarray:
        return self.verdict == 1

    @property
    def one(self) -> np.ndarray:
        """What the number of completions is a sum of."""
        return self.verdict != NONE

    @property
    def right_or_truncated(self) -> np.ndarray:
        """Gradable completions that are right, or could have been."""
        return self.right | (self.graded & self.truncated)

    @property
    def without_answer(self) -> np.ndarray:
        return self.vote == NONE

    @property
    def loops(self) -> np.ndarray:
        """Truncated completions that repeat themselves."""
        return self.looping == 1

    @property
    def has_looping(self) -> np.ndarray:
        return self.looping != NONE

    @property
    def has_expected(self) -> np.ndarray:
        return self.expected != NONE

    @cached_property
    def everything(self) -> np.ndarray:
        """The numbers of all problems."""
        import numpy as np

        return np.arange(len(self.problems.keys))

    @property
    def graded(self) -> np.ndarray:
        return self.verdict != 2

    @property
    def flipped(self) -> np.ndarray:
        """Whether a completion is in the mode that was not expected."""
        return (self.expected != NONE) & (self.thought != self.expected)

    @cached_property
    def by_problem(self) -> np.ndarray:
        """The problem of each completion."""
        import numpy as np

        return np.repeat(self.everything.astype(np.int32), np.diff(self.starts))

    def rows(self, at: np.ndarray) -> np.ndarray:
        """The completions of these problems, one problem after the other."""
        import numpy as np

        first, n = self.starts[at], self.starts[at + 1] - self.starts[at]
        before = np.cumsum(n) - n
        return np.repeat(first - before, n) + np.arange(int(n.sum()))

    def sums(self, name: str) -> np.ndarray:
        """Sums of a column, or of a product of columns such as `right answered n_completion`, over
        the completions of each problem."""
        import numpy as np

        if name not in self._sums:
            values = np.ones(len(self), dtype=np.int64)
            for one in name.split():
                values *= getattr(self, one)
            self._sums[name] = self._summed(values).astype(np.int32)
        return self._sums[name]

    def total(self, name: str, at: np.ndarray) -> int:
        """`sums`, over these problems."""
        return int(self.sums(name)[at].sum(dtype="int64"))

    def share(self, name: str, at: np.ndarray) -> float:
        """The share of the completions of these problems for which a column is true; 0 without
        completions."""
        return self.total(name, at) / n if (n := self.total("one", at)) else 0.0

    def are_of(self, rows: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Which of these completions are of these problems."""
        import numpy as np

        inside = np.zeros(len(self.problems.keys), dtype=bool)
        inside[at] = True
        found: np.ndarray = inside[self.by_problem[rows]]
        return found

    @cached_property
    def shares(self) -> np.ndarray:
        """Share of right completions of each problem, ungradable ones excluded; NaN without any."""
        import numpy as np

        with np.errstate(invalid="ignore"):
            return self.sums("right") / self.sums("graded")

    @cached_property
    def majorities(self) -> np.ndarray:
        """The majority vote (`stats.majority`) of each problem, ungradable completions excluded."""
        import numpy as np

        counted = np.flatnonzero(self.graded & (self.vote != NONE))
        ballots = self.by_problem[counted] * np.int64(len(self)) + self.vote[counted]
        answers, ballot, votes = np.unique(ballots, return_inverse=True, return_counts=True)
        right = np.bincount(ballot, self.right[counted], minlength=len(answers)) / votes
        problem, n = answers // max(1, len(self)), len(self.problems.keys)
        most = np.zeros(n, dtype=np.int64)
        np.maximum.at(most, problem, votes)
        tied = votes == most[problem]
        n_tied = np.bincount(problem[tied], minlength=n)
        return np.bincount(problem[tied], right[tied], minlength=n) / np.maximum(1, n_tied)

    def flops(self, shape: Shape, at: np.ndarray, *, exact: bool = True) -> list[float]:
        """FLOPs of the answered completions of these problems, summed by problem."""
        name = (shape, exact)
        if name not in self._sums:
            formula = exact_generation if exact else generation
            prompts, generated = (one.astype("int64") for one in (self.n_prompt, self.n_completion))
            values = formula(shape, prompts, generated).astype(float)
            for row, calls in self.calls.items():
                values[row] = sum(generations(shape, n, rest, exact=exact) for n, *rest in calls)
            self._sums[name] = self._summed(values * self.answered)
        return self._sums[name][at].tolist()

    def _summed(self, values: np.ndarray) -> np.ndarray:
        import numpy as np

        return np.add.reduceat(values, self.starts[:-1]) if len(values) else values


class StoredAnswers(Mapping[str, Sequence[ScoredCompletion]]):
    """The completions of a finished evaluation by problem, read from its file when asked for."""

    def __init__(self, folder: Path, columns: Columns, *, with_tokens: bool = False) -> None:
        self.file, self.columns, self.with_tokens = completions_file(folder), columns, with_tokens

    def __getitem__(self, key: str) -> list[ScoredCompletion]:
        at = self.columns.problems.numbers[key]
        first, last = self.columns.starts[at : at + 2]
        found = list(stored_completions(self.file, self.columns.offsets[first:last].tolist()))
        return found if self.with_tokens else [one.without_tokens() for one in found]

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns.problems.keys)

    def __len__(self) -> int:
        return len(self.columns.problems.keys)
