"""transformers' Trainer with a learning rate per step, autocast kept over a step, and logits only
where there are labels."""

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
from transformers import Trainer

from ratiocine import models
from ratiocine.errors import BadInput
from ratiocine.executors import distributed


@contextmanager
def quiet() -> Iterator[None]:
    """Without deprecation warnings that libraries raise about each other's calls."""
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


def unsharded_loader(loader: DataLoader[Any], device: torch.device) -> DataLoader[Any]:
    """The loader as accelerate prepares it, but without sharding: each rank's loader already yields
    its own part."""
    from accelerate.data_loader import prepare_data_loader

    return prepare_data_loader(loader, device, num_processes=1, process_index=0, put_on_device=True)


def autocast_forward(model: Any, device: torch.device, dtype: torch.dtype) -> None:
    """Make a model's own forward autocast to `dtype`. On a GPU DeepSpeed turns the caller's
    autocast off around the model; its `torch_autocast` would reduce gradients in `dtype`. Copies
    of sharded weights are not cached."""
    model.forward = torch.autocast(device.type, dtype, cache_enabled=False)(model.forward)


class SteppedTrainer(Trainer):
    """`rate` gives the learning rate of a step (from 0), `dtype` is that of matmuls; both are set
    before training. `norm` is the gradient norm of the last step."""

    rate: Callable[[int], float]
    dtype: torch.dtype
    autocasting = False
    norm = 0.0

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> LambdaLR:
        optimizer = optimizer or self.optimizer
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] = 1.0
        self.lr_scheduler, self._created_lr_scheduler = LambdaLR(optimizer, self.rate), True
        return self.lr_scheduler

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Restores both, then applies this run's learning rate and weight decay, which may have
        been overridden."""
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        scheduler: Any = self.lr_scheduler
        while not isinstance(scheduler, LambdaLR):  # accelerate's wrapper, under DeepSpeed
            scheduler = scheduler.scheduler
        groups = scheduler.optimizer.param_groups
        groups[0]["weight_decay"] = self.args.weight_decay  # the second group has none
        rate = self.rate(scheduler.last_epoch)
        scheduler._last_lr = [rate for _ in groups]
        for group in groups:
            group["lr"] = rate

    @property
    def holds_weights(self) -> bool:
        """Whether weights stay in place during a step, as they do not under DeepSpeed and FSDP."""
        return not self.is_deepspeed_enabled and not self.is_fsdp_enabled

    def compute_loss_context_manager(self) -> AbstractContextManager[None]:
        """Plain autocast: accelerate's converts all logits to float32. Copies of sharded weights
        are not cached, as those add up to the whole model by the end of forward."""
        return torch.autocast(
            self.args.device.type,
            self.dtype,
            enabled=self.dtype != torch.float32,
            cache_enabled=self.holds_weights,
        )

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """One micro-batch. Autocast's copies of weights are kept until the last micro-batch of the
        step."""
        if not self.autocasting and self.holds_weights:
            torch.autocast_increment_nesting()  # what an outer autocast does, but not over backward
            self.autocasting = True
        loss = super().training_step(*args, **kwargs)
        if self.accelerator.sync_gradients:
            self.end_autocast()
        return loss

    def end_autocast(self) -> None:
        if self.autocasting and torch.autocast_decrement_nesting() == 0:
            torch.clear_autocast_cache()
        self.autocasting = False

    def _forward_and_backward(
        self, loss: Callable[[], torch.Tensor], size: str, remedy: str
    ) -> None:
        """A trial step over one micro-batch, of which no gradient is left. Raises BadInput, with
        its `size` and the key to lower, where it does not fit into memory."""
        model: Any = self.model
        try:
            model.train()
            if self.args.gradient_checkpointing:
                with quiet():
                    model.gradient_checkpointing_enable(
                        gradient_checkpointing_kwargs={"use_reentrant": False}
                    )
            with self.compute_loss_context_manager():
                found = loss()
            found.backward()  # type: ignore[no-untyped-call]
        except torch.OutOfMemoryError:
            raise BadInput(
                f"micro_batch_size={self.args.per_device_train_batch_size}: {size} do not fit into "
                f"memory; try a smaller one, or a smaller {remedy}"
            ) from None
        model.zero_grad(set_to_none=True)

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> Any:
        if resume_from_checkpoint:
            step = Path(str(resume_from_checkpoint)).name
            print(f"resuming from the checkpoint of step {step}", flush=True)
        with quiet():
            return super().train(resume_from_checkpoint, **kwargs)

    def _get_grad_norm(
        self, model: torch.nn.Module, grad_norm: float | None = None
    ) -> float | None:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        self.norm = float(norm) if norm is not None else 0.0
        return norm


@contextmanager
def gathered_model(
    trainer: Trainer, fresh: Callable[[], torch.nn.Module]
) -> Iterator[torch.nn.Module]:
    """The trained model with whole weights; all ranks have to enter. Under FSDP the first rank gets
    them in a `fresh` model, and other ranks get a model without them."""
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
    """Within this context parameters that ZeRO-3 has sharded are whole; all ranks have to enter."""
    if not any(hasattr(parameter, "ds_id") for parameter in parameters):
        yield
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters(parameters):
        yield


def wsd(steps: int, peak: float, warmup: float, decay: float) -> list[float]:
    """Learning rate of each step, warmup-stable-decay: linear to `peak`, and at the end linear
    towards a tenth of it, due one step after the last (arXiv 2509.22193, appendix C). `warmup` and
    `decay` are numbers of steps, or below 1 shares of all steps."""
    up, down = (round(size * steps if size < 1 else size) for size in (warmup, decay))
    return [
        peak
        * min(
            (step + 1) / up if step < up else 1.0,
            0.1 + 0.9 * (steps - step) / down if steps - step < down else 1.0,
        )
        for step in range(steps)
    ]


def logits(model: torch.nn.Module, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Logits of a batch from `collate` or `collate_packed`. With a cache transformers would attend
    across documents."""
    names = ("input_ids", "attention_mask", "position_ids")
    known = {name: inputs[name] for name in names if name in inputs}
    return model(**known, use_cache=False).logits


@contextmanager
def only_at(model: torch.nn.Module, positions: torch.Tensor) -> Iterator[None]:
    """Within this context the head gets only the hidden states where `positions` is True, a mask
    (rows, length − 1): (selected, width) instead of (rows, length, width)."""
    head = models.head(model)
    handle = head.register_forward_pre_hook(lambda module, inputs: (inputs[0][:, :-1][positions],))
    try:
        yield
    finally:
        handle.remove()


def peak_memory() -> int:
    """Peak bytes of this process: allocated on the accelerator if there is one, else its resident
    set."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
