"""The trainer of supervised fine-tuning: fixed global batches, and a loss in which every token has
its weight."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader

from ratiocine.errors import BadInput
from ratiocine.executors import distributed
from ratiocine.training import SteppedTrainer, logits, only_at, token_losses, unsharded_loader
from train.batches import MicroBatchSampler, Row
from train.collation import IGNORED, collate_packed, collate_weighted
from train.step_log import StepLog


class RatioTrainer(SteppedTrainer):
    """`sampler` yields micro-batches; the losses of each go to `step_log`."""

    def __init__(
        self,
        *args: Any,
        sampler: MicroBatchSampler,
        rate: Callable[[int], float],
        step_log: StepLog,
        dtype: torch.dtype,
        **kwargs: Any,
    ) -> None:
        collator = partial(collate_weighted, padded=sampler.padded)
        super().__init__(*args, data_collator=collator, **kwargs)
        self.sampler, self.rate, self.step_log, self.dtype = sampler, rate, step_log, dtype
        # The loss of a micro-batch is its share of the step's; Trainer would divide it again.
        self.model_accepts_loss_kwargs = True

    def get_train_dataloader(self) -> DataLoader[Any]:
        loader = DataLoader(
            self.train_dataset,  # type: ignore[arg-type]
            batch_sampler=self.sampler,
            collate_fn=self.data_collator,
        )
        return unsharded_loader(loader, self.accelerator.device)

    def check_documents_are_separate(self) -> None:
        """Raise BadInput where tokens of one concatenated document attend to another: the second
        document's logits must not depend on the first."""
        model = self.model
        assert model is not None
        model.eval()
        found = []
        for first in (range(8), range(7, -1, -1)):
            documents = [Row("", "ift", tuple(ids), ()) for ids in (first, range(8))]
            inputs = self._prepare_inputs(collate_packed(documents))
            with torch.no_grad(), self.compute_loss_context_manager():
                found.append(logits(model, inputs)[0, 8:].float())
        # Not bitwise: in a mixture of experts the first document changes how tokens are grouped for
        # matmuls.
        if (found[0] - found[1]).abs().max() > 0.05 * found[0].std():
            raise BadInput(
                "padding_free=true: in this model concatenated rows attend to each other; give "
                "padding_free=false"
            )

    def trial_step(self) -> None:
        """Forward and backward over the micro-batch that needs most memory. Raises BadInput where
        it does not fit."""
        if not self.sampler.padded:
            self.check_documents_are_separate()
        model, dataset = self.model, self.train_dataset
        assert model is not None
        assert dataset is not None
        rows = [dataset[example] for example in self.sampler.largest()]  # type: ignore[index]
        inputs = self.data_collator(rows)
        self._forward_and_backward(
            lambda: self.compute_loss(model, self._prepare_inputs(inputs)),
            f"{len(rows)} rows of up to {int(inputs['lengths'].max())} tokens",
            "max_length",
        )
        self.step_log.discard_micro_batches()

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: object = None,
    ) -> torch.Tensor:
        """Cross-entropy of each label times its row's weight, summed. Logits are computed at labels
        only, as the head is a fifth of a small model's work."""
        labels = inputs["labels"][:, 1:]
        targets = labels != IGNORED
        with only_at(model, targets):
            losses = token_losses(logits(model, inputs), labels[targets])
        rows = inputs["row"][:, 1:][targets]
        loss = (losses * inputs["weights"][rows]).sum()
        reasoning, counted = inputs["reasoning"][rows], inputs["weights"][rows] > 0
        by_format = [counted & ~reasoning, counted & reasoning]
        sums = [(losses.detach() * selected).sum() for selected in by_format]
        sums += [selected.sum() for selected in by_format]
        self.step_log.add_micro_batch(
            torch.stack([loss.detach(), *(value.float() for value in sums)]),
            int((inputs["lengths"] * (inputs["weights"] > 0)).sum()),
        )
        return loss * distributed.world_size()  # gradients are averaged over ranks

    def _get_grad_norm(
        self, model: torch.nn.Module, grad_norm: float | None = None
    ) -> float | None:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        self.step_log.norm = self.norm
        return norm
