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


@contextmanager
def progress(total: int, description: str, unit: str) -> Iterator[Bar[NoReturn]]:
    """A tqdm bar on standard error; `bar.update(n)` counts `n` units of `total`."""
    from tqdm import tqdm

    terminal = sys.stderr.isatty()
    bar = tqdm(
        total=total,
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


def tracked(items: Iterable[T], total: int, description: str, unit: str) -> Iterator[T]:
    """Iterate with a progress bar."""
    with progress(total, description, unit) as bar:
        for item in items:
            yield item
            bar.update()
