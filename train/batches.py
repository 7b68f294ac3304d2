"""Global batches → token rows → padded micro-batches. Every row goes through here, in training and in the doctor's check."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from ratiocine.errors import BadInput
from ratiocine.records import Mode, Pair
from ratiocine.rendering import Rendering
from train.dataset import Pool
from train.scenario import Example

if TYPE_CHECKING:
    import torch

IGNORED = -100  # the label that cross-entropy skips
Weighted = tuple[
    str, Mode, float
]  # an example, and what each of its supervised tokens counts for in the loss of its step


@dataclass(frozen=True)
class Row:
    """One problem in one format: token ids of the prompt, and of the completion with its end of turn."""

    id: str
    mode: Mode
    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    weight: float = 1.0

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)


def row_of(rendering: Rendering, pair: Pair, mode: Mode, weight: float = 1.0) -> Row:
    """One side of a pair."""
    prompt, completion = (
        rendering.prompt(pair.prompt, mode),
        rendering.completion(pair.side(mode), mode),
    )
    return Row(pair.id, mode, tuple(prompt), tuple(completion), weight)


@dataclass(frozen=True)
class Rows:
    """The data set that a data loader asks for weighted examples; texts are read and tokenized when they are wanted."""

    pool: Pool
    rendering: Rendering

    def __len__(self) -> int:
        return len(self.pool.index)

    def __getitem__(self, wanted: Weighted) -> Row:
        name, mode, weight = wanted
        row = row_of(self.rendering, self.pool.pair(name), mode, weight)
        if len(row) != self.pool.length(name, mode):
            raise BadInput(
                f"pairs={self.pool.folder(name)}: pair '{name}' has {len(row)} tokens as {mode}, and is stored as of "
                f"{self.pool.length(name, mode)}: the stored lengths are another tokenizer's"
            )
        return row


@dataclass(frozen=True)
class MicroBatches:
    """A batch sampler: for every global batch its micro-batches, as weighted examples.

    Inside a global batch examples of like length go together, longest first, cut where the fewest tokens are padding. Every
    global batch gives the same number of micro-batches; a smaller one is filled up with examples that weigh nothing. Of several
    ranks each has every so-manieth micro-batch. A token's
    weight is 1/(supervised tokens of the global batch), or for `example` 1/(examples · tokens of its own), so that the losses
    of micro-batches add up to the loss of the step, however it is cut.
    """

    batches: Sequence[Sequence[Example]]
    pool: Pool
    batch_size: int
    micro_batch_size: int
    weight: Literal["token", "example"] = "token"
    padded: bool = True
    rank: int = 0
    world: int = 1
    steep: float = 0.0  # a row of n tokens needs memory as n · (1 + steep · n) does

    @property
    def per_batch(self) -> int:
        """Micro-batches of a global batch that a rank has."""
        return -(-self.batch_size // (self.micro_batch_size * self.world))

    def __len__(self) -> int:
        return len(self.batches) * self.per_batch

    def __iter__(self) -> Iterator[list[Weighted]]:
        for batch in self.batches:
            yield from self.cut(batch)[self.rank :: self.world]

    def cut(self, batch: Sequence[Example]) -> list[list[Weighted]]:
        rows = sorted(batch, key=lambda example: (-self.pool.length(*example), example))
        total = sum(self.pool.supervised(*example) for example in rows)
        weighted: list[Weighted] = [
            (
                *example,
                1 / total
                if self.weight == "token"
                else 1 / (len(rows) * self.pool.supervised(*example)),
            )
            for example in rows
        ]
        ends = least_padding(
            [self.pool.length(*example) for example in rows], self.micro_batch_size
        )
        parts = [weighted[start:end] for start, end in pairwise([0, *ends])]
        nothing: Weighted = (*rows[-1], 0.0)
        return parts + [[nothing]] * (self.per_batch * self.world - len(parts))

    def longest(self, *, later: bool = False) -> list[Weighted]:
        """The micro-batch that needs most memory, with its padding where there is any; of those only that are not the first of
        their step, if there are such."""
        skipped = self.world if later else 0

        def needs(tokens: int, length: int) -> float:
            return tokens * (1 + self.steep * (length if self.padded else tokens))

        def of(part: Sequence[Weighted]) -> float:
            lengths = [self.pool.length(name, mode) for name, mode, _ in part]
            return needs(len(part) * lengths[0] if self.padded else sum(lengths), lengths[0])

        def at_most(batch: Sequence[Example]) -> float:
            lengths = sorted((self.pool.length(*example) for example in batch), reverse=True)
            return needs(largest(lengths, self.micro_batch_size), lengths[0])

        found: list[Weighted] = []
        bounds = [at_most(batch) for batch in self.batches]
        for number in sorted(range(len(bounds)), key=lambda number: -bounds[number]):
            if found and bounds[number] <= of(found):
                break  # no later batch has a larger part
            found = max(
                [*self.cut(self.batches[number])[skipped:], *([found] if found else [])],
                key=of,
                default=found,
            )
        return found


def largest(lengths: Sequence[int], size: int) -> int:
    """Tokens of the largest of equal parts of rows, longest first, with its padding."""
    return max(
        lengths[start] * min(size, len(lengths) - start) for start in range(0, len(lengths), size)
    )


def least_padding(lengths: Sequence[int], size: int) -> list[int]:
    """Where to cut rows, longest first, into ceil(n / size) parts, so that the fewest tokens are padding. No part has more
    tokens with its padding than the largest of equal parts would have, so memory is no more. Returns the parts' ends."""
    n = len(lengths)
    most = largest(lengths, size)
    found: dict[int, tuple[int, tuple[int, ...]]] = {
        0: (0, ())
    }  # of the first rows cut into so many parts: padded tokens, ends
    for _ in range(-(-n // size)):
        longer: dict[int, tuple[int, tuple[int, ...]]] = {}
        for start, (tokens, ends) in found.items():
            for end in range(start + 1, min(n, start + 3 * size) + 1):
                part = lengths[start] * (end - start)
                if part > most:
                    break
                if end not in longer or tokens + part < longer[end][0]:
                    longer[end] = tokens + part, (*ends, end)
        found = longer
    return list(found[n][1])


def collate(rows: Sequence[Row]) -> dict[str, torch.Tensor]:
    """`input_ids`, `attention_mask`, `labels`, each (rows, longest row), padded on the right. Labels are the completion,
    end of turn included; padding is told by length, never by token, because many models pad with their end token."""
    import torch

    width = max(len(row) for row in rows)
    ids = torch.zeros((len(rows), width), dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row.prompt + row.completion)
        mask[i, : len(row)] = 1
        labels[i, len(row.prompt) : len(row)] = torch.tensor(row.completion)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def collate_packed(rows: Sequence[Row]) -> dict[str, torch.Tensor]:
    """The same tokens without padding, in one row: `input_ids`, `position_ids`, `labels`, each (1, all tokens). Positions start
    again with every row; from that transformers tells which tokens may see each other. The first token of a row is never a
    label, so none is foretold by another row."""
    import torch

    assert all(row.prompt for row in rows)
    labels = [label for row in rows for label in (IGNORED,) * len(row.prompt) + row.completion]
    columns = {
        "input_ids": [token for row in rows for token in row.prompt + row.completion],
        "position_ids": [position for row in rows for position in range(len(row))],
        "labels": labels,
    }
    return {name: torch.tensor([column]) for name, column in columns.items()}


def collate_weighted(rows: Sequence[Row], *, padded: bool = True) -> dict[str, torch.Tensor]:
    """Either with what the loss is made of: `row` (as `input_ids`), the number of the row that a token is of, and one a row
    `weights`, what each of its labels counts for, `lengths`, and `reasoning`, whether it has its trace."""
    import torch

    lengths = torch.tensor([len(row) for row in rows])
    batch = collate(rows) if padded else collate_packed(rows)
    number = torch.arange(len(rows))
    return {
        **batch,
        "row": number[:, None].expand(batch["input_ids"].shape)
        if padded
        else number.repeat_interleave(lengths)[None],
        "weights": torch.tensor([row.weight for row in rows]),
        "lengths": lengths,
        "reasoning": torch.tensor([row.mode == "reasoning" for row in rows]),
    }
