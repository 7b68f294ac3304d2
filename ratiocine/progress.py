"""Progress bars: with rate and remaining time in a terminal, one line a minute elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn, TextIO, TypeVar

from ratiocine.executors import distributed

if TYPE_CHECKING:
    from tqdm import tqdm as Bar

T = TypeVar("T")


class _Lines:
    """A stream with lines in place of tqdm's carriage returns."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> None:
        text = text.strip("\r\n\x1b[A ")
        if text:
            self.stream.write(text + "\n")

    def flush(self) -> None:
        self.stream.flush()


RATED_SECONDS = 0.5  # below, a rate says nothing


def speed(n: float, seconds: float, unit: str) -> str:
    """A rate with three significant digits; empty where there is none yet."""
    if not n or seconds < RATED_SECONDS:
        return ""
    rate = n / seconds
    if rate < 1:
        return f", {1 / rate:.3g} s each"
    return f", {rate:,.0f}{unit}/s" if rate >= 100 else f", {rate:.3g}{unit}/s"


@contextmanager
def progress(
    total: int, description: str, unit: str, *, initial: int = 0
) -> Iterator[Bar[NoReturn]]:
    """A tqdm bar on standard error; `bar.update(n)` counts `n` units of `total`. `initial` units
    are there already, and no part of the rate."""
    from tqdm import tqdm

    class Rated(tqdm):  # type: ignore[type-arg]  # a generic in its stubs alone
        """Shows the mean rate, in as many digits as it has."""

        @property
        def format_dict(self) -> dict[str, object]:
            found = super().format_dict
            done = found["n"] - (found["initial"] or 0)
            return {**found, "speed": speed(done, found["elapsed"], self.unit)}

    terminal = sys.stderr.isatty()
    bar = Rated(
        bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{speed}{postfix}]",
        total=total,
        initial=initial,
        desc=description,
        unit=f" {unit}",
        dynamic_ncols=terminal,
        ncols=None if terminal else 96,
        file=sys.stderr if terminal else _Lines(sys.stderr),
        mininterval=0.2 if terminal else 60,
        maxinterval=60,
        leave=True,
        disable=not distributed.is_first(),
    )
    try:
        yield bar
    finally:
        bar.close()


def count_earlier(bar: Bar[NoReturn], n: float) -> None:
    """Count `n` units that were there before this run, which are no part of the rate."""
    if not bar.disable:
        bar.initial += n
        bar.update(n)


def tracked(items: Iterable[T], total: int, description: str, unit: str) -> Iterator[T]:
    """Iterate with a progress bar."""
    with progress(total, description, unit) as bar:
        for item in items:
            yield item
            bar.update()
