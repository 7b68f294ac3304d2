"""What a student's run states about it, as an evaluation of the student repeats it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

from ratiocine.records import JsonObject


@dataclass(frozen=True)
class PairSource:
    """A set of pairs that a student was taught; None stands for unknown or not applicable."""

    teacher: str
    """The model that wrote the answers, else the name of the program or data set (conf/teacher)."""
    is_model: bool
    n: int | None = None
    """Pairs."""
    teacher_license: str | None = None
    license: str | None = None
    """Of the problems."""
    tokens: int | None = None
    """Of the teacher's prompts and answers, rejected ones included."""
    money: float | None = None
    """What they cost, in the currency of the configured prices."""


@dataclass(frozen=True)
class StudentInfo:
    """A student as its run describes it; None stands for unknown or not applicable."""

    hash: str | None = None
    """Of the run that trained it."""
    arm: str | None = None
    """Hash of everything but the seed: equal for the seeds of one arm."""
    settings: str | None = None
    """Hash of the settings that are neither in `lineage.AXES` nor in `lineage.FACTS`."""
    base: str | None = None
    """Its starting model (not fine-tuned by this tool)."""
    base_path: str | None = None
    """Folder or hub id of its starting model."""
    base_hash: str | None = None
    """Content hash of its starting model."""
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
    """By the FLOPs formula of arXiv 2509.22193 (`ratiocine.cost`)."""
    train_flops_exact: float | None = None
    seconds: float | None = None
    final_loss: float | None = None
    problems: int | None = None
    """Distinct problems of the training set."""
    sources: tuple[PairSource, ...] = ()
    license: str | None = None
    """Of the starting model."""
    pruned: str | None = None
    """Of a pruned starting model: from which, and to how many layers."""
    machine: str | None = None
    revision: str | None = None
    """Commit of the code that trained it."""
    parent: StudentInfo | None = None
    """The student at the start of reinforcement learning."""
    reward: str | None = None
    objective: str | None = None
    control: bool = False
    """Whether its rewards were shuffled."""
    changed: tuple[str, ...] = ()
    """Which of reward and objective differ from the files of their names."""
    group: tuple[JsonObject, ...] = ()
    """One group of rollouts, for display."""
    val_accuracy: tuple[JsonObject, ...] = ()
    """Accuracy on the validation problems, by step."""
    curves: tuple[JsonObject, ...] = ()
    """Training metrics, by step."""
    alarms: tuple[str, ...] = ()

    @property
    def rewarded(self) -> bool:
        """Whether it was trained with rewards."""
        return self.reward is not None

    def ancestors(self) -> Iterator[StudentInfo]:
        """This student, its parent, and so on."""
        student: StudentInfo | None = self
        while student is not None:
            yield student
            student = student.parent

    def renamed(self, base: str) -> StudentInfo:
        """With this name of its starting model."""
        return replace(self, base=base, parent=self.parent and self.parent.renamed(base))

    @staticmethod
    def from_json(value: JsonObject | None) -> StudentInfo | None:
        """From a manifest; the one place that reads its keys."""
        if value is None:
            return None
        values = dict(value)
        for name in ("changed", "group", "val_accuracy", "curves", "alarms"):
            values[name] = tuple(values.get(name) or ())
        parent = StudentInfo.from_json(values.get("parent"))
        sources = tuple(record(PairSource, one) for one in values.get("sources") or ())
        return record(StudentInfo, {**values, "parent": parent, "sources": sources})


def record(kind: type[Any], values: JsonObject) -> Any:
    """A record from the values with its fields' names."""
    names = {one.name for one in fields(kind)}
    return kind(**{name: value for name, value in values.items() if name in names})
