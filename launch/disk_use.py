"""Bytes on disk of a study's stages, and the settings that would lower their peak."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

# Where a study's file has the settings of a verb.
SETTINGS = {"train": "study.grid.train", "rl": "study.grid.rl.overrides"}


@dataclass(frozen=True)
class Checkpoints:
    """Checkpoints of a training, which deletes them at its end. One more after an interruption is
    not counted."""

    size: float = 0.0
    """Bytes of one: weights and optimizer states."""
    save_total_limit: int = 1
    save_steps: int = 1
    steps: int | None = None
    """Of the training; None if unknown."""
    best: int = 0
    """1 where the best checkpoint is kept as well."""

    @property
    def n(self) -> int:
        """The most at once: a new one is complete before the oldest is deleted."""
        most = self.save_total_limit + 1 + self.best
        if self.steps is None:
            return most
        return min(most, max(0, self.steps - 1) // self.save_steps)  # none at the last step

    @property
    def peak(self) -> float:
        """Bytes."""
        return self.n * self.size


@dataclass(frozen=True)
class StageDisk:
    """Bytes of one stage on disk."""

    stays: float = 0.0
    """Pairs, completions."""
    weights: float = 0.0
    """Of the student: what `retain=scores` removes."""
    checkpoints: Checkpoints = Checkpoints()
    verb: str = ""

    def kept(self, retain: str) -> float:
        """Bytes that stay until the study ends."""
        return self.stays + (0 if retain == "scores" else self.weights)


@dataclass(frozen=True)
class DiskUse:
    """Peak bytes of the stages on disk, under settings that change it."""

    stages: Sequence[StageDisk]
    retain: str
    parallel: int
    """Jobs at once."""

    @property
    def kept(self) -> float:
        """What stays: pairs, completions, and weights unless `retain=scores` removes them."""
        return sum(stage.kept(self.retain) for stage in self.stages)

    @property
    def passing(self) -> float:
        """Weights until their evaluation, of the stages that run at once."""
        if self.retain != "scores":
            return 0.0
        # A student of `rl` and the student it starts from exist at the same time.
        each = 2 if any(stage.verb == "rl" for stage in self.stages) else 1
        return self._largest([stage.weights for stage in self.stages], self.parallel * each)

    @property
    def checkpoints(self) -> float:
        """Of the trainings that run at once."""
        return self._largest([stage.checkpoints.peak for stage in self.stages], self.parallel)

    @property
    def trainings(self) -> int:
        """Trainings at once."""
        return min(self.parallel, sum(stage.weights > 0 for stage in self.stages))

    @property
    def total(self) -> float:
        return self.kept + self.passing + self.checkpoints

    @staticmethod
    def _largest(sizes: Sequence[float], n: int) -> float:
        return sum(sorted(sizes, reverse=True)[:n])

    def line(self) -> str:
        """The total with its parts, and the setting that lowers it."""
        jobs = self.trainings
        parts = [f"{gb(self.kept)} that stay (the column)"]
        parts += [f"{gb(self.passing)} of weights until their evaluation"] if self.passing else []
        if self.checkpoints:
            counts = {s.checkpoints.n for s in self.stages if s.checkpoints.peak}
            each = f"at most {max(counts)} checkpoint{'s' * (max(counts) > 1)}"
            of = f"each of {jobs} trainings at once" if jobs > 1 else "a training"
            parts.append(f"{gb(self.checkpoints)} of {each} of {of}")
        temporary = self.passing + self.checkpoints
        tip = ""
        if jobs > 1 and temporary > self.kept:
            tip = f"; lower with executor.max_parallel_jobs={jobs // 2}"
        elif not self.passing and self.kept > 1e9:
            tip = "; lower with retain=scores"
        return f"disk: {gb(self.total)} = {' + '.join(parts)}{tip}"

    def remedy(self, free: float, *, checkpoints: bool) -> str:
        """The settings that lower the peak to so many bytes: each that is enough alone, else as
        many as are needed; those of checkpoints where they may change."""
        of_checkpoints = [one_checkpoint, no_checkpoint] if checkpoints else []
        alone = [
            self.under([option], free) for option in (fewer_jobs, scores_alone, *of_checkpoints)
        ]
        if fitting := [f"{words} ({gb(use.total)})" for words, use in alone if use.total <= free]:
            return f"enough with {' or '.join(fitting)}"
        words, use = "", self
        for option in of_checkpoints or [scores_alone]:
            words, use = self.under([scores_alone, option, fewer_jobs], free)
            if use.total <= free:
                return f"enough with {words} ({gb(use.total)})"
        least = f"{gb(use.total)} with {words}; " if words else ""
        return f"{least}give out= on a larger disk, or fewer values in study.grid"

    def under(self, options: Sequence[Option], free: float) -> tuple[str, DiskUse]:
        """The settings of options that change something, and the use under them."""
        use, given = self, list[str]()
        for option in options:
            if found := option(use, free):
                words, use = found
                given.append(words)
        return " ".join(given), use


# Settings and the use under them; None where they change nothing.
Lower = tuple[str, DiskUse] | None
Option = Callable[[DiskUse, float], Lower]


def fewer_jobs(use: DiskUse, free: float) -> Lower:
    """As many at once as fit, or one."""
    for jobs in range(use.trainings - 1, 0, -1):
        fewer = replace(use, parallel=jobs)
        if fewer.total <= free or jobs == 1:
            return f"executor.max_parallel_jobs={jobs}", fewer
    return None


def scores_alone(use: DiskUse, free: float) -> Lower:
    return None if use.retain == "scores" else ("retain=scores", replace(use, retain="scores"))


def one_checkpoint(use: DiskUse, free: float) -> Lower:
    return _fewer_checkpoints(use, "save_total_limit", 1)


def no_checkpoint(use: DiskUse, free: float) -> Lower:
    """None before the end, where the number of steps is known."""
    steps = [stage.checkpoints.steps for stage in use.stages if stage.checkpoints.size]
    known = [n for n in steps if n is not None]
    return _fewer_checkpoints(use, "save_steps", max(known)) if steps and known == steps else None


def _fewer_checkpoints(use: DiskUse, key: str, value: int) -> Lower:
    stages = [
        replace(stage, checkpoints=replace(stage.checkpoints, **{key: value}))
        for stage in use.stages
    ]
    lower = replace(use, stages=stages)
    verbs = dict.fromkeys(stage.verb for stage in use.stages if stage.checkpoints.size)
    words = " ".join(f"{SETTINGS[verb]}=[{key}={value}]" for verb in verbs)
    return (words, lower) if lower.total < use.total else None


def gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
