"""transformers' Trainer over fixed global batches, with rates by step and a loss in which every token has its weight."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from transformers import Trainer

from ratiocine import models
from ratiocine.errors import BadInput
from train.batches import IGNORED, MicroBatches, Row, collate_packed, collate_weighted
from train.callbacks import StepLog
from train.loss import token_losses


class RatioTrainer(Trainer):
    """`sampler` gives the micro-batches, `rate` the learning rate of a step (from 0), `log_rows` is told each micro-batch's
    losses; products of matrices are in `dtype`."""

    def __init__(
        self, *args: Any, sampler: MicroBatches, rate: Callable[[int], float], log: StepLog, dtype: torch.dtype, **kwargs: Any
    ) -> None:  # fmt: skip
        super().__init__(*args, data_collator=partial(collate_weighted, padded=sampler.padded), **kwargs)
        self.sampler, self.rate, self.log_rows, self.dtype, self.holding = sampler, rate, log, dtype, False
        self.model_accepts_loss_kwargs = True  # the loss of a micro-batch is its share of the step's, and is not divided again

    def get_train_dataloader(self) -> DataLoader[Any]:
        loader = DataLoader(self.train_dataset, batch_sampler=self.sampler, collate_fn=self.data_collator)  # type: ignore[arg-type]
        return self.accelerator.prepare(loader)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> LambdaLR:
        optimizer = optimizer or self.optimizer
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] = 1.0
        self.lr_scheduler, self._created_lr_scheduler = LambdaLR(optimizer, self.rate), True
        return self.lr_scheduler

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """What was saved, but the rate: that of this run's schedule, which may have been changed."""
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            scheduler = self.lr_scheduler
            assert isinstance(scheduler, LambdaLR)
            rate = self.rate(scheduler.last_epoch)
            scheduler._last_lr = [rate for group in scheduler.optimizer.param_groups]
            for group in scheduler.optimizer.param_groups:
                group["lr"] = rate

    def compute_loss_context_manager(self) -> AbstractContextManager[None]:
        """Not accelerate's: that makes float32 numbers of all logits."""
        return torch.autocast(self.args.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Weights in `dtype` are kept from one micro-batch of a step to the next, and given up before the weights change."""
        if not self.holding:
            torch.autocast_increment_nesting()  # what an outer autocast would do, but for backward
            self.holding = True
        loss = super().training_step(*args, **kwargs)
        if self.accelerator.sync_gradients:
            self.let_go()
        return loss

    def let_go(self) -> None:
        if self.holding and torch.autocast_decrement_nesting() == 0:
            torch.clear_autocast_cache()
        self.holding = False

    def check_apart(self) -> None:
        """Raises BadInput where this model lets documents of one row see each other: what it makes of the second may not depend
        on the first. A model that does not tell documents by positions would learn from what it will not be shown."""
        model = self.model
        assert model is not None
        model.eval()
        made = []
        for first in (range(8), range(7, -1, -1)):
            documents = [Row("", "ift", tuple(ids), ()) for ids in (first, range(8))]
            inputs = self._prepare_inputs(collate_packed(documents))
            with torch.no_grad(), self.compute_loss_context_manager():
                made.append(logits(model, inputs)[0, 8:].float())
        # Not bit for bit: in a mixture of experts the first document decides with what the second is multiplied together.
        if (made[0] - made[1]).abs().max() > 0.05 * made[0].std():
            raise BadInput("padding_free=true: in this model rows that stand one behind the other see each other; give false")

    def try_longest(self) -> None:
        """Forward and backward over the micro-batch that needs most memory, so that a run which will not fit ends at once."""
        if not self.sampler.padded:
            self.check_apart()
        longest = self.sampler.longest()
        model = self.model
        assert model is not None
        try:
            inputs = self._prepare_inputs(self.data_collator([self.train_dataset[wanted] for wanted in longest]))  # type: ignore[index]
            model.train()
            with self.compute_loss_context_manager():
                loss = self.compute_loss(model, inputs)
            loss.backward()
        except torch.OutOfMemoryError:
            raise BadInput(
                f"micro_batch_size={self.args.per_device_train_batch_size}: {len(longest)} rows of at most "
                f"{int(inputs['lengths'].max())} tokens do not fit into memory; take a smaller one, or a smaller max_length"
            ) from None
        model.zero_grad(set_to_none=True)
        self.log_rows.parts.clear()
        self.log_rows.tokens = 0

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Cross-entropy of each label times its row's weight, summed. Logits are made where there are labels only: the head is
        a fifth of a small model's work."""
        labels = inputs["labels"][:, 1:]
        there = labels != IGNORED
        with only_at(model, there):
            losses = token_losses(logits(model, inputs), labels[there])
        rows = inputs["row"][:, 1:][there]
        loss = (losses * inputs["weights"][rows]).sum()
        reasons, counted = inputs["reasoning"][rows], inputs["weights"][rows] > 0
        by_format = [(counted & ~reasons), (counted & reasons)]
        sums = [(losses.detach() * those).sum() for those in by_format] + [those.sum() for those in by_format]
        self.log_rows.parts.append(torch.stack([loss.detach(), *(value.float() for value in sums)]))
        self.log_rows.tokens += int((inputs["lengths"] * (inputs["weights"] > 0)).sum())
        return loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        self.log_rows.norm = float(norm) if norm is not None else 0.0
        return norm


def logits(model: Any, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Of a batch as `collate` or `collate_packed` makes it. Without a cache: with one transformers takes documents for one."""
    seen = {name: inputs[name] for name in ("input_ids", "attention_mask", "position_ids") if name in inputs}
    return model(**seen, use_cache=False).logits


@contextmanager
def only_at(model: Any, there: torch.Tensor) -> Iterator[None]:
    """While this lasts, the model's head sees hidden states at these positions only: (rows, length − 1) → (labels, width)."""
    head = models.head(model)
    handle = head.register_forward_pre_hook(lambda module, inputs: (inputs[0][:, :-1][there],))
    try:
        yield
    finally:
        handle.remove()
