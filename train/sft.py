"""Pairs × ratio × scenario → student: supervised fine-tuning on completions only.

The loop is that of transformers' Trainer. Ours are its batches and its loss: global batches of a
fixed list of ids, split into micro-batches of like length, and a weight per token from its *global*
batch, so that the split and padding never change the loss.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from transformers import PreTrainedModel, TrainingArguments

from ratiocine import cli, cost, devices, models
from ratiocine.executors import distributed
from ratiocine.progress import progress
from ratiocine.records import MODES
from ratiocine.runs import Run, TrainingFacts, check_writable, lineage, open_run, tracking
from ratiocine.training import (
    Checkpoints,
    Compute,
    Session,
    checkpoint_folder,
    open_session,
    training_arguments,
)
from train import card, micro_batch, preflight
from train.batches import MicroBatchSampler, RowDataset
from train.config import Config, inputs, notes
from train.dataset import PairDataset, dataset_name, pair_source, test_split
from train.export import export
from train.mixture_facts import MixtureFacts, describe
from train.planning import TrainingPlan, plan_training
from train.ratio_trainer import RatioTrainer
from train.scenario import Example
from train.schedule import schedule
from train.step_log import StepLog
from train.val_loss import ValidationLoss, best_step

if TYPE_CHECKING:
    from tqdm import tqdm

SAMPLES = "samples.jsonl"


def train(config: Config) -> Run | None:
    """Train one student; writes `model/`, `mixture.json`, `metrics.jsonl` and the manifest.

    With `preflight=true` checks only and writes nothing; with `export` writes the mixture for other
    trainers instead."""
    devices.prepare_process(config.threads)
    plan = plan_training(config)
    for line in notes(config):
        print(line)
    if config.preflight:
        compute = micro_batch.resolve(config, plan)
        print(preflight.report(plan, example=True))
        print(f"memory: {micro_batch.check_fit(config, plan, compute)}")
        return None
    if config.export:
        n = export(Path(config.export), plan.dataset, plan.stages, plan.rendering)
        print(f"{n} examples in {config.export}, in training order")
        return None
    run = open_run("train", config, inputs(config), config.resume_overrides)
    if run.finished:
        print(f"{run.out} is finished")
        return run
    compute = micro_batch.resolve(config, plan, checkpoint_folder(run))
    folder = models.locate(config.model)
    size = sum(f.stat().st_size for f in folder.rglob("*")) if folder else 1_000_000
    check_writable(run.out, 2 * size + 10_000_000)
    print(preflight.report(plan))
    print(f"memory: {micro_batch.check_fit(config, plan, compute)}", flush=True)
    mixture = describe(config, plan)
    if distributed.is_first():
        run.write_json("mixture.json", asdict(mixture))
    _fit(run, config, plan, mixture, compute)
    return run


def _fit(
    run: Run, config: Config, plan: TrainingPlan, mixture: MixtureFacts, compute: Compute
) -> None:
    sampler = micro_batch.sampler(config, plan, compute)
    steps, folder = len(sampler.batches), checkpoint_folder(run)
    session = open_session(
        run,
        config,
        compute,
        arguments=lambda: arguments(config, compute, folder, steps, sampler.per_batch),
        about=lambda size: _about(run, config, mixture, size),
        agreed={"the order of examples": mixture.examples_hash},
    )
    arm = config.scenario.name if config.ratio is None else f"ratio={config.ratio}"
    with progress(steps, f"train {arm}", "steps") as bar:
        trainer, checkpoints = _trainer(session, config, plan, sampler, bar)
        session.fit(trainer, checkpoints, trainer.trial_step)
    log = trainer.step_log
    step = len(log.rows)
    if config.checkpoint == "best":
        step = best_step(log.rows) or step
    if step < len(log.rows):
        trainer._load_from_checkpoint(str(folder / str(step)))
    facts = _facts(config, plan, mixture, session, log, step)

    def save(student: PreTrainedModel) -> dict[str, Any]:
        _save(run, config, plan, mixture, facts, student, log)
        form = plan.rendering.form
        more = {"direct_format": form, "examples_hash": mixture.examples_hash}
        return {**asdict(facts), **more}

    session.finish(trainer, save)
    print(f"trained {len(log.rows)} steps in {log.seconds:.0f} s: {run.out / 'model'}")
    model = cli.quoted(str(run.out / "model"))
    cli.print_next("eval", f"model={model}", f"benchmarks={test_split(config.folders())}")


def _trainer(
    session: Session,
    config: Config,
    plan: TrainingPlan,
    sampler: MicroBatchSampler,
    bar: tqdm[NoReturn],
) -> tuple[RatioTrainer, Checkpoints]:
    run, compute = session.run, session.compute
    dataset, shape = RowDataset(plan.dataset, plan.rendering), cost.Shape.of(session.model.config)
    rates = schedule(config, plan.stages)
    log = StepLog(
        run.out / "metrics.jsonl",
        run.shared,
        bar,
        sampler.batches,
        lambda batch: _flops(config, shape, plan.dataset, batch),
        peak=devices.matmul_rate(compute.device, compute.dtype),
        tracker=session.tracker,
        done=session.steps_done,
    )
    validation = ValidationLoss(
        config,
        plan.validation,
        dataset,
        plan.reasoning_share,
        log,
        session.tracker,
        run.out / SAMPLES,
        session.steps_done,
    )
    best = (lambda: best_step(log.rows)) if config.checkpoint == "best" else (lambda: None)
    checkpoints = Checkpoints(session.folder, config.save_total_limit, best)
    trainer = RatioTrainer(
        model=session.model,
        args=session.arguments,
        train_dataset=dataset,
        callbacks=[validation, log, checkpoints],
        sampler=sampler,
        step_log=log,
        dtype=compute.dtype,
        rate=lambda step: rates[min(step, len(rates) - 1)],
    )
    validation.trainer = trainer
    return trainer, checkpoints


def _facts(
    config: Config,
    plan: TrainingPlan,
    mixture: MixtureFacts,
    session: Session,
    log: StepLog,
    step: int,
) -> TrainingFacts:
    last = log.rows[-1]
    trained = {name for batch in plan.batches[: len(log.rows)] for name, _ in batch}
    return TrainingFacts(
        lr=max(schedule(config, plan.stages)),
        steps=len(log.rows),
        checkpoint_step=step,
        tokens=last["tokens"],
        train_flops=last["flops_paper"],
        train_flops_exact=last["flops"],
        seconds=round(log.seconds, 1),
        final_loss=last["loss"],
        val_loss=log.rows[step - 1].get("val_loss"),
        data=" + ".join(map(dataset_name, config.folders())),
        size=session.size,
        share=mixture.share,
        problems=len(trained),
        sources=[pair_source(folder) for folder in config.folders()],
        license=models.license_of(config.model.license, config.model.path),
    )


def _save(
    run: Run,
    config: Config,
    plan: TrainingPlan,
    mixture: MixtureFacts,
    facts: TrainingFacts,
    student: PreTrainedModel,
    log: StepLog,
) -> None:
    """Write the student with its card, and the logs of its training."""
    with run.writing("metrics.jsonl") as path:
        path.write_text("".join(json.dumps(row) + "\n" for row in log.rows))
    if (run.out / SAMPLES).exists():  # appended to during training
        with run.writing(SAMPLES) as path:
            shutil.copyfile(run.out / SAMPLES, path)
    with run.writing("model") as path:
        taught = [mode for mode in MODES if mixture.ids[mode]]
        rendering = plan.rendering
        models.save_student(
            student,
            rendering.tokenizer,
            path,
            rendering.record(taught),
            card.licenses(config.model_dump()),
        )
    with run.writing("README.md") as path:
        path.write_text(card.text(config.model_dump(), facts, mixture), encoding="utf-8")


def _flops(
    config: Config, shape: cost.Shape, dataset: PairDataset, batch: Sequence[Example]
) -> tuple[int, int]:
    """FLOPs of a global batch: of its matmuls, and by the published formula."""
    sizes = [(dataset.length(*example), dataset.supervised(*example)) for example in batch]
    exact = sum(
        cost.exact_training(shape, length, supervised, frozen=config.lora)
        for length, supervised in sizes
    )
    return exact, sum(cost.training(shape, length) for length, _ in sizes)


def _about(run: Run, config: Config, mixture: MixtureFacts, size: int) -> tracking.TrackedRun:
    """The run as a tracker shows it."""
    ratio = mixture.share if config.ratio is None else config.ratio
    model = config.model
    parent = lineage.group_keys("train", model.name, model.path, lineage.student(model.path))
    by = replace(parent, size=size, scenario=config.scenario.name, ratio=ratio, seed=config.seed)
    settings = {
        **config.model_dump(),
        "inputs": dict(run.inputs),
        "examples_hash": mixture.examples_hash,
    }
    group = f"{by.model_name} {config.scenario.name}"
    title = f"{group} ratio={ratio:g} seed={config.seed}"
    return tracking.TrackedRun(run.hash, title, group, by, settings)


def arguments(
    config: Config, compute: Compute, folder: Path, steps: int, accumulation: int
) -> TrainingArguments:
    """transformers' arguments for this many optimizer steps of `accumulation` micro-batches."""
    return training_arguments(
        TrainingArguments,
        config,
        compute,
        folder,
        max_steps=steps,
        gradient_accumulation_steps=accumulation,
        save_steps=config.save_steps,
        dataloader_pin_memory=compute.device.type == "cuda",
        gradient_checkpointing_kwargs={"use_reentrant": False},
        fsdp=config.fsdp or None,
        fsdp_config={"state_dict_type": "SHARDED_STATE_DICT"} if config.fsdp else None,
    )
