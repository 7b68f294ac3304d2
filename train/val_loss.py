"""Validation loss of problems that are not trained on, and sampled answers to some of them.

They come from the training pairs, never from a benchmark, and are the same at every ratio. The loss
is taken in both modes; `val_loss` is their mean weighted by the run's share of reasoning
examples, and `checkpoint=best` takes its minimum.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import cast

import torch
from transformers import (
    PreTrainedModel,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from ratiocine.prompts import stop_ids
from ratiocine.records import MODES, Mode
from ratiocine.rendering import Rendering
from ratiocine.runs import Tracker
from ratiocine.training import logits, only_at, token_losses, truncate_log
from train.batches import RowDataset
from train.collation import IGNORED, collate
from train.config import Config
from train.ratio_trainer import RatioTrainer
from train.step_log import Row, StepLog


class ValidationLoss(TrainerCallback):
    """Every `save_steps` steps and at the last: losses into the step's row, answers into `path` and
    the tracker.

    `share` is the share of reasoning examples in training. A resumed run keeps the answers up to
    step `done`."""

    def __init__(
        self,
        config: Config,
        ids: Sequence[str],
        dataset: RowDataset,
        share: float,
        step_log: StepLog,
        tracker: Tracker,
        path: Path,
        done: int = 0,
    ) -> None:
        self.config, self.ids, self.dataset, self.share = config, ids, dataset, share
        self.step_log, self.tracker, self.path = step_log, tracker, path
        self.sampled = ids[: config.val_samples]
        self.trainer: RatioTrainer | None = None
        if self.sampled:
            truncate_log(path, path.parent, done, keep=False, every_step=False)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        if not self.ids or not due(state.global_step, self.config.save_steps, state.max_steps):
            return
        assert self.trainer is not None
        model, started = cast(PreTrainedModel, self.trainer.model), time.perf_counter()
        model.eval()
        losses = {mode: self._loss(model, mode) for mode in MODES}
        mean = (1 - self.share) * losses["ift"] + self.share * losses["reasoning"]
        by_format = {f"val_loss_{mode}": loss for mode, loss in losses.items()}
        self.step_log.validation = {"val_loss": mean, **by_format}
        if self.sampled:
            self._sample(model, state.global_step)
        model.train()
        self.step_log.last += time.perf_counter() - started  # excluded from the step's time

    def _loss(self, model: PreTrainedModel, mode: Mode) -> float:
        """Mean cross-entropy over the supervised tokens of all validation problems in one
        format."""
        assert self.trainer is not None
        total, n, size = 0.0, 0, self.trainer.args.per_device_train_batch_size
        names = sorted(self.ids, key=lambda name: self.dataset.pairs.length(name, mode))
        for start in range(0, len(names), size):
            rows = [self.dataset[name, mode, 1.0] for name in names[start : start + size]]
            batch = {key: value.to(model.device) for key, value in collate(rows).items()}
            labels = batch["labels"][:, 1:]
            targets = labels != IGNORED
            with (
                torch.no_grad(),
                self.trainer.compute_loss_context_manager(),
                only_at(model, targets),
            ):
                total += float(token_losses(logits(model, batch), labels[targets]).sum())
            n += int(targets.sum())
        return total / n

    def _sample(self, model: PreTrainedModel, step: int) -> None:
        rendering, mode = self.dataset.rendering, MODES[self.share > 0]
        pairs = [self.dataset.pairs.pair(name) for name in self.sampled]
        prompts = [rendering.prompt(pair.prompt, mode) for pair in pairs]
        answers = greedy_answers(model, rendering, prompts, self.config.val_max_new_tokens)
        rows = [
            {
                "step": step,
                "id": pair.id,
                "prompt": pair.prompt,
                "answer": text,
                "tokens": n,
                "reference": pair.reference,
            }
            for pair, (text, n) in zip(pairs, answers, strict=True)
        ]
        with open(self.path, "a", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        self.tracker.table(step, "samples", rows)


def due(step: int, every: int, last: int) -> bool:
    return step % every == 0 or step == last


def best_step(rows: Sequence[Row]) -> int | None:
    """The step of the lowest validation loss, the earliest of equals; None where there is none."""
    validated = [row for row in rows if row.get("val_loss") is not None]
    return min(validated, key=lambda row: row["val_loss"])["step"] if validated else None


def greedy_answers(
    model: PreTrainedModel, rendering: Rendering, prompts: Sequence[list[int]], max_new_tokens: int
) -> list[tuple[str, int]]:
    """Texts and token counts of greedily decoded answers to tokenized prompts."""
    tokenizer = rendering.tokenizer
    stops = stop_ids(tokenizer)
    width = max(map(len, prompts))
    padding = [width - len(prompt) for prompt in prompts]
    ids = [[stops[0]] * n + prompt for n, prompt in zip(padding, prompts, strict=True)]
    mask = [[0] * n + [1] * len(prompt) for n, prompt in zip(padding, prompts, strict=True)]
    with torch.no_grad():
        sequences = model.generate(
            input_ids=torch.tensor(ids, device=model.device),
            attention_mask=torch.tensor(mask, device=model.device),
            max_new_tokens=max_new_tokens,
            do_sample=False,
            eos_token_id=list(stops),
            pad_token_id=stops[0],
            temperature=None,
            top_p=None,
            top_k=None,
        )[:, width:].tolist()
    answers = [list(takewhile(lambda token: token not in stops, row)) for row in sequences]
    return [(tokenizer.decode(row, skip_special_tokens=False), len(row)) for row in answers]
