"""Exceptions that a command reports in one line."""

from difflib import get_close_matches
from pathlib import Path


class BadInput(ValueError):
    """Input that the user can correct: exit code 2."""


def near(path: Path) -> str:
    """A hint about a path that does not exist: the name beside it that is spelt much like it."""
    beside = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
    close = get_close_matches(path.name, beside, n=1, cutoff=0.8)
    return f"; did you mean {path.with_name(close[0])}?" if close else ""


class Failure(Exception):
    """A lasting fault outside this process, such as an unreachable server: exit code 1."""
