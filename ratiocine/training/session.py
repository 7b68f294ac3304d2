"""One training run, from its run directory to its student: the steps that supervised and
reinforcement learning share.

The order is fixed. `resolve_compute` (device, dtype, attention kernel, padding) comes before any
allocation; ranks are connected before they compare what they are about to train; transformers'
arguments exist before the model, as ZeRO-3 then loads it sharded. A run that is not resumed begins
with a trial step: forward and backward over its largest micro-batch, without an update.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from transformers import PrinterCallback, TrainingArguments

from ratiocine import models, startup
from ratiocine.errors import Failure
from ratiocine.executors import distributed
from ratiocine.runs import Run, Tracker, tracking
from ratiocine.training.checkpoints import Checkpoints, newest
from ratiocine.training.config import TrainingConfig
from ratiocine.training.precision import Compute, save_compute
from ratiocine.training.trainer import SteppedTrainer, autocast_forward, gathered_model, quiet

CHECKPOINTS = "checkpoints"
Facts = Mapping[str, object]
Arguments = TypeVar("Arguments", bound=TrainingArguments)


def checkpoint_folder(run: Run) -> Path:
    """Where all ranks read and write the checkpoints of a run."""
    return run.shared / CHECKPOINTS


@dataclass(frozen=True)
class Session:
    """A run whose model is loaded and whose ranks agree. `open_session` makes it, `fit` trains and
    `finish` saves."""

    run: Run
    config: TrainingConfig
    compute: Compute
    arguments: Any
    """Of transformers' Trainer (`training_arguments`)."""
    model: Any
    """The model to train, with adapters where configured."""
    size: int
    """Number of parameters, adapters excluded."""
    checkpoint: Path | None
    """Resumed from; None in a new run."""
    tracker: Tracker

    @property
    def folder(self) -> Path:
        return checkpoint_folder(self.run)

    @property
    def steps_done(self) -> int:
        """Optimizer steps of the checkpoint."""
        return 0 if self.checkpoint is None else int(self.checkpoint.name)

    def fit(
        self,
        trainer: SteppedTrainer,
        checkpoints: Checkpoints,
        trial_step: Callable[[], None],
        before: Callable[[], None] = lambda: None,
    ) -> None:
        """Train to the last step, or until a signal (`Checkpoints.on_signal`).

        A new run first calls `trial_step`, forward and backward over its largest micro-batch, and
        then `before`. Where weights are sharded there is no whole model before training, and no
        trial step. Raises Failure where memory runs out."""
        trainer.remove_callback(PrinterCallback)
        if self.checkpoint is None:
            if not self.config.shards_weights:
                trial_step()
            before()
        resumed = None if self.checkpoint is None else str(self.checkpoint)
        with checkpoints.on_signal(), distributed.phase("training"):
            try:
                trainer.train(resume_from_checkpoint=resumed)
            except torch.OutOfMemoryError:
                raise Failure(
                    f"out of memory after optimizer step {trainer.state.global_step}; earlier "
                    "checkpoints are kept; try a smaller micro_batch_size, shorter rows, "
                    "gradient_checkpointing=true or lora=true"
                ) from None

    def finish(self, trainer: SteppedTrainer, save: Callable[[Any], Facts]) -> Facts:
        """Collect the student from all ranks, `save` it on the first, and write the manifest with
        the values that `save` returns; then remove the checkpoints. Returns those values, on other
        ranks none."""
        facts: Facts = {}
        fresh = lambda: load_trainable(self.config, self.compute)  # noqa: E731
        with (
            distributed.phase("collecting the student"),
            gathered_model(trainer, fresh) as student,
        ):
            if distributed.is_first():
                facts = save(student)
        if self.config.log_model and distributed.is_first():
            self.tracker.log_student(self.run.out / "model")
        if place := self.tracker.finish():
            print(place)
        if distributed.is_first():
            self.run.finish(**{**facts, **self.compute.facts, "size": self.size})
            shutil.rmtree(self.folder, ignore_errors=True)
        distributed.barrier()
        return facts


def open_session(
    run: Run,
    config: TrainingConfig,
    compute: Compute,
    arguments: Callable[[], TrainingArguments],
    about: Callable[[int], tracking.TrackedRun],
    agreed: Mapping[str, object] = {},
) -> Session:
    """Connect the ranks, load the model and open the tracker.

    `arguments` is called before the model is loaded. `about` returns the tracker's metadata, given
    the number of parameters. `agreed` holds values that must be equal on all ranks, in addition to
    `Run.facts`. Raises BadInput where ranks disagree."""
    folder = checkpoint_folder(run)
    save_compute(folder, config, compute)
    distributed.init_process_group(config.ddp_timeout, compute.device.type)
    size = models.size(config.model)
    made = arguments()
    checkpoint = newest(folder)
    resumed = checkpoint and checkpoint.name
    resolved = {
        "the checkpoint to resume from": resumed,
        "micro_batch_size": compute.micro_batch_size,
    }
    distributed.check_agreement({**run.facts, **agreed, **resolved})
    startup.freeze_imports()
    model = load_trainable(config, compute)
    tracker = tracking.open_tracker(config, run.out, about(size))
    return Session(run, config, compute, made, model, size, checkpoint, tracker)


def load_trainable(config: TrainingConfig, compute: Compute) -> Any:
    """The model in float32, or in 4 bits, with its adapters where configured."""
    four_bit = compute.dtype if config.load_in_4bit else None
    model: Any = models.load_model(
        config.model, config.device, attention=compute.attention, four_bit=four_bit
    )
    if config.lora:
        model = models.add_lora(model, config.lora_rank, config.lora_targets, seed=config.seed)
    if config.deepspeed.stage and compute.dtype != torch.float32:
        autocast_forward(model, compute.device, compute.dtype)
    return model


def training_arguments(
    kind: type[Arguments], config: TrainingConfig, compute: Compute, folder: Path, **specific: Any
) -> Arguments:
    """transformers' arguments with the settings of every run, and those `specific` to a verb;
    checkpoints are written below `folder` before they get their names."""
    with quiet():
        made = kind(
            output_dir=str(folder / ".partial"),
            per_device_train_batch_size=compute.micro_batch_size,
            optim="adamw_torch_fused",
            weight_decay=config.weight_decay,
            max_grad_norm=config.max_grad_norm,
            use_cpu=compute.device.type == "cpu",
            seed=config.seed,
            save_strategy="steps",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
            logging_nan_inf_filter=False,
            gradient_checkpointing=config.gradient_checkpointing,
            deepspeed=config.deepspeed.settings,
            ddp_find_unused_parameters=False,
            ddp_timeout=config.ddp_timeout,
            **specific,
        )
    # One process uses one device; transformers would wrap the model in DataParallel over all it
    # sees. `n_gpu` detects them.
    made._n_gpu = min(1, made.n_gpu)
    return made
