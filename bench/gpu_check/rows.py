"""What a check finds: its status, its numbers and what was expected of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Status = Literal["pass", "fail", "skipped", "not run"]
Value = str | float | bool | None
Measured = dict[str, Value]


@dataclass(frozen=True)
class Row:
    """One check of a result."""

    name: str
    about: str
    status: Status
    reason: str
    """Why it failed, was skipped or was not run; empty for a pass."""
    seconds: float
    measured: Mapping[str, Value]
    expected: str
    commands: tuple[str, ...] = ()
    """Processes that the check started."""
    log: str = ""
    """Last lines of the process that failed."""


class Skipped(Exception):
    """A check that this machine or environment cannot run; the message says why."""


class _Ended(Exception):
    """The end of a check; `log` is the end of the output of its process."""

    def __init__(self, reason: str, log: str = "") -> None:
        super().__init__(reason)
        self.log = log


class OutOfTime(_Ended):
    """The time of a check, or of the whole run, is over."""


class Failed(_Ended):
    """A check that failed."""


@dataclass
class Found:
    """Numbers of the check in progress; they are kept where it fails later."""

    measured: Measured = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)


def expect(condition: bool, otherwise: str) -> None:
    """Raise Failed, with this reason, unless the condition holds."""
    if not condition:
        raise Failed(otherwise)


@dataclass(frozen=True)
class Check:
    """A named check. `run` raises Failed, Skipped or OutOfTime; a return is a pass."""

    name: str
    about: str
    expected: str
    seconds: float
    """Time limit."""
    run: Callable[..., None]
    packages: tuple[str, ...] = ()
    """Modules without which it is skipped."""
    only_reads: bool = False
    """Whether it starts no process, and so needs no time: it reads what earlier checks made."""
