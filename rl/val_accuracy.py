"""Problems that are held out of the rewards: whether the policy gets better at what it is not paid for. Never a benchmark."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ratiocine import stats
from ratiocine.engines import Request
from ratiocine.evaluate import key, scored
from ratiocine.executors import distributed
from ratiocine.prompts import user_text
from ratiocine.records import Problem, ScoredCompletion
from ratiocine.rewards import Rollout
from ratiocine.scores import shares
from rl.config import Config

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ratiocine.rewards import Format
    from rl.policy import Policy

FILE = "val_accuracy.jsonl"


class HeldOut:
    """`take` answers them greedily and appends what came of it to `val_accuracy.jsonl` in `folder`; of a run that goes on what it
    had taken by step `done`, and written in `before`, is kept."""

    def __init__(
        self,
        config: Config,
        problems: Sequence[Problem],
        policy: Policy,
        tokenizer: PreTrainedTokenizerBase,
        thinking: bool | None,
        form: Format,
        folder: Path,
        before: Path,
        done: int | None,
    ) -> None:
        self.config, self.policy, self.tokenizer, self.form, self.path = (
            config,
            policy,
            tokenizer,
            form,
            folder / FILE,
        )
        self.problems = {key(problem): problem for problem in problems}
        self.requests = [
            Request(
                name,
                ({"role": "user", "content": user_text(problem)},),
                config.tokens,
                thinking=thinking,
            )
            for name, problem in self.problems.items()
        ]
        there = before / FILE
        lines = (
            there.read_text(encoding="utf-8").splitlines()
            if there.exists() and done is not None
            else []
        )
        self.rows: list[dict[str, Any]] = [
            row for line in lines if (row := json.loads(line))["step"] <= (done or 0)
        ]
        self._write()

    def due(self, step: int) -> bool:
        return bool(self.requests) and (
            step % self.config.eval_steps == 0 or step == self.config.max_steps
        )

    @property
    def first(self) -> float | None:
        """Accuracy before the first step."""
        return self.rows[0]["accuracy"] if self.rows else None

    def take(self, model: Any, step: int) -> dict[str, Any]:
        """Answer with these weights; returns what goes into the log."""
        self.policy.refresh(model)
        rows = distributed.scatter_map(self.requests, self._answered)
        rights = shares(rows)
        low, high = stats.interval(list(rights.values()))
        formed = [self.form.one(_rollout(self.problems[row.key], row)) for row in rows]
        self.rows.append(
            {
                "step": step,
                "n": len(rights),
                "accuracy": fmean(rights.values()),
                "ci95": [low, high],
                "format": fmean(formed),
                "truncated": fmean(row.stop == "length" for row in rows),
                "length": fmean(row.n_completion for row in rows),
                "right": sorted(name for name, value in rights.items() if value == 1),
                "graded": sorted(rights),
            }
        )
        self._write()
        last = self.rows[-1]
        return {
            "val_accuracy": last["accuracy"],
            "val_format": last["format"],
            "val_length": last["length"],
        }

    def _answered(self, requests: Sequence[Request]) -> list[ScoredCompletion]:
        asked = scored(self.policy, requests, self.problems, self.tokenizer) if requests else ()
        found = {row.key: row for rows in asked for row in rows}
        return [found[request.id] for request in requests]

    def change(self) -> dict[str, Any] | None:
        """Accuracy at the end less that before the first step, over the same problems, with its 95 % interval."""
        if len(self.rows) < 2:
            return None
        names = sorted(set(self.rows[0]["graded"]) & set(self.rows[-1]["graded"]))
        before, after = (
            [float(name in set(row["right"])) for name in names]
            for row in (self.rows[0], self.rows[-1])
        )
        difference, low, high, p = stats.compare(before, after)
        return {
            "before": fmean(before),
            "after": fmean(after),
            "n": len(names),
            "difference": difference,
            "ci95": [low, high],
            "p": p,
        }

    def _write(self) -> None:
        text = "".join(json.dumps(row) + "\n" for row in self.rows)
        temporary = self.path.with_name(f".{self.path.name}.partial")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(self.path)


def _rollout(problem: Problem, row: ScoredCompletion) -> Rollout:
    return Rollout(
        problem,
        row.completion,
        row.n_completion,
        finished=row.stop == "stop",
        opened=row.opened,
    )
