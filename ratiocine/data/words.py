"""Words of the embedded families."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NAMES = _words(
    """
    Ann Ben Carl Dora Emma Fred Gina Hugo Ida Jack Kate Liam Mona Noah Olga Paul Rosa Sam Tina Umar
    Vera Will
    """
)
NOUNS = _words(
    """
    apple basket candle dragon engine forest garden hammer island jacket kettle ladder magnet needle
    orange pencil rabbit saddle tunnel violin window banana butter carrot cotton desert dinner
    family finger flower guitar harbor helmet insect jungle kitten lesson marble mirror monkey
    nature onion parrot pepper planet pocket potato puzzle ribbon rocket salmon school shadow silver
    singer spider spring square statue summer sunset supper tablet tennis ticket tomato turtle
    velvet village wallet weather winter zebra beach bread chair cloud clock coffee cousin donkey
    eagle fruit glass grape honey house juice lemon melon mouse music ocean paper piano plant queen
    river robot shirt snake stone table tiger train truck uncle water whale letter bottle ballet
    street sheep tree moon book door wall bell ball hill road sugar salt drum team farm lamp ship
    soup map cup fox box taxi
    """
)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
GROUPS = _words(
    """
    actors bakers bankers cats dancers dogs doctors drivers farmers fish gardeners judges lawyers
    lions mortals nurses painters pilots poets sailors singers teachers tigers writers
    """
)
COLORS = ("red", "blue", "green", "yellow", "black", "white")
TRIES = 20_000


def attempts() -> Iterator[int]:
    """Numbers of attempts to draw a problem; raises ValueError where all of them fail."""
    yield from range(TRIES)
    raise ValueError("no problem found")


def sample(rng: random.Random, items: Sequence[T], n: int) -> list[T]:
    """`n` different items. Raises ValueError where there are fewer."""
    if n > len(items):
        raise ValueError(f"{n} is more than {len(items)}")
    return rng.sample(items, n)


def listed(items: list[str]) -> str:
    """`A`, `A and B`, `A, B and C`."""
    return " and ".join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else items[0]
