"""What a run writes after each step: a row of metrics, its completions, and alarms."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ratiocine import cost
from ratiocine.errors import Failure
from ratiocine.executors import distributed
from ratiocine.progress import count_earlier
from ratiocine.runs import Tracker
from ratiocine.training import peak_memory, truncate_log
from rl.alarms import Alarms
from rl.config import Config
from rl.metrics import Row, completion_rows, step_flops, step_metrics
from rl.policy_trainer import PolicyTrainer
from rl.rollouts import Step
from rl.val_accuracy import ValidationAccuracy

if TYPE_CHECKING:
    from tqdm import tqdm

METRICS, COMPLETIONS = "metrics.jsonl", "completions.jsonl"


class TrainingLog(TrainerCallback):
    """A row of `metrics.jsonl` after every step, in the tracker too, and the completions trained on
    in `completions.jsonl`.

    A resumed run keeps the rows of the first `done` steps from the files in `previous`. `rollouts`
    are those of the current step."""

    def __init__(
        self,
        config: Config,
        folder: Path,
        previous: Path,
        bar: tqdm[NoReturn],
        tracker: Tracker,
        validation: ValidationAccuracy,
        shape: cost.Shape,
        done: int,
    ) -> None:
        self.config, self.bar, self.tracker = config, bar, tracker
        self.validation, self.shape, self.folder = validation, shape, folder
        self.rows: list[Row] = truncate_log(folder / METRICS, previous, done)
        truncate_log(folder / COMPLETIONS, previous, done, keep=False)
        last: Row = {"seconds": 0.0, "tokens": 0, "flops": 0, "flops_paper": 0}
        if done:
            last = self.rows[-1]
        self.seconds_before: float = last["seconds"]
        self.tokens: int = last["tokens"]
        self.flops, self.flops_paper = last["flops"], last["flops_paper"]
        self.alarms = Alarms(config)
        for step in range(1, done + 1):
            self.alarms.check(self.rows[:step], validation.first)
        self.trainer: PolicyTrainer | None = None
        self.rollouts: Step | None = None
        count_earlier(bar, done)

    def on_train_begin(self, *args: object, **kwargs: object) -> None:
        self.started = self.last = time.perf_counter()

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        assert self.trainer is not None
        self.rate = kwargs["lr_scheduler"].get_last_lr()[0]
        loss, norm = self.trainer.sums.totals.get("loss", 0.0), self.trainer.norm
        if not math.isfinite(loss + norm):
            step = state.global_step // self.config.optimizer_steps + 1
            raise Failure(
                f"the loss of step {step} is {loss}, with a gradient norm of {norm}; earlier "
                "checkpoints are kept"
            )

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        step, update = divmod(state.global_step, self.config.optimizer_steps)
        if update:
            return
        trainer, rollouts = self.trainer, self.rollouts
        assert trainer is not None
        assert rollouts is not None
        row = self._row(step, trainer, rollouts)
        self._write_completions(step, rollouts)
        if self.validation.due(step):
            row |= self.validation.measure(trainer.model, step)
        self.last = time.perf_counter()
        self.rows.append(row)
        with open(self.folder / METRICS, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self.tracker.log(step, row)
        self.alarms.check(self.rows, self.validation.first, self.bar)
        self.bar.set_postfix_str(
            f"reward {row['reward'] or 0:.3f}, accuracy {row['accuracy']:.0%}", refresh=False
        )
        self.bar.update()

    def _row(self, step: int, trainer: PolicyTrainer, rollouts: Step) -> Row:
        sums, worst = trainer.sums.over_ranks()
        now = time.perf_counter()
        elapsed = now - self.last
        self.tokens += sum(r.length for group in rollouts.sampled for r in group.rollouts)
        exact, paper = step_flops(rollouts, self.config, self.shape)
        self.flops, self.flops_paper = self.flops + exact, self.flops_paper + paper
        tokens, compared = sums.get("tokens"), sums.get("compared")
        loss = sums.get("loss", 0.0) / distributed.world_size() / self.config.optimizer_steps
        row = {
            "step": step,
            **step_metrics(rollouts, self.config),
            "loss": loss,
            "lr": self.rate,
            "grad_norm": trainer.norm,
            "entropy": sums["entropy"] / tokens if tokens else None,
            "clip_ratio": sums["clipped"] / tokens if tokens and "clipped" in sums else None,
            "kl": sums["kl"] / tokens if tokens and "kl" in sums else None,
            "sampling_logp_difference": sums["difference"] / compared if compared else None,
            "sampling_logp_difference_max": worst if compared else None,
            "tokens": self.tokens,
            "flops": self.flops,
            "flops_paper": self.flops_paper,
            "seconds": round(self.seconds_before + now - self.started, 2),
            "rollout_seconds": round(rollouts.seconds - rollouts.reward_seconds, 2),
            "reward_seconds": round(rollouts.reward_seconds, 3),
            "update_seconds": round(elapsed - rollouts.seconds, 2),
            "memory_gb": round(peak_memory() / 2**30, 3),
        }
        trainer.reset_sums()
        return row

    def _write_completions(self, step: int, rollouts: Step) -> None:
        rows = [row for group in rollouts.groups for row in completion_rows(step, group)]
        with open(self.folder / COMPLETIONS, "a", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        if self.config.tables:
            shown = rows[: self.config.tables * self.config.num_generations]
            self.tracker.table(step, "completions", shown)
