"""Alarms of a run: reward terms without signal, and rewards that rise while validation accuracy
does not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, NoReturn

from rl.config import Config
from rl.metrics import Row

if TYPE_CHECKING:
    from tqdm import tqdm

WINDOW = 10  # steps whose mean rewards are compared


class Alarms:
    """Warnings about a run; `raised` holds each once, by the term or metric it is about."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.raised: dict[str, str] = {}

    def check(
        self, rows: Sequence[Row], first_accuracy: float | None, bar: tqdm[NoReturn] | None = None
    ) -> None:
        """Check the metrics up to the last step; `first_accuracy` is the validation accuracy before
        training. New alarms are written above `bar`."""
        for subject, text in (
            *self._constant_terms(rows),
            *self._reward_only(rows, first_accuracy),
        ):
            if subject not in self.raised:
                self.raised[subject] = f"step {rows[-1]['step']}: {text}"
                if bar is not None:
                    bar.write(f"warning: {text}")

    def _constant_terms(self, rows: Sequence[Row]) -> list[tuple[str, str]]:
        n, found = self.config.constant_reward_steps, list[tuple[str, str]]()
        recent = rows[-n:]
        for term in self.config.reward.terms if len(recent) == n else ():
            names = (f"reward_{term.name}_min", f"reward_{term.name}_max")
            values = {row[name] for row in recent for name in names}
            if len(values) == 1:
                value = f"{values.pop():g} for all answers of {n} steps"
                text = f"the reward term '{term.name}' has been {value}: it gives no signal"
                found.append((term.name, text))
        return found

    def _reward_only(
        self, rows: Sequence[Row], first_accuracy: float | None
    ) -> list[tuple[str, str]]:
        accuracy = rows[-1].get("val_accuracy")
        if len(rows) < 2 * WINDOW or accuracy is None or first_accuracy is None:
            return []
        first, last = (
            [row["reward"] or 0.0 for row in part] for part in (rows[:WINDOW], rows[-WINDOW:])
        )
        if not risen(first, last) or accuracy > first_accuracy:
            return []
        text = (
            f"the reward has risen from {fmean(first):.3f} to {fmean(last):.3f}, validation "
            f"accuracy has not (from {first_accuracy:.1%} to {accuracy:.1%}): see in "
            "completions.jsonl what is rewarded"
        )
        return [("val_accuracy", text)]


def risen(first: Sequence[float], last: Sequence[float]) -> bool:
    """Whether the second mean exceeds the first by more than two standard errors of their
    difference."""
    variances = [
        sum((value - fmean(part)) ** 2 for value in part) / (len(part) - 1) / len(part)
        for part in (first, last)
    ]
    return fmean(last) - fmean(first) > 2 * math.sqrt(sum(variances))
