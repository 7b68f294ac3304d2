"""Pairs × ratio × scenario → student: supervised fine-tuning on completions only, by transformers' Trainer.

What is ours is what the Trainer sees: fixed global batches, cut into micro-batches of like length, and a loss in which each
token has its weight in its *global* batch, so that micro-batching and padding never change it.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import PrinterCallback, TrainingArguments

from ratiocine import cost, devices, memory, models
from ratiocine.executors import distributed
from ratiocine.memory import Largest, checks
from ratiocine.progress import progress
from ratiocine.records import MODES
from ratiocine.runs import Run, check_writable, lineage, open_run, tracking
from ratiocine.training import (
    Checkpoints,
    Compute,
    compute,
    gathered_model,
    load,
    newest,
    quiet,
    save_compute,
    single_device,
)
from train import card, preflight
from train.batches import MicroBatches, Row, Rows
from train.config import Config, inputs
from train.dataset import Pool, taught_from
from train.export import export
from train.planning import Planned, describe, micro_batches, planned
from train.ratio_trainer import RatioTrainer
from train.scenario import Example
from train.schedule import schedule
from train.step_log import StepLog
from train.val_loss import HeldOut, best_step

CHECKPOINTS, SAMPLES = "checkpoints", "samples.jsonl"


def train(config: Config) -> Run | None:
    """Train one student; writes `model/`, `mixture.json`, `metrics.jsonl` and the manifest. With `preflight=true` only the
    checks are made, and nothing is written; with `export` the mixture is written for other trainers instead."""
    devices.prepare_process(config.threads)
    plan = planned(config)
    if config.preflight:
        chosen = compute(config, padding_free=config.padding_free)
        print(_examined(config, plan))
        print(f"memory: {_fits(config, plan, chosen)}")
        return None
    if config.export:
        n = export(Path(config.export), plan.pool, plan.stages, plan.rendering)
        print(f"{n} examples in {config.export}, in training order")
        return None
    run = open_run("train", config, inputs(config), config.resume_overrides)
    if run.finished:
        print(f"{run.out} is finished")
        return run
    chosen = compute(config, run.shared / CHECKPOINTS, padding_free=config.padding_free)
    folder = models.locate(config.model)
    size = sum(f.stat().st_size for f in folder.rglob("*")) if folder else 1_000_000
    check_writable(run.out, 2 * size + 10_000_000)
    print(_examined(config, plan))
    print(f"memory: {_fits(config, plan, chosen)}", flush=True)
    facts = describe(config, plan)
    if distributed.is_first():
        run.write_json("mixture.json", facts)
    _fit(run, config, plan, facts, chosen)
    return run


def _fits(config: Config, plan: Planned, chosen: Compute) -> memory.Need:
    sampler = micro_batches(
        config, plan, padded=not chosen.padding_free, steep=memory.steep(config, chosen)
    )
    found = []
    for first in (True, False):
        longest = sampler.longest(later=not first)
        lengths = [plan.pool.length(*example[:2]) for example in longest]
        rows, length = (
            (1, sum(lengths)) if chosen.padding_free else (len(lengths), max(lengths, default=0))
        )
        supervised = sum(plan.pool.supervised(*example[:2]) for example in longest)
        found += [Largest(rows, length, supervised, first)] if longest else []
    spread = memory.Spread(config.sharding, distributed.world_size())
    return checks.check(config, chosen, found, "max_length", spread)


def _examined(config: Config, plan: Planned) -> str:
    """Run the doctor over four pairs of every source; returns what it says when all is well."""
    pool, seen = plan.pool, Counter[str]()
    rows, sample, pairs = Rows(pool, plan.rendering), list[Row](), {}
    for name in (name for stage in plan.stages for name in stage.mixture.order):
        source = pool.source(name)
        if seen[source] < 4 and name not in pairs:
            pairs[name], seen[source] = pool.pair(name), seen[source] + 1
            sample += [rows[name, mode, 1.0] for mode in MODES]
    preflight.examine(plan.rendering, sample, pairs)
    first = next(row for row in sample if row.mode == "reasoning")
    return (
        f"doctor: {len(sample)} rows are trained as they will be generated; one of them, "
        f"supervised between ⟦ ⟧:\n{preflight.show(plan.rendering.tokenizer, first)}"
    )


def _fit(
    run: Run, config: Config, plan: Planned, facts: Mapping[str, Any], chosen: Compute
) -> None:
    folder = run.shared / CHECKPOINTS
    save_compute(folder, config, chosen)
    sampler = micro_batches(
        config, plan, padded=not chosen.padding_free, steep=memory.steep(config, chosen)
    )
    distributed.init_process_group(config.ddp_timeout, chosen.device.type)
    size = models.size(config.model)
    args = arguments(
        run, config, len(sampler.batches), sampler.per_batch, chosen
    )  # before the model: ZeRO-3 loads it in parts
    last = newest(folder)
    distributed.check_agreement(
        {
            **run.facts,
            "the order of examples": facts["examples_hash"],
            "the checkpoint to go on from": last and last.name,
        }
    )
    model = load(config, chosen)
    tracker = tracking.tracker(config, run.out, _about(run, config, facts, size))
    with progress(
        len(plan.batches[: config.max_steps]), f"train ratio={config.ratio}", "steps"
    ) as bar:
        trainer, checkpoints = _trainer(
            run, config, plan, chosen, args, sampler, model, tracker, bar, last
        )
        if last is None and config.sharding not in (
            "zero3",
            "fsdp",
        ):  # which have no whole model before they train
            trainer.try_longest()
        with checkpoints.on_signal(), distributed.phase("training"):
            trainer.train(resume_from_checkpoint=None if last is None else str(last))
    log = trainer.log_rows
    step = len(log.rows)
    if config.checkpoint == "best":
        step = best_step(log.rows) or step
    if step < len(log.rows):
        trainer._load_from_checkpoint(str(folder / str(step)))
    end = log.rows[-1]
    about = {
        "lr": max(schedule(config, plan.stages)),
        "steps": len(log.rows),
        "checkpoint_step": step,
        "tokens": end["tokens"],
        "train_flops": end["flops_paper"],
        "train_flops_exact": end["flops"],
        "seconds": round(log.seconds, 1),
        **chosen.facts,
        "direct_format": plan.rendering.form,
        "final_loss": end["loss"],
        "val_loss": log.rows[step - 1].get("val_loss"),
        "examples_hash": facts["examples_hash"],
        "data": " + ".join(map(taught_from, config.folders())),
        "size": size,
        "share": facts["n_reasoning"] / facts["n"],
    }
    with (
        distributed.phase("collecting the student"),
        gathered_model(trainer, lambda: load(config, chosen)) as student,
    ):
        if distributed.is_first():
            _save(run, config, plan, facts, about, student, log.rows)
    tracker.finish()
    if distributed.is_first():
        run.finish(**about)
        shutil.rmtree(folder, ignore_errors=True)
    distributed.barrier()
    print(f"trained {len(log.rows)} steps in {log.seconds:.0f} s: {run.out / 'model'}")


def _trainer(
    run: Run,
    config: Config,
    plan: Planned,
    chosen: Compute,
    args: Any,
    sampler: MicroBatches,
    model: Any,
    tracker: tracking.Tracker,
    bar: Any,
    last: Path | None,
) -> tuple[RatioTrainer, Checkpoints]:
    """The trainer with what it tells, and what keeps its checkpoints; `last` is the one that the run goes on from."""
    pool, rows, shape = plan.pool, Rows(plan.pool, plan.rendering), cost.Shape.of(model.config)
    rates = schedule(config, plan.stages)
    done = 0 if last is None else int(last.name)
    log = StepLog(
        run.out / "metrics.jsonl",
        run.shared / "metrics.jsonl",
        bar,
        sampler.batches,
        lambda batch: _flops(config, shape, pool, batch),
        peak=devices.matmul_rate(chosen.device, chosen.dtype),
        tracker=tracker,
        done=done,
    )
    formats = [mode for batch in plan.batches for _, mode in batch]
    held_out = HeldOut(
        plan.held_out,
        rows,
        formats.count("reasoning") / len(formats),
        log,
        tracker,
        every=config.save_steps,
        size=config.micro_batch_size,
        samples=config.val_samples,
        budget=config.val_max_new_tokens,
        path=run.out / SAMPLES,
        done=done,
    )
    best = (lambda: best_step(log.rows)) if config.checkpoint == "best" else (lambda: None)
    checkpoints = Checkpoints(run.shared / CHECKPOINTS, config.save_total_limit, best)
    trainer = RatioTrainer(
        model=model,
        args=args,
        train_dataset=rows,  # type: ignore[arg-type]
        callbacks=[held_out, log, checkpoints],
        sampler=sampler,
        log=log,
        dtype=chosen.dtype,
        rate=lambda step: rates[min(step, len(rates) - 1)],
    )
    held_out.trainer = trainer
    trainer.remove_callback(PrinterCallback)
    return trainer, checkpoints


def _save(
    run: Run,
    config: Config,
    plan: Planned,
    facts: Mapping[str, Any],
    about: Mapping[str, Any],
    student: Any,
    metrics: Sequence[Mapping[str, Any]],
) -> None:
    """The student with its card, and the files that tell how it was trained."""
    with run.writing("metrics.jsonl") as path:
        path.write_text("".join(json.dumps(row) + "\n" for row in metrics))
    if (run.out / SAMPLES).exists():  # written as they were taken
        with run.writing(SAMPLES) as path:
            shutil.copyfile(run.out / SAMPLES, path)
    with run.writing("model") as path:
        taught = [mode for mode in MODES if facts["ids"][mode]]
        models.save_student(student, plan.rendering.tokenizer, path, plan.rendering.record(taught))
    with run.writing("README.md") as path:
        path.write_text(card.text(config.model_dump(), about, facts), encoding="utf-8")


def _flops(
    config: Config, shape: cost.Shape, pool: Pool, batch: Sequence[Example]
) -> tuple[int, int]:
    """What a global batch costs: the matrix products it needs, and the published formula."""
    sizes = [(pool.length(*example), pool.supervised(*example)) for example in batch]
    exact = sum(
        cost.exact_training(shape, length, supervised, frozen=config.lora)
        for length, supervised in sizes
    )
    return exact, sum(cost.training(shape, length) for length, _ in sizes)


def _about(run: Run, config: Config, facts: Mapping[str, Any], size: int) -> tracking.About:
    """The run as a tracker is told of it."""
    ratio = facts["n_reasoning"] / facts["n"] if config.ratio is None else config.ratio
    before = lineage.compared("train", config.model, lineage.student(config.model.path))
    by = replace(before, size=size, scenario=config.scenario.name, ratio=ratio, seed=config.seed)
    told = {
        **config.model_dump(),
        "inputs": dict(run.inputs),
        "examples_hash": facts["examples_hash"],
    }
    title = f"{by.model_name} {config.scenario.name} ratio={ratio:g} seed={config.seed}"
    return tracking.About(run.hash, title, f"{by.model_name} {config.scenario.name}", by, told)


def arguments(
    run: Run, config: Config, steps: int, accumulate: int, chosen: Compute
) -> TrainingArguments:
    with quiet():
        return single_device(
            TrainingArguments(
                output_dir=str(run.shared / CHECKPOINTS / ".partial"),
                max_steps=steps,
                per_device_train_batch_size=config.micro_batch_size,
                gradient_accumulation_steps=accumulate,
                optim="adamw_torch_fused",
                weight_decay=config.weight_decay,
                max_grad_norm=config.max_grad_norm,
                use_cpu=chosen.device.type == "cpu",
                seed=config.seed,
                save_strategy="steps",
                save_steps=config.save_steps,
                logging_strategy="no",
                report_to=[],
                disable_tqdm=True,
                remove_unused_columns=False,
                logging_nan_inf_filter=False,
                dataloader_pin_memory=chosen.device.type == "cuda",
                gradient_checkpointing=config.gradient_checkpointing,
                gradient_checkpointing_kwargs={"use_reentrant": False},
                deepspeed=config.deepspeed.settings,
                ddp_find_unused_parameters=False,
                ddp_timeout=config.ddp_timeout,
                fsdp=config.fsdp or None,
                fsdp_config={"state_dict_type": "SHARDED_STATE_DICT"} if config.fsdp else None,
            )
        )
