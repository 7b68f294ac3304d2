"""Pairs × ratio × scenario → student: supervised fine-tuning on completions only, by transformers' Trainer.

What is ours is what the Trainer sees: fixed global batches, cut into micro-batches of like length, and a loss in which each
token has its weight in its *global* batch, so that micro-batching and padding never change it.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, TrainingArguments

from ratiocine import cost, models
from ratiocine.errors import BadInput
from ratiocine.progress import progress
from ratiocine.runs import Run, check_writable, open_run
from ratiocine.traces import MODES
from train import doctor
from train.batches import MicroBatches, Row, Rows, collate_weighted
from train.callbacks import Checkpoints, StepLog, newest
from train.config import Config, inputs
from train.export import export
from train.pool import Pool, fitting, read_pool
from train.scenario import Stage, examples_hash, formats, plan
from train.schedule import schedule
from train.trainer import RatioTrainer

CHECKPOINTS = "checkpoints"


def train(config: Config) -> Run | None:
    """Train one student; writes `model/`, `mixture.json`, `metrics.jsonl` and the manifest. With `doctor=true` only the
    checks are made, and nothing is written; with `export` the mixture is written for other trainers instead."""
    models.prepare_process(config.threads)
    pool, stages, dropped = planned(config)
    if config.doctor:
        print(_examined(config, pool, stages))
        return None
    if config.export:
        print(f"{export(Path(config.export), pool, stages)} examples in {config.export}, in training order")
        return None
    run = open_run("train", config.model_dump(), inputs(config), allow_change=config.allow_change)
    if run.finished:
        print(f"{run.out} is finished")
        return run
    models.resolve_device(config.device)  # a device that is not there is said before anything is done
    folder = models.locate(config.model)
    size = sum(f.stat().st_size for f in folder.rglob("*")) if folder else 1_000_000
    check_writable(run.out, 2 * size + 10_000_000)
    print(_examined(config, pool, stages), flush=True)
    facts = _describe(config, pool, stages, dropped)
    run.write_json("mixture.json", facts)
    _fit(run, config, pool, stages, facts)
    return run


def planned(config: Config) -> tuple[Pool, list[Stage], dict[str, int]]:
    """The pairs, the stages that they are taught in, and how many were too long."""
    tokenizer, shape = models.load_tokenizer(config.model), models.shape(config.model)
    pool = read_pool(config.folders(), tokenizer, seed=config.seed, limit=config.limit)
    ids, dropped = fitting(pool, config.max_length)
    if not ids:
        raise BadInput(f"no pair fits max_length={config.max_length}")

    def price(name: str, mode: Any) -> int:
        length = pool.length(name, mode)
        return cost.training(shape, length) if config.match == "flops" else length

    stages = plan(
        config.scenario, ids, pool.categories, pool.folder, price, ratio=config.ratio, match=config.match,
        epochs=config.epochs, batch_size=config.batch_size, seed=config.seed,
    )  # fmt: skip
    return pool, stages, dropped


def _examined(config: Config, pool: Pool, stages: list[Stage]) -> str:
    """Run the doctor over four pairs of every source; returns what it says when all is well."""
    tokenizer, seen = models.load_tokenizer(config.model), Counter[str]()
    rows, sample, pairs = Rows(pool, tokenizer), list[Row](), {}
    for name in (name for stage in stages for name in stage.mixture.order):
        source = pool.sources[name]
        if seen[source] < 4 and name not in pairs:
            pairs[name], seen[source] = pool.pair(name), seen[source] + 1
            sample += [rows[name, mode, 1.0] for mode in MODES]
    doctor.examine(tokenizer, sample, pairs)
    first = next(row for row in sample if row.mode == "reasoning")
    return (
        f"doctor: {len(sample)} rows are trained as they will be generated; one of them, "
        f"supervised between ⟦ ⟧:\n{doctor.show(tokenizer, first)}"
    )


def _describe(config: Config, pool: Pool, stages: list[Stage], dropped: Mapping[str, int]) -> dict[str, Any]:
    """`mixture.json`: ids by format in training order, counts by category, and the token shares beside the ratio."""
    ids = formats(stages)
    supervised = {mode: sum(pool.supervised(name, mode) for name in ids[mode]) for mode in MODES}
    counts = Counter((pool.categories[name], mode) for mode in MODES for name in set(ids[mode]))
    order = [name for stage in stages for batch in stage.batches for name, _ in batch]
    return {
        "schema_version": 2, "ratio": config.ratio, "scenario": config.scenario.name, "seed": config.seed,
        "match": config.match, "loss_weight": config.loss_weight, "n": len(set(order)),
        "n_reasoning": len(set(ids["reasoning"])), "examples": len(order), "examples_hash": examples_hash(stages),
        "stages": [
            {
                **stage.config.model_dump(exclude_none=True), "ratio": stage.ratio, "steps": len(stage.batches),
                "examples": sum(map(len, stage.batches)),
            } for stage in stages
        ],
        "categories": {c: {m: counts[c, m] for m in MODES} for c in sorted({c for c, _ in counts})},
        "supervised_tokens": supervised, "tokens": sum(pool.length(n, m) for m in MODES for n in ids[m]),
        "reasoning_token_share": supervised["reasoning"] / sum(supervised.values()),
        "dropped_too_long": dict(dropped), "ids": ids, "order": order,
    }  # fmt: skip


def _fit(run: Run, config: Config, pool: Pool, stages: list[Stage], facts: Mapping[str, Any]) -> None:
    tokenizer, device = models.load_tokenizer(config.model), models.resolve_device(config.device)
    # On a CPU eager attention is faster than sdpa at these lengths, forward and backward.
    model = models.load_model(config.model, config.device, attention="eager" if device.type == "cpu" else "sdpa")
    shape = cost.Shape.of(model.config)
    if config.lora:
        model = models.add_lora(model, config.lora_rank, seed=config.seed)
    batches = [batch for stage in stages for batch in stage.batches][: config.max_steps]
    sampler = MicroBatches(batches, pool, config.batch_size, config.micro_batch_size, config.loss_weight)
    rates, folder = schedule(config, stages), run.out / CHECKPOINTS
    last, checkpoints = newest(folder), Checkpoints(folder, config.keep)
    done = 0 if last is None else int(last.name)
    with progress(len(batches), f"train ratio={config.ratio}", "steps") as bar:
        log = StepLog(run.out / "metrics.jsonl", bar, batches, done)
        trainer = RatioTrainer(
            model=model, args=arguments(run, config, len(batches), sampler.per_batch, device), data_collator=collate_weighted,
            train_dataset=Rows(pool, tokenizer),  # type: ignore[arg-type]
            callbacks=[log, checkpoints], sampler=sampler, log=log,
            rate=lambda step: rates[min(step, len(rates) - 1)],
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        if last is None:
            trainer.try_longest()
        with checkpoints.on_signal():
            trainer.train(resume_from_checkpoint=None if last is None else str(last))
    with run.writing("metrics.jsonl") as path:
        path.write_text("".join(json.dumps(row) + "\n" for row in log.rows))
    with run.writing("model") as path:
        models.save_student(trainer.accelerator.unwrap_model(trainer.model), tokenizer, path)
    lengths = [pool.length(*example) for batch in batches for example in batch]
    run.finish(
        lr=max(rates), steps=len(batches), tokens=sum(lengths),
        train_flops=sum(cost.training(shape, length) for length in lengths), seconds=round(log.seconds, 1),
        device=str(device), precision="bfloat16" if trainer.args.bf16 else "float32",
        final_loss=log.rows[-1]["loss"], examples_hash=facts["examples_hash"],
    )  # fmt: skip
    shutil.rmtree(folder, ignore_errors=True)
    print(f"trained {len(batches)} steps in {log.seconds:.0f} s: {run.out / 'model'}")


def arguments(run: Run, config: Config, steps: int, accumulate: int, device: torch.device) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(run.out / CHECKPOINTS / ".partial"), max_steps=steps,
        per_device_train_batch_size=config.micro_batch_size, gradient_accumulation_steps=accumulate,
        optim="adamw_torch_fused", weight_decay=config.weight_decay, max_grad_norm=config.max_grad_norm,
        bf16=models.computes_in(config.precision, device) == torch.bfloat16, use_cpu=device.type == "cpu",
        seed=config.seed, save_strategy="steps", save_steps=config.save_steps, logging_strategy="no", report_to=[],
        disable_tqdm=True, remove_unused_columns=False, logging_nan_inf_filter=False,
        dataloader_pin_memory=device.type == "cuda",
    )  # fmt: skip
