"""Whether a run fits into the memory that is there, and what would make it fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ratiocine.errors import BadInput
from ratiocine.memory import estimates
from ratiocine.memory.activations import Largest
from ratiocine.memory.estimates import Need, Sampling, Spread
from ratiocine.training import Compute, TrainingConfig

CARDS = (2, 4, 8, 16, 32, 64)
ALONE, NONE = Spread(), Sampling()


def check(
    config: TrainingConfig,
    chosen: Compute,
    largest: Sequence[Largest],
    shorter: str,
    spread: Spread = ALONE,
    sampling: Sampling = NONE,
) -> Need:
    """What the run needs. Raises BadInput, with what to do, where there is not that much; `shorter` is the key that makes rows
    shorter. On an accelerator the dry pass over the longest micro-batch decides about activations; a CPU that runs out would
    end the process without a word."""
    need, free = (
        estimates.needed(config, chosen, largest, spread, sampling),
        estimates.there(chosen.device),
    )
    certain = need.total if chosen.device.type == "cpu" else need.state
    if free is None or certain <= free:
        return need
    tried = Tried(config, largest, spread, chosen, sampling, shorter)
    raise BadInput(
        f"model={config.model.name} will not fit: it needs {need}, and {free / 2**30:.3g} GB are free; "
        f"try {advice(tried, free)}"
    )


@dataclass(frozen=True)
class Tried:
    """A run as it was asked for, or with something changed."""

    config: TrainingConfig
    largest: Sequence[Largest]
    spread: Spread
    chosen: Compute
    sampling: Sampling
    shorter: str

    @property
    def total(self) -> int:
        return estimates.needed(
            self.config, self.chosen, self.largest, self.spread, self.sampling
        ).total

    def having(self, **keys: Any) -> Tried:
        return replace(self, config=self.config.model_copy(update=keys))

    def of_length(self, most: int) -> Tried:
        cut = [
            replace(
                one, length=min(one.length, most), supervised=min(one.supervised, one.rows * most)
            )
            for one in self.largest
        ]
        return replace(self, largest=cut)


def advice(tried: Tried, free: int) -> str:
    """What would make a run fit that does not: each of the changes that does so alone, else the first of them that do together;
    shorter rows; else a smaller model."""
    found = [word for word, other in changes(tried, free) if other.total <= free]
    if not found:
        words, now = list[str](), tried
        while (
            step := next(
                ((w, other) for w, other in changes(now, free) if other.total < now.total), None
            )
        ) is not None:
            words, now = [*words, step[0]], step[1]
            if now.total <= free:
                found = [" with ".join(words)]
                break
    most = max(one.length for one in tried.largest)
    fitting = next(
        (n for n in range(most - 1, 1, -max(1, most // 64)) if tried.of_length(n).total <= free), 0
    )
    found += [f"rows of at most {fitting} tokens ({tried.shorter})"] if fitting else []
    return ", or ".join(found) or "a smaller model"


def changes(tried: Tried, free: int) -> Iterator[tuple[str, Tried]]:
    """What could be done about a run that does not fit into `free` bytes, the least harmful first."""
    config, largest, spread = tried.config, tried.largest, tried.spread
    if not config.gradient_checkpointing:
        yield "gradient_checkpointing=true", tried.having(gradient_checkpointing=True)
    if (rows := config.micro_batch_size) > 1:
        free_of = tried.chosen.padding_free  # then it is one row of several documents
        less = [
            replace(
                one,
                rows=1,
                length=-(-one.length // rows) if free_of else one.length,
                supervised=-(-one.supervised // (rows if free_of else one.rows)),
            )
            for one in largest
        ]
        yield "micro_batch_size=1", replace(tried.having(micro_batch_size=1), largest=less)
    if tried.chosen.device.type != "cpu":
        for cards in [spread.cards] if spread.cards > 1 else CARDS:
            over = replace(tried, spread=Spread("zero3", cards))
            if (
                spread.cuts < 3
                and not config.load_in_4bit
                and (over.total <= free or cards in (spread.cards, CARDS[-1]))
            ):
                yield f"deepspeed=zero3 over {cards} cards", over
                break
    if not config.lora:
        yield "lora=true", tried.having(lora=True)
    elif not config.load_in_4bit and tried.chosen.device.type == "cuda" and spread.cuts < 3:
        yield "load_in_4bit=true", tried.having(load_in_4bit=True)
