"""Global batches → weighted examples → micro-batches of like length.

Every row goes through here, in training and in the preflight check.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from ratiocine.errors import BadInput
from ratiocine.records import Mode, Pair
from ratiocine.rendering import Rendering
from train.dataset import PairDataset
from train.scenario import Example

# An example, and the weight of each of its supervised tokens in the loss of its step.
WeightedExample = tuple[str, Mode, float]


@dataclass(frozen=True)
class Row:
    """One problem in one mode: token ids of the prompt, and of the completion with its end of
    turn."""

    id: str
    mode: Mode
    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    weight: float = 1.0

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)


def row_of(rendering: Rendering, pair: Pair, mode: Mode, weight: float = 1.0) -> Row:
    """One target of a pair, tokenized."""
    prompt = rendering.prompt(pair.prompt, mode)
    completion = rendering.completion(pair.side(mode), mode)
    return Row(pair.id, mode, tuple(prompt), tuple(completion), weight)


@dataclass(frozen=True)
class RowDataset:
    """Map-style dataset from weighted examples to rows; texts are read and tokenized on access."""

    pairs: PairDataset
    rendering: Rendering

    def __len__(self) -> int:
        return len(self.pairs.index)

    def __getitem__(self, example: WeightedExample) -> Row:
        name, mode, weight = example
        row = row_of(self.rendering, self.pairs.pair(name), mode, weight)
        if len(row) != self.pairs.length(name, mode):
            raise BadInput(
                f"pairs={self.pairs.folder(name)}: pair '{name}' has {len(row)} tokens as {mode}, "
                f"and {self.pairs.length(name, mode)} are stored: by another tokenizer"
            )
        return row


@dataclass(frozen=True)
class MicroBatchSampler:
    """Batch sampler that splits global batches into micro-batches of weighted examples.

    Examples are sorted by length, longest first, and split where padding is least. Every global
    batch gives the same number of micro-batches: a smaller batch gets further ones that hold one
    example of weight 0. With several ranks, rank r gets every `world`-th micro-batch from r. A
    token's weight is 1/(supervised tokens of the global batch), or with `weight="example"`
    1/(examples · supervised tokens of its example), so that micro-batch losses add up to the loss
    of the step, however it is split.
    """

    batches: Sequence[Sequence[Example]]
    pairs: PairDataset
    batch_size: int
    micro_batch_size: int
    weight: Literal["token", "example"] = "token"
    padded: bool = True
    rank: int = 0
    world: int = 1
    quadratic: float = 0.0
    """A row of n tokens needs memory in proportion to n · (1 + quadratic · n)."""

    @property
    def per_batch(self) -> int:
        """Micro-batches of a global batch per rank."""
        return -(-self.batch_size // (self.micro_batch_size * self.world))

    def __len__(self) -> int:
        return len(self.batches) * self.per_batch

    def __iter__(self) -> Iterator[list[WeightedExample]]:
        for batch in self.batches:
            yield from self.split(batch)[self.rank :: self.world]

    def split(self, batch: Sequence[Example]) -> list[list[WeightedExample]]:
        """The micro-batches of one global batch, over all ranks."""
        examples = sorted(batch, key=lambda example: (-self.pairs.length(*example), example))
        lengths = [self.pairs.length(*example) for example in examples]
        tokens = [self.pairs.supervised(*example) for example in examples]
        total = sum(tokens)
        weighted: list[WeightedExample] = [
            (*example, 1 / total if self.weight == "token" else 1 / (len(examples) * n))
            for example, n in zip(examples, tokens, strict=True)
        ]
        ends = least_padding(lengths, self.micro_batch_size)
        parts = [weighted[start:end] for start, end in pairwise([0, *ends])]
        filler: WeightedExample = (*examples[-1], 0.0)
        return parts + [[filler]] * (self.per_batch * self.world - len(parts))

    def largest(self, *, after_first: bool = False) -> list[WeightedExample]:
        """The micro-batch that needs most memory, padding included; with `after_first` only of
        those that are not the first of their step, and empty where there are none."""
        skipped = self.world if after_first else 0

        def memory(tokens: int, length: int) -> float:
            return tokens * (1 + self.quadratic * (length if self.padded else tokens))

        def of(part: Sequence[WeightedExample]) -> float:
            lengths = [self.pairs.length(name, mode) for name, mode, _ in part]
            tokens = len(part) * lengths[0] if self.padded else sum(lengths)
            return memory(tokens, lengths[0])

        def upper_bound(batch: Sequence[Example]) -> float:
            lengths = sorted((self.pairs.length(*example) for example in batch), reverse=True)
            return memory(largest_part(lengths, self.micro_batch_size), lengths[0])

        found: list[WeightedExample] = []
        bounds = [upper_bound(batch) for batch in self.batches]
        for number in sorted(range(len(bounds)), key=lambda number: -bounds[number]):
            if found and bounds[number] <= of(found):
                break  # no later batch has a larger part
            parts = self.split(self.batches[number])[skipped:]
            found = max([*parts, *([found] if found else [])], key=of, default=found)
        return found


def largest_part(lengths: Sequence[int], size: int) -> int:
    """Padded tokens of the largest part, if rows, longest first, are cut into parts of `size`."""
    return max(
        lengths[start] * min(size, len(lengths) - start) for start in range(0, len(lengths), size)
    )


def least_padding(lengths: Sequence[int], size: int) -> list[int]:
    """Ends of ceil(n / size) parts of rows, longest first, that have the fewest padded tokens.

    By dynamic programming over (parts, rows). No part has more padded tokens than `largest_part`,
    so peak memory does not grow; a part has at most 3 · size rows."""
    n = len(lengths)
    limit = largest_part(lengths, size)
    # The best split of the first `end` rows into the parts so far: padded tokens, ends.
    best: dict[int, tuple[int, tuple[int, ...]]] = {0: (0, ())}
    for _ in range(-(-n // size)):
        extended: dict[int, tuple[int, tuple[int, ...]]] = {}
        for start, (tokens, ends) in best.items():
            for end in range(start + 1, min(n, start + 3 * size) + 1):
                part = lengths[start] * (end - start)
                if part > limit:
                    break
                if end not in extended or tokens + part < extended[end][0]:
                    extended[end] = tokens + part, (*ends, end)
        best = extended
    return list(best[n][1])
