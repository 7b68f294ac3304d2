"""Problems that are held out of training: what they cost the student as it learns, and what it then says to them.

They come from the training pairs, never from a benchmark, and are the same at every ratio. Their loss is taken in both formats;
where the best checkpoint is asked for it is the one with the lowest `val_loss`, which is the two losses' mean at the share of
reasoning that the run is trained with.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from ratiocine.prompts import end_of_turn
from ratiocine.records import MODES, Mode
from ratiocine.rendering import Rendering
from ratiocine.runs import Tracker
from ratiocine.training import logits, only_at, token_losses
from train.batches import IGNORED, Rows, collate
from train.ratio_trainer import RatioTrainer
from train.step_log import StepLog


class HeldOut(TrainerCallback):
    """After every `every` steps and the last: losses into the log's row, answers into `samples.jsonl` and the tracker."""

    def __init__(
        self,
        ids: Sequence[str],
        rows: Rows,
        share: float,
        log: StepLog,
        tracker: Tracker,
        *,
        every: int,
        size: int,
        samples: int,
        budget: int,
        path: Path,
        done: int = 0,
    ) -> None:
        self.ids, self.rows, self.share, self.log_rows, self.tracker = (
            ids,
            rows,
            share,
            log,
            tracker,
        )
        self.every, self.size, self.samples, self.budget, self.path = (
            every,
            size,
            ids[:samples],
            budget,
            path,
        )
        self.trainer: RatioTrainer | None = None
        if self.samples:  # what was answered after the last checkpoint will be answered again
            there = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
            path.write_text(
                "".join(f"{row}\n" for row in there if json.loads(row)["step"] <= done),
                encoding="utf-8",
            )

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not self.ids or not due(state.global_step, self.every, state.max_steps):
            return
        assert self.trainer is not None
        model, began = self.trainer.model, time.perf_counter()
        assert model is not None
        model.eval()
        losses = {mode: self._loss(model, mode) for mode in MODES}
        mean = (1 - self.share) * losses["ift"] + self.share * losses["reasoning"]
        self.log_rows.more = {
            "val_loss": mean,
            **{f"val_loss_{mode}": loss for mode, loss in losses.items()},
        }
        if self.samples:
            self._sample(model, state.global_step)
        model.train()
        self.log_rows.last += time.perf_counter() - began  # none of the step's own time

    def _loss(self, model: Any, mode: Mode) -> float:
        """Mean cross-entropy of the supervised tokens of all held-out problems in one format."""
        assert self.trainer is not None
        total, n = 0.0, 0
        names = sorted(self.ids, key=lambda name: self.rows.pool.length(name, mode))
        for start in range(0, len(names), self.size):
            batch = collate(
                [self.rows[name, mode, 1.0] for name in names[start : start + self.size]]
            )
            batch = {key: value.to(model.device) for key, value in batch.items()}
            there = batch["labels"][:, 1:] != IGNORED
            with (
                torch.no_grad(),
                self.trainer.compute_loss_context_manager(),
                only_at(model, there),
            ):
                total += float(
                    token_losses(logits(model, batch), batch["labels"][:, 1:][there]).sum()
                )
            n += int(there.sum())
        return total / n

    def _sample(self, model: Any, step: int) -> None:
        rendering, mode = self.rows.rendering, MODES[self.share > 0]
        pairs = [self.rows.pool.pair(name) for name in self.samples]
        answers = generated(
            model, rendering, [rendering.prompt(pair.prompt, mode) for pair in pairs], self.budget
        )
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


def best_step(rows: Sequence[dict[str, Any]]) -> int | None:
    """The step with the lowest held-out loss, the earliest of equals; None where none was taken."""
    taken = [row for row in rows if row.get("val_loss") is not None]
    return min(taken, key=lambda row: row["val_loss"])["step"] if taken else None


def generated(
    model: Any, rendering: Rendering, asked: Sequence[list[int]], budget: int
) -> list[tuple[str, int]]:
    """Greedy answers of at most `budget` tokens to these prompts, with their lengths."""
    tokenizer = rendering.tokenizer
    stop = end_of_turn(tokenizer)
    width = max(map(len, asked))
    ids = torch.tensor([[stop] * (width - len(row)) + row for row in asked], device=model.device)
    mask = torch.tensor(
        [[0] * (width - len(row)) + [1] * len(row) for row in asked], device=model.device
    )
    with torch.no_grad():
        made = model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=budget,
            do_sample=False,
            eos_token_id=stop,
            pad_token_id=stop,
            temperature=None,
            top_p=None,
            top_k=None,
        )[:, width:].tolist()
    cut = [row[: row.index(stop)] if stop in row else row for row in made]
    return [(tokenizer.decode(row, skip_special_tokens=False), len(row)) for row in cut]
