"""transformers' Trainer over fixed global batches, with rates by step and a loss in which every token has its weight."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader

from ratiocine.errors import BadInput
from ratiocine.executors import distributed
from ratiocine.training import SteppedTrainer, logits, only_at, token_losses, unsharded_loader
from train.batches import IGNORED, MicroBatches, Row, collate_packed, collate_weighted
from train.step_log import StepLog


class RatioTrainer(SteppedTrainer):
    """`sampler` gives the micro-batches, `log_rows` is told each micro-batch's losses."""

    def __init__(
        self,
        *args: Any,
        sampler: MicroBatches,
        rate: Callable[[int], float],
        log: StepLog,
        dtype: torch.dtype,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            *args, data_collator=partial(collate_weighted, padded=sampler.padded), **kwargs
        )
        self.sampler, self.rate, self.log_rows, self.dtype = sampler, rate, log, dtype
        self.model_accepts_loss_kwargs = (
            True  # the loss of a micro-batch is its share of the step's, and is not divided again
        )

    def get_train_dataloader(self) -> DataLoader[Any]:
        loader = DataLoader(
            self.train_dataset, batch_sampler=self.sampler, collate_fn=self.data_collator
        )  # type: ignore[arg-type]
        return unsharded_loader(loader, self.accelerator.device)

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
            raise BadInput(
                "padding_free=true: in this model rows that stand one behind the other see each other; give false"
            )

    def try_longest(self) -> None:
        """Forward and backward over the micro-batch that needs most memory, so that a run which will not fit ends at once."""
        if not self.sampler.padded:
            self.check_apart()
        longest = self.sampler.longest()
        model = self.model
        assert model is not None
        try:
            inputs = self._prepare_inputs(
                self.data_collator([self.train_dataset[wanted] for wanted in longest])
            )  # type: ignore[index]
            self.as_in_training()
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
        self.log_rows.seen = 0

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
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
        sums = [(losses.detach() * those).sum() for those in by_format] + [
            those.sum() for those in by_format
        ]
        self.log_rows.parts.append(torch.stack([loss.detach(), *(value.float() for value in sums)]))
        self.log_rows.seen += int((inputs["lengths"] * (inputs["weights"] > 0)).sum())
        return loss * distributed.world_size()  # of which the mean is taken over all ranks

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        self.log_rows.norm = self.norm
        return norm
