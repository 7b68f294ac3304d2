"""What is known of a student: how it was trained, and from what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class StudentInfo:
    """A student as its run tells of it; None is what is not known, or does not apply."""

    hash: str | None = None
    """Of the run that trained it."""
    arm: str | None = None
    """Hash of everything but the seed: equal for the seeds of one arm."""
    settings: str | None = None
    """Hash of the settings that are neither axes nor facts of their own."""
    base: str | None = None
    """The model that its line of training began with."""
    size: int | None = None
    """Number of weights."""
    ratio: float | None = None
    share: float | None = None
    """Share of problems taught with their trace; the ratio where there is one."""
    scenario: str | None = None
    seed: int | None = None
    equalize: str | None = None
    lr_policy: str | None = None
    data: str | None = None
    lora: bool | None = None
    lr: float | None = None
    """Peak learning rate."""
    steps: int | None = None
    """Optimizer steps."""
    tokens: int | None = None
    train_flops: float | None = None
    """By the published form (`ratiocine.cost`)."""
    train_flops_exact: float | None = None
    seconds: float | None = None
    final_loss: float | None = None
    parent: StudentInfo | None = None
    """The student that rewards began with."""
    reward: str | None = None
    objective: str | None = None
    control: bool = False
    """Whether its rewards were shuffled."""
    changed: tuple[str, ...] = ()
    """Which of reward and objective differ from the files of their names."""
    group: tuple[Mapping[str, Any], ...] = ()
    """One group of rollouts to show."""
    val_accuracy: tuple[Mapping[str, Any], ...] = ()
    curves: tuple[Mapping[str, Any], ...] = ()
    alarms: tuple[str, ...] = ()

    @property
    def rewarded(self) -> bool:
        """Whether it was trained with rewards."""
        return self.reward is not None

    def ancestors(self) -> Iterator[StudentInfo]:
        """This student, the one that its rewards began with, and so on."""
        student: StudentInfo | None = self
        while student is not None:
            yield student
            student = student.parent

    @staticmethod
    def from_json(value: Mapping[str, Any] | None) -> StudentInfo | None:
        """As a manifest holds it; the one place that reads its keys."""
        if value is None:
            return None
        names = {one.name for one in fields(StudentInfo)}
        found = {name: inner for name, inner in value.items() if name in names}
        for name in ("changed", "group", "val_accuracy", "curves", "alarms"):
            if name in found:
                found[name] = tuple(found[name] or ())
        if "parent" in found:
            found["parent"] = StudentInfo.from_json(found["parent"])
        return StudentInfo(**found)
