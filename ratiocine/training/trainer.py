"""What trainers here have in common: rates by step, weights in bfloat16 for the length of a step, logits only where there are
labels, and checkpoints that are whole or not there."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments

from ratiocine import models
from ratiocine.executors import distributed


def single_device(arguments: TrainingArguments) -> Any:
    """These arguments for one process and one device: transformers would spread a process over all that it sees."""
    arguments._n_gpu = min(1, arguments.n_gpu)  # `n_gpu` has found them
    return arguments


@contextmanager
def quiet() -> Iterator[None]:
    """Without what libraries say of their own future: a run's output is the user's."""
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


def unsharded_loader(loader: DataLoader[Any], device: torch.device) -> Any:
    """A loader that gives each rank what is its own already, with what accelerate wants of one."""
    from accelerate.data_loader import prepare_data_loader

    return prepare_data_loader(loader, device, num_processes=1, process_index=0, put_on_device=True)


class SteppedTrainer(Trainer):
    """`rate` is the learning rate of a step (from 0); products of matrices are in `dtype`. Both are set before training, and
    `norm` is that of the last step's gradients."""

    rate: Callable[[int], float]
    dtype: torch.dtype
    holding = False
    norm = 0.0

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> LambdaLR:
        optimizer = optimizer or self.optimizer
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] = 1.0
        self.lr_scheduler, self._created_lr_scheduler = LambdaLR(optimizer, self.rate), True
        return self.lr_scheduler

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """What was saved, but the rate and the weight decay: those of this run, which may have been changed."""
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            scheduler: Any = self.lr_scheduler
            while not isinstance(scheduler, LambdaLR):  # accelerate's, under DeepSpeed
                scheduler = scheduler.scheduler
            scheduler.optimizer.param_groups[0]["weight_decay"] = (
                self.args.weight_decay
            )  # the second has none
            rate = self.rate(scheduler.last_epoch)
            scheduler._last_lr = [rate for group in scheduler.optimizer.param_groups]
            for group in scheduler.optimizer.param_groups:
                group["lr"] = rate

    def compute_loss_context_manager(self) -> AbstractContextManager[None]:
        """Not accelerate's: that makes float32 numbers of all logits. Of weights that are cut none is kept in `dtype` till the
        end of forward: that would be the whole model."""
        half, whole = (
            self.dtype != torch.float32,
            not self.is_deepspeed_enabled and not self.is_fsdp_enabled,
        )
        return torch.autocast(self.args.device.type, self.dtype, enabled=half, cache_enabled=whole)

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Weights in `dtype` are kept from one micro-batch of a step to the next, and given up before the weights change. Not
        under DeepSpeed and FSDP, which move weights in between."""
        if not self.holding and not self.is_deepspeed_enabled and not self.is_fsdp_enabled:
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

    def as_in_training(self) -> None:
        """Set the model as `train` will, for a pass before it."""
        model: Any = self.model
        model.train()
        if self.args.gradient_checkpointing:
            model.gradient_checkpointing_enable(
                gradient_checkpointing_kwargs={"use_reentrant": False}
            )

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> Any:
        if resume_from_checkpoint:
            print(
                f"going on from the checkpoint of step {Path(str(resume_from_checkpoint)).name}",
                flush=True,
            )
        with quiet():
            return super().train(resume_from_checkpoint, **kwargs)

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        self.norm = float(norm) if norm is not None else 0.0
        return norm


@contextmanager
def gathered_model(trainer: Trainer, fresh: Callable[[], Any]) -> Iterator[Any]:
    """The trained model whole, also where its weights are cut over the ranks, all of which have to be here. FSDP's are put into
    a `fresh` model of the first rank; the others have none then."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    if trainer.is_fsdp_enabled:
        state = trainer.accelerator.get_state_dict(trainer.model)
        if distributed.is_first():
            model = fresh()
            model.load_state_dict(state)
        yield model
        return
    with gathered_parameters(list(model.parameters())):
        yield model


@contextmanager
def gathered_parameters(parameters: Sequence[torch.nn.Parameter]) -> Iterator[None]:
    """While this lasts, these are there in full, which ZeRO-3 has cut over the ranks. All of them have to be here."""
    if not any(hasattr(parameter, "ds_id") for parameter in parameters):
        yield
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters(parameters):
        yield


def wsd(steps: int, peak: float, warmup: float, decay: float) -> list[float]:
    """Linear warm-up to `peak`, and linear decay to a tenth of it over the last steps (arXiv 2509.22193, appendix C). Both are
    numbers of steps, or below 1 shares of them."""
    up, down = (round(size * steps if size < 1 else size) for size in (warmup, decay))
    return [
        peak
        * min(
            (step + 1) / up if step < up else 1.0,
            0.1 + 0.9 * (steps - step) / down if steps - step < down else 1.0,
        )
        for step in range(steps)
    ]


def logits(model: Any, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Of a batch as `collate` or `collate_packed` makes it. Without a cache: with one transformers takes documents for one."""
    seen = {
        name: inputs[name]
        for name in ("input_ids", "attention_mask", "position_ids")
        if name in inputs
    }
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


def peak_memory() -> int:
    """The most bytes that this process has held, of the accelerator where there is one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )
