"""Validation accuracy: greedy answers to problems held out of training, never a benchmark's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

import torch

from ratiocine import stats
from ratiocine.engines import Request
from ratiocine.evaluate import key, scored
from ratiocine.executors import distributed
from ratiocine.prompts import user_text
from ratiocine.records import Problem, ScoredCompletion, is_truncated
from ratiocine.rewards import Rollout
from ratiocine.runs import write_whole
from ratiocine.scores import shares
from rl.config import Config
from rl.metrics import format_term
from rl.policy import Policy, VLLMPolicy
from rl.preparation import PreparedProblems

FILE = "val_accuracy.jsonl"


@dataclass(frozen=True)
class Validation:
    """A row of `val_accuracy.jsonl`."""

    step: int
    n: int
    accuracy: float
    ci95: tuple[float, float]
    format: float
    """Share of answers in the format of the reward."""
    truncated: float
    """Share of answers without an end of turn."""
    length: float
    """Mean completion tokens."""
    right: list[str]
    """Keys of problems answered correctly."""
    graded: list[str]


@dataclass(frozen=True)
class AccuracyChange:
    """Validation accuracy after training against that before it, over the same problems."""

    before: float
    after: float
    n: int
    difference: float
    ci95: tuple[float, float]
    p: float

    def __str__(self) -> str:
        low, high = self.ci95
        return (
            f"validation accuracy over {self.n} problems: {self.before:.1%} before, "
            f"{self.after:.1%} after, {100 * self.difference:+.1f} points ({100 * low:+.1f} to "
            f"{100 * high:+.1f})"
        )


class ValidationAccuracy:
    """`measure` appends a row to `val_accuracy.jsonl` in `folder`. A resumed run keeps the rows up
    to step `done` of the file in `previous`; `done` is None in a new run."""

    def __init__(
        self,
        config: Config,
        prepared: PreparedProblems,
        policy: Policy | VLLMPolicy,
        folder: Path,
        previous: Path,
        done: int | None,
    ) -> None:
        self.config, self.policy, self.tokenizer = config, policy, prepared.tokenizer
        self.format, self.path = format_term(config), folder / FILE
        self.problems = {key(problem): problem for problem in prepared.validation}
        self.requests = [
            Request(
                name,
                ({"role": "user", "content": user_text(problem)},),
                config.tokens,
                thinking=prepared.thinking,
            )
            for name, problem in self.problems.items()
        ]
        file, lines = previous / FILE, list[str]()
        if done is not None and file.exists():
            lines = file.read_text(encoding="utf-8").splitlines()
        rows = [Validation(**json.loads(line)) for line in lines]
        self.rows = [row for row in rows if row.step <= (done or 0)]
        self._write()

    def due(self, step: int) -> bool:
        last = step == self.config.max_steps
        return bool(self.requests) and (step % self.config.eval_steps == 0 or last)

    @property
    def first(self) -> float | None:
        """Accuracy before the first step."""
        return self.rows[0].accuracy if self.rows else None

    def measure(self, model: torch.nn.Module, step: int) -> dict[str, float]:
        """Answer with the weights of `model`; returns the metrics of the step."""
        self.policy.refresh(model)
        answers = distributed.scatter_map(self.requests, self._answers)
        accuracies = shares(answers)
        low, high = stats.interval(list(accuracies.values()))
        formats = [self.format.one(_rollout(self.problems[one.key], one)) for one in answers]
        row = Validation(
            step=step,
            n=len(accuracies),
            accuracy=fmean(accuracies.values()),
            ci95=(low, high),
            format=fmean(formats),
            truncated=fmean(is_truncated(one.stop) for one in answers),
            length=fmean(one.n_completion for one in answers),
            right=sorted(name for name, value in accuracies.items() if value == 1),
            graded=sorted(accuracies),
        )
        self.rows.append(row)
        self._write()
        return {"val_accuracy": row.accuracy, "val_format": row.format, "val_length": row.length}

    def _answers(self, requests: Sequence[Request]) -> list[ScoredCompletion]:
        batches = scored(self.policy, requests, self.problems, self.tokenizer) if requests else ()
        found = {one.key: one for batch in batches for one in batch}
        return [found[request.id] for request in requests]

    def change(self) -> AccuracyChange | None:
        """Paired comparison of the last row with the first; None where there are not two."""
        if len(self.rows) < 2:
            return None
        first, last = self.rows[0], self.rows[-1]
        names = sorted(set(first.graded) & set(last.graded))
        before, after = ([float(name in set(row.right)) for name in names] for row in (first, last))
        difference, low, high, p = stats.compare(before, after)
        return AccuracyChange(fmean(before), fmean(after), len(names), difference, (low, high), p)

    def _write(self) -> None:
        write_whole(self.path, "".join(json.dumps(asdict(row)) + "\n" for row in self.rows))


def _rollout(problem: Problem, answer: ScoredCompletion) -> Rollout:
    return Rollout(
        problem,
        answer.completion,
        answer.n_completion,
        finished=answer.stop == "stop",
        opened=answer.opened,
    )
